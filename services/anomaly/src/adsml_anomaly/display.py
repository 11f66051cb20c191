"""What `adsml anomalies` asks and shows."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any, Final

from adsml.anomaly.v1 import anomaly_service_pb2 as pb
from adsml_common.cli.output import console, table
from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.serving.messages import ENTITY_TYPE, day_message, entity_ref_message
from google.type import date_pb2

_MOST_ERRORS: Final = 10
_STATES: Final = {
    pb.INCIDENT_STATE_OPEN: "open",
    pb.INCIDENT_STATE_RESOLVED: "resolved",
    pb.INCIDENT_STATE_NEW_NORMAL: "new normal",
}


def set_day(message: date_pb2.Date, value: datetime | None) -> None:
    """A day option's value into a request, where it was given."""
    if value is not None:
        message.CopyFrom(day_message(value.date()))


def batch_request(
    config_id: int,
    level: EntityType,
    ids: Sequence[str],
    options: pb.DetectionOptions,
    *,
    every_day: bool,
) -> pb.BatchDetectAnomaliesRequest:
    """The question about some entities, day by day: of the last day where no first one was given."""
    request = pb.BatchDetectAnomaliesRequest(options=options)
    request.options.anomalous_only = not every_day
    for one in ids:
        request.subjects.add().entity.CopyFrom(entity_ref_message(EntityRef(config_id, level, one)))
    return request


def account_request(
    config_id: int, level: EntityType | None, options: pb.DetectionOptions
) -> pb.DetectAccountAnomaliesRequest:
    """The question about an account."""
    request = pb.DetectAccountAnomaliesRequest(config_id=config_id, options=options)
    if level is not None:
        request.entity_type = ENTITY_TYPE.to_wire(level)  # type: ignore[assignment]  # an enum's number
    return request


def show_account(config_id: int, response: pb.DetectAccountAnomaliesResponse) -> None:
    """Incidents by cause, and what was looked at."""
    first, last = _day(response.first_date), _day(response.as_of_date)
    days = (last - first).days + 1
    looked = f"account {config_id}, {days} days from {first} to {last}"
    money = f" {response.currency_code}" if response.currency_code else ""
    if response.incidents:
        rows = [
            (
                _STATES.get(one.state, ""),
                _severity(one.severity),
                str(_day(one.first_date)),
                f"{one.money_at_stake_per_day:,.0f}{money}" if one.money_at_stake_per_day else "",
                one.title + (f" (+{len(one.children)})" if one.children else ""),
                one.summary.partition(": ")[2] or one.summary,
            )
            for one in response.incidents
        ]
        open_ = sum(one.state == pb.INCIDENT_STATE_OPEN for one in response.incidents)
        table(
            f"{looked}: {len(rows)} incident(s), {open_} open",
            ("state", "severity", "since", "at stake a day", "where", "what"),
            rows,
            right=("at stake a day",),
        )
    else:
        _say(f"{looked}: nothing out of line")
    parts = [f"{response.assessed_count} entities assessed"]
    if response.stopped_count:
        parts.append(f"{response.stopped_count} of them stopped before")
    if response.skipped_count:
        parts.append(f"{response.skipped_count} with too little history")
    _say("; ".join(parts))
    behind = (datetime.now(UTC).date() - _day(response.account_last_date)).days
    if behind > 1:
        _say(f"the account's last loaded day is {_day(response.account_last_date)}, {behind} days ago")
    for warning in response.warnings:
        _say(warning.message)


def show_days(config_id: int, response: pb.BatchDetectAnomaliesResponse) -> None:
    """Days out of line of some entities."""
    rows: list[tuple[Any, ...]] = []
    failed: list[str] = []
    for result in response.results:
        entity = result.entity.entity_id
        if result.WhichOneof("result") == "error":
            failed.append(f"{entity}: {result.error.message}")
            continue
        report = result.report
        by = report.answered_by
        name = f"{by.model.name} v{by.model.version}" if by.HasField("model") else by.method
        rows += [
            (entity, str(_day(one.date)), _severity(one.severity), one.summary or one.exclusion_reason, name)
            for one in report.days
        ]
        rows += [
            (entity, str(_day(one.last_date)), _severity(one.severity), one.summary, name)
            for one in report.incidents
            if one.kind == pb.INCIDENT_KIND_DRIFT or (one.state != pb.INCIDENT_STATE_OPEN and not report.days)
        ]
        for warning in report.warnings:
            _say(f"{entity}: {warning.message}")
    if rows:
        table(f"account {config_id}: days out of line", ("id", "day", "severity", "what", "judged by"), rows)
    elif len(failed) < len(response.results):
        _say(f"account {config_id}: nothing out of line")
    for text in failed[:_MOST_ERRORS]:
        _say(text)
    if len(failed) > _MOST_ERRORS:
        _say(f"and {len(failed) - _MOST_ERRORS} more without an answer; see --json")


def _say(text: str) -> None:
    console.print(text, highlight=False, markup=False)


def _severity(number: "pb.Severity.ValueType") -> str:
    name = pb.Severity.Name(number).removeprefix("SEVERITY_").lower()
    return "" if name == "none" else name


def _day(message: date_pb2.Date) -> date:
    return date(message.year, message.month, message.day)
