"""Page tokens: where a listing goes on, and of which listing."""

import base64
import binascii
import hashlib
import json
from collections.abc import Callable
from typing import Any, Final, TypeVar

from google.protobuf.message import Message

from adsml_common.domain.errors import InvalidInput

_PATH: Final = "page_token"
_DEFAULT: Final = 100
_MOST: Final = 1_000
_MOST_SCANS: Final = 20

SCAN: Final = 500
"""How many entries are looked at at once."""

T = TypeVar("T")
P = TypeVar("P")


def page_size(request: Any) -> int:
    """How many entries a page has: 100 where the request says 0, and never more than 1,000 (AIP-158)."""
    return min(int(request.page_size) or _DEFAULT, _MOST)


def token(request: Message, position: list[Any]) -> str:
    """Where a listing goes on.

    Parameters
    ----------
    request
        What was asked for; its filters are part of the token.
    position
        The last entry of the page: a list of what JSON can hold.
    """
    data = json.dumps([_filters(request), *position], separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(data).decode()


def position(request: Any, kinds: tuple[type, ...]) -> list[Any] | None:
    """The position in a request's page token, None for the first page.

    Parameters
    ----------
    request
        With a field ``page_token``.
    kinds
        Types of the position's parts.

    Raises
    ------
    InvalidInput
        The token is not one of ours, or of a listing with other filters.
    """
    if not request.page_token:
        return None
    try:
        filters, *found = json.loads(base64.urlsafe_b64decode(request.page_token))
    except (ValueError, TypeError, binascii.Error, RecursionError):
        raise _bad() from None
    if len(found) != len(kinds) or not all(type(one) is kind for one, kind in zip(found, kinds, strict=True)):
        raise _bad()
    if filters != _filters(request):
        raise InvalidInput.at(_PATH, "is of a listing with other filters; repeat the filters of that page")
    return list(found)


def page(
    fetch: Callable[[P | None], list[T]],
    start: P | None,
    *,
    position: Callable[[T], P],
    size: int,
    shows: Callable[[T], bool],
) -> tuple[list[T], P | None]:
    """Up to `size` entries that may be shown, and where to go on; None at the end.

    What the caller may not see is passed over, for a bounded while: then the page is short, and goes on.

    Parameters
    ----------
    fetch
        The next `SCAN` entries after a position; fewer at the end.
    start
        The position to begin after; None: at the beginning.
    position
        Where an entry stands.
    size
        Of the page.
    shows
        Whether the caller may see an entry.
    """
    found: list[T] = []
    for _ in range(_MOST_SCANS):
        entries = fetch(start)
        for entry in entries:
            if shows(entry):
                if len(found) == size:
                    return found, position(found[-1])
                found.append(entry)
        if len(entries) < SCAN:
            return found, None
        start = position(entries[-1])
    return found, start


def _bad() -> InvalidInput:
    return InvalidInput.at(_PATH, "is no token of this service; use next_page_token as it came")


def _filters(request: Message) -> str:
    """A word that differs where the filters do."""
    bare = type(request)()
    bare.CopyFrom(request)
    bare.ClearField("page_token")
    bare.ClearField("page_size")
    return hashlib.sha256(bare.SerializeToString(deterministic=True)).hexdigest()[:16]
