"""Group consecutive anomalous days into incidents."""

from collections.abc import Sequence
from hashlib import blake2b


def runs(anomalous: Sequence[bool]) -> list[tuple[int, int]]:
    """First and last position of each unbroken run of True, both inclusive.

    Examples
    --------
    >>> runs([True, True, False, True])
    [(0, 1), (3, 3)]
    """
    out: list[tuple[int, int]] = []
    for i, flag in enumerate(anomalous):
        if not flag:
            continue
        if out and out[-1][1] == i - 1:
            out[-1] = (out[-1][0], i)
        else:
            out.append((i, i))
    return out


def incident_id(entity: str, first: object) -> str:
    """A short id, the same for the same entity and first day."""
    return "an-" + blake2b(f"{entity}|{first}".encode(), digest_size=8).hexdigest()
