"""Meta's own log of activities: the API's ``activities`` edge, and the history that Ads Manager exports.

Kinds and members are those of the Marketing API's AdActivity (``event_type, event_time, object_id, extra_data``).
Budgets are in the currency's smallest unit there.
"""

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from adsml_common.domain.changes import ChangeEvent, ChangeType
from adsml_common.domain.entities import Entity, EntityRef, EntityType

from adsml_ingest import dates, numerals
from adsml_ingest.headers import normal

_KINDS: Final[Mapping[str, tuple[EntityType, ChangeType]]] = {
    "update_campaign_budget": (EntityType.CAMPAIGN, ChangeType.BUDGET_CHANGE),
    "update_campaign_group_budget": (EntityType.CAMPAIGN, ChangeType.BUDGET_CHANGE),
    "update_ad_set_budget": (EntityType.ADSET, ChangeType.BUDGET_CHANGE),
    "update_campaign_run_status": (EntityType.CAMPAIGN, ChangeType.PAUSE),
    "update_campaign_group_run_status": (EntityType.CAMPAIGN, ChangeType.PAUSE),
    "update_ad_set_run_status": (EntityType.ADSET, ChangeType.PAUSE),
    "update_ad_run_status": (EntityType.AD, ChangeType.PAUSE),
    "update_ad_run_status_to_be_set_after_review": (EntityType.AD, ChangeType.PAUSE),
    "update_ad_creative": (EntityType.AD, ChangeType.CREATIVE_CHANGE),
    "edit_and_update_ad_creative": (EntityType.AD, ChangeType.CREATIVE_CHANGE),
    "update_ad_set_target_spec": (EntityType.ADSET, ChangeType.AUDIENCE_CHANGE),
    "update_ad_targets_spec": (EntityType.AD, ChangeType.AUDIENCE_CHANGE),
}
_WHOLE_UNITS: Final = frozenset(["CLP", "COP", "CRC", "HUF", "ISK", "IDR", "JPY", "KRW", "PYG", "TWD", "VND"])
"""Currencies whose amounts Meta writes in whole units; all others in hundredths."""
_ACTIVITY: Final = ("activity",)
_DETAILS: Final = ("activity details", "details")
_ITEM: Final = ("item changed", "object", "item")
_WHEN: Final = ("date and time", "date")
_AMOUNT: Final = r"[^\d]{0,4}([\d.,' \u00a0\u202f]*\d)"
_FROM_TO: Final = re.compile(rf"from{_AMOUNT}.*? to{_AMOUNT}", re.IGNORECASE)
_WRITTEN: Final = (
    "%b %d, %Y %I:%M %p", "%B %d, %Y %I:%M %p", "%b %d, %Y at %I:%M %p", "%B %d, %Y at %I:%M %p", "%m/%d/%Y %I:%M %p",
    "%m/%d/%Y at %I:%M %p", "%d %b %Y %H:%M", "%d %B %Y %H:%M",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class KnownAccount:
    """What the store knows of the account that a log is about."""

    config_id: int
    entities: Sequence[Entity] = ()  # none of an account that was never loaded
    currency_code: str | None = None
    time_zone: str | None = None


@dataclass(frozen=True, slots=True)
class Activity:
    """One activity."""

    kind: str  # as the API calls it
    moment: datetime  # without a zone if it is the account's own time
    object_id: str  # what was changed; this or the name may be empty
    object_name: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)  # state before and after, as far as it is told
    description: str = ""


def of_api(row: Mapping[str, Any]) -> Activity:
    """One activity of the API; raises `ValueError` if its time can't be told, or its detail is broken."""
    moment = moment_of(row.get("event_time"))
    if moment is None:
        raise ValueError(f"event_time {row.get('event_time')!r} is no time; expected ISO 8601")
    extra = row.get("extra_data") or {}
    if isinstance(extra, str):
        try:
            extra = json.loads(extra)
        except (ValueError, RecursionError):
            raise ValueError("extra_data is no JSON") from None
    values: dict[str, Any] = {}
    if isinstance(extra, dict):
        for name in ("old_value", "new_value"):
            inner = extra.get(name)
            values[name] = inner.get(name) if isinstance(inner, dict) else inner
        values["currency"] = extra.get("currency")
        values["lifetime"] = "lifetime" in json.dumps(extra).casefold()
    return Activity(
        str(row.get("event_type")), moment, str(row.get("object_id") or "").strip(),
        str(row.get("object_name") or ""), values, str(row.get("translated_event_type") or ""),
    )  # fmt: skip


def is_history(names: Sequence[str]) -> bool:
    """Whether columns are those of the history that Ads Manager exports."""
    present = {normal(name) for name in names}
    return all(present.intersection(wanted) for wanted in (_ACTIVITY, _DETAILS, _ITEM, _WHEN))


def of_history(row: Mapping[str, Any]) -> Activity:
    """One row of the history that Ads Manager exports; raises `ValueError` if its time can't be told."""
    cells = {normal(str(name)): str(cell or "").strip() for name, cell in row.items()}

    def cell(*names: str) -> str:
        return next((cells[name] for name in names if cells.get(name)), "")

    text, details, when = cell(*_ACTIVITY), cell(*_DETAILS), cell(*_WHEN)
    moment = moment_of(when)
    if moment is None:
        raise ValueError(f"date and time {when!r} is no time that is known; write it as ISO 8601")
    words = text.casefold()
    level = "campaign" if "campaign" in words else "ad_set" if "ad set" in words else "ad"
    kind, values = words.replace(" ", "_"), {}
    if "budget" in words:
        kind = f"update_{level}_budget"
        amounts = _FROM_TO.search(details)
        if amounts:
            values = {"old_value": amounts[1], "new_value": amounts[2], "money": True}
        values["lifetime"] = "lifetime" in details.casefold()
    elif re.search("paused|activated|status|turned on|turned off", words):
        kind = f"update_{level}_run_status"
        state = f"{words} {details.casefold().rsplit(' to ', 1)[-1] if ' to ' in details.casefold() else ''}"
        on = re.search(r"(?<!de)(?<!in)activ(?:e|ated)|turned on", state) is not None
        values = {"new_value": "ACTIVE" if on else "PAUSED"}
    elif "creative" in words:
        kind = "update_ad_creative"
    elif re.search("target|audience", words):
        kind = "update_ad_set_target_spec" if level != "ad" else "update_ad_targets_spec"
    item = cell(*_ITEM)
    named = re.fullmatch(r"(.*?)\s*\((?:ID:?\s*)?(\d{5,})\)", item)
    object_id = cell("object id", "item id", "id") or (named[2] if named else item if item.isdigit() else "")
    return Activity(kind, moment, object_id, named[1] if named else item, values, f"{text} {details}".strip())


def moment_of(cell: Any) -> datetime | None:
    """A cell as a moment, if it has a time of day: in its zone, or without one."""
    text = "" if cell is None else str(cell).strip()
    if text.isdigit() and (seconds := dates.moment(text)) is not None:  # Unix time
        return datetime.fromtimestamp(seconds, UTC)
    found = dates.written(text)
    if found is not None:
        return found
    for form in _WRITTEN:
        with suppress(ValueError):
            return datetime.strptime(text, form)  # noqa: DTZ007  # the account's own time
    return None


def change_of(activity: Activity, account: KnownAccount) -> ChangeEvent | None:
    """The change that an activity made, None if none that models use; raises `ValueError` if it is unclear of what."""
    known = _KINDS.get(activity.kind)
    if known is None:
        return None
    level, change = known
    detail: dict[str, float | str] = {"description": activity.description} if activity.description else {}
    before, after = activity.values.get("old_value"), activity.values.get("new_value")
    if change is ChangeType.PAUSE:
        was, now = (str(value).strip().casefold() for value in (before, after))
        if was == now:
            return None
        change = ChangeType.REACTIVATE if now in ("active", "1") else ChangeType.PAUSE
    elif change is ChangeType.BUDGET_CHANGE and not activity.values.get("lifetime"):
        code = activity.values.get("currency") or account.currency_code
        unit = 1.0 if activity.values.get("money") or code in _WHOLE_UNITS else 100.0
        for name, value in (("budget_before", before), ("budget_after", after)):
            amount = _amount(value)
            if amount is not None and amount >= 0:
                detail[name] = amount / unit
    entity = EntityRef(account.config_id, level, _entity_id(activity, level, account.entities))
    return ChangeEvent(entity, change, dates.local_day(activity.moment, account.time_zone), detail)


def _amount(value: Any) -> float | None:
    decimal = "."
    if isinstance(value, str) and "," in value and "." not in value:
        whole, _, cents = value.rpartition(",")
        decimal = "," if len(cents) != 3 or not whole else "."
    return numerals.number(value, decimal=decimal)


def _entity_id(activity: Activity, level: EntityType, entities: Sequence[Entity]) -> str:
    if activity.object_id:
        return activity.object_id
    name = activity.object_name
    named = [one.ref.entity_id for one in entities if one.ref.entity_type is level and one.name == name]
    if len(named) != 1:
        raise ValueError(
            f"names the {level} '{name}' without its id, and the account has {len(named)} of that "
            "name; add the column of ids, or import the account's rows first"
        )
    return named[0]
