"""What to be careful about with a tier: nothing to compare with, delivery that stopped, days that are not there."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from adsml.common.v1 import warning_pb2

from adsml_classifier.models.facts import money
from adsml_classifier.models.snapshot import AccountSnapshot

_LEVELS: Final = {"campaign": "campaign", "adset": "ad set", "ad": "ad"}


@dataclass(frozen=True)
class Surroundings:
    """What is known of an account beside its figures.

    Attributes
    ----------
    last
        Its last day with a row; None where it is not known.
    wanted
        A day that was asked for and lies after it; else None.
    off
        The status of an entity (level and id) that is switched off; empty for others.
    currency_code
        Of its money, empty where it is not known.
    """

    last: date | None
    wanted: date | None
    off: Callable[[tuple[str, str]], str]
    currency_code: str = ""


def of_row(
    snapshot: AccountSnapshot, key: tuple[str, str], row: int, around: Surroundings, *, by_rule: bool
) -> list[warning_pb2.Warning]:
    """The warnings about one entity.

    Parameters
    ----------
    snapshot
        The account as of the day.
    key, row
        Level and id of the entity, and its row.
    around
        What is known of the account beside.
    by_rule
        Whether the rule answered.
    """
    out: list[warning_pb2.Warning] = []

    def warn(kind: Any, text: str) -> None:
        out.append(warning_pb2.Warning(type=kind, message=text))

    if snapshot.alone[row]:
        own, account = snapshot.evidence["spend_7"][row], snapshot.evidence.account["spend_7"]
        whose = "all" if own >= account else "nearly all"
        warn(
            warning_pb2.WARNING_TYPE_NO_COMPARISON,
            f"{whose} that the account spent in 7 days is its own ({money(own)} of {money(account)}): there is no "
            f"other {_LEVELS[key[0]]} to compare it with, and its CPL is the account's",
        )
    if snapshot.paused[row]:
        last, since = snapshot.last_delivery(row), int(snapshot.since_delivery[row])
        if snapshot.stopped[row]:
            warn(
                warning_pb2.WARNING_TYPE_STOPPED,
                f"it stopped: no delivery for {since} days, since {last}; as things stand it has no next week",
            )
        else:
            warn(
                warning_pb2.WARNING_TYPE_NO_DELIVERY,
                f"the whole account has delivered nothing for {since} days, since {last}",
            )
    if status := around.off(key):
        warn(
            warning_pb2.WARNING_TYPE_NO_DELIVERY,
            f"it is switched off (status {status}): no delivery is expected",
        )
    if around.wanted is not None:
        warn(
            warning_pb2.WARNING_TYPE_STALE_DATA,
            f"{around.wanted} was asked for, but there are no rows since {snapshot.as_of}: this is as of that day",
        )
    if by_rule and not snapshot.full_week[row]:
        warn(
            warning_pb2.WARNING_TYPE_SHORT_HISTORY,
            "it first delivered less than 7 days ago: there is no full week to go by",
        )
    return out
