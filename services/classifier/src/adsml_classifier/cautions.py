"""What to be careful about with a tier: nothing to compare with, delivery that stopped, days that are not there."""

from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from adsml.common.v1 import warning_pb2

from adsml_classifier.accounts import AccountDays
from adsml_classifier.models.facts import money
from adsml_classifier.models.snapshot import AccountSnapshot

_LEVELS: Final = {"campaign": "campaign", "adset": "ad set", "ad": "ad"}


@dataclass(frozen=True)
class Surroundings:
    """What is known of an account beside its figures."""

    last: date | None  # its last day with a row; None where it is not known
    wanted: date | None  # a day that was asked for and lies after it; else None
    account: AccountDays | None  # where it is stored


def of_row(
    snapshot: AccountSnapshot, row: int, key: tuple[str, str], around: Surroundings, *, by_rule: bool
) -> list[warning_pb2.Warning]:
    """The warnings about one entity, of this level and id; `by_rule` says whether the rule answered."""
    found: list[tuple[Any, str]] = []
    if snapshot.alone[row]:
        own, account = snapshot.evidence["spend_7"][row], snapshot.evidence.account["spend_7"]
        whose = "all" if own >= account else "nearly all"
        text = (
            f"{whose} that the account spent in 7 days is its own ({money(own)} of {money(account)}): there is no "
            f"other {_LEVELS[key[0]]} to compare it with, and its CPL is the account's"
        )
        found.append((warning_pb2.WARNING_TYPE_NO_COMPARISON, text))
    if snapshot.paused[row]:
        for_days = f"{int(snapshot.since_delivery[row])} days, since {snapshot.last_delivery(row)}"
        if snapshot.stopped[row]:
            text = f"it stopped: no delivery for {for_days}; as things stand it has no next week"
            found.append((warning_pb2.WARNING_TYPE_STOPPED, text))
        else:
            text = f"the whole account has delivered nothing for {for_days}"
            found.append((warning_pb2.WARNING_TYPE_NO_DELIVERY, text))
    if around.account is not None and (status := around.account.off(key, snapshot.as_of)):
        text = f"it is switched off (status {status}): no delivery is expected"
        found.append((warning_pb2.WARNING_TYPE_NO_DELIVERY, text))
    if around.wanted is not None:
        text = f"{around.wanted} was asked for, but there are no rows since {snapshot.as_of}: this is as of that day"
        found.append((warning_pb2.WARNING_TYPE_STALE_DATA, text))
    if by_rule and not snapshot.full_week[row]:
        text = "it first delivered less than 7 days ago: there is no full week to go by"
        found.append((warning_pb2.WARNING_TYPE_SHORT_HISTORY, text))
    return [warning_pb2.Warning(type=kind, message=text) for kind, text in found]
