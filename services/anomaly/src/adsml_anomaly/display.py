"""What `adsml anomalies` says to a person: a sentence, then one paragraph for each cause or entity."""

import textwrap
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Final

from adsml.anomaly.v1 import anomaly_service_pb2 as pb
from adsml.common.v1 import answer_pb2, entity_pb2, warning_pb2
from adsml_common.cli.output import console
from google.type import date_pb2

_WIDTH: Final = 80
_SHOWN: Final = 10
_LEVELS: Final = {
    entity_pb2.ENTITY_TYPE_CAMPAIGN: "campaign",
    entity_pb2.ENTITY_TYPE_ADSET: "ad set",
    entity_pb2.ENTITY_TYPE_AD: "ad",
}
GOOD_NEWS: Final = (
    pb.INCIDENT_KIND_LEADS_SURGE, pb.INCIDENT_KIND_ENGAGEMENT_RISE, pb.INCIDENT_KIND_COST_FALL,
)  # fmt: skip


def show_account(config_id: int, response: pb.DetectAccountAnomaliesResponse) -> None:
    """Incidents by cause, and what was looked at."""
    first, last = _day(response.first_date), _day(response.as_of_date)
    currency = f" {response.currency_code}" if response.currency_code else ""
    span = f"from {first} to {last}" if first < last else f"on {last}"
    incidents = response.incidents
    going_on = [one for one in incidents if one.state == pb.INCIDENT_STATE_OPEN]
    if not incidents:
        say(f"Account {config_id}: nothing out of line {span}.")
    else:
        stake = sum(one.money_at_stake_per_day for one in going_on)
        money = f" with {stake:,.0f}{currency} a day at stake" if stake else ""
        now = f"{_counted(len(going_on), 'open incident')}{money}" if going_on else "nothing is open"
        over = f", {len(incidents) - len(going_on)} over" if len(incidents) > len(going_on) else ""
        say(f"Account {config_id}, {span}: {now}{over}.")
    behind = (datetime.now(UTC).date() - _day(response.account_last_date)).days
    if behind > 1:
        say(f"The account's data end on {_day(response.account_last_date)}, {behind} days ago.")
    for warning in response.warnings:
        say(_sentence(warning.message))
    # Of what was hardly out of line and is over, a line each will do.
    minor = [one for one in incidents if one not in going_on and one.severity <= pb.SEVERITY_LOW]
    shown = [one for one in incidents if one not in minor]
    for number, one in enumerate(shown[:_SHOWN], 1):
        say("")
        _show_incident(number, one, currency)
    if minor:
        say("\nOver, and hardly out of line:")
    for one in minor[:_SHOWN]:
        say(f"  {_when(one)}  {_title(one)}: {_sentence(what(one))}", " " * 14)
    if hidden := len(shown[_SHOWN:]) + len(minor[_SHOWN:]):
        say(f"\n{_counted(hidden, 'incident')} more with less at stake: --json lists all.")
    parts = [f"{_counted(response.assessed_count, 'entity')} looked at"]
    if response.stopped_count:
        parts.append(f"{response.stopped_count} of them had stopped before")
    if response.skipped_count:
        parts.append(f"{response.skipped_count} more have too few days to be judged")
    say("\n" + "; ".join(parts) + ".")


def _show_incident(number: int, one: pb.Incident, currency: str) -> None:
    level = _LEVELS.get(one.entity.entity_type, "")
    if below := len(one.children):
        level = f"{level} and {below} below" if level else _counted(below, "entity")
    if one.kind == pb.INCIDENT_KIND_DRIFT:
        standing = ", slowly"
    elif one.state == pb.INCIDENT_STATE_OPEN:
        standing = "" if one.first_date == one.last_date else ", still open"
    else:
        standing = ", over" if one.state == pb.INCIDENT_STATE_RESOLVED else ", the new normal by now"
    worth = "good news" if one.kind in GOOD_NEWS else _word(one.severity)
    if one.money_at_stake_per_day:
        worth += f", {one.money_at_stake_per_day:,.0f}{currency} a day at stake"
    say(f"{number:>2}. {_title(one)}" + (f" ({level})" if level else ""), "    ")
    say(f"    {_when(one)}{standing}: {worth}", "    ")
    say(f"    {_sentence(what(one))}", "    ")


def _title(one: pb.Incident) -> str:
    named = {pb.INCIDENT_SCOPE_ACCOUNT: "The whole account", pb.INCIDENT_SCOPE_LOAD: "The account's load"}
    return named.get(one.scope, one.title)


def _when(one: pb.Incident) -> str:
    first, last = _day(one.first_date), _day(one.last_date)
    if one.state == pb.INCIDENT_STATE_OPEN and one.kind != pb.INCIDENT_KIND_DRIFT:
        return f"since {first}" if first < last else f"new on {first}"
    return f"{first} to {last}" if first < last else f"{first}"


def what(one: pb.Incident) -> str:
    """An incident's summary without the days that it begins with."""
    return one.summary.partition(": ")[2] or one.summary


def show_open(accounts: Sequence[tuple[int, int, float, str]]) -> None:
    """Accounts with open incidents: how many, money at stake per day, its currency."""
    if not accounts:
        say("Nothing is open.")
        return
    total = sum(n for _, n, _, _ in accounts)
    say(f"{_counted(total, 'open incident')} in {_counted(len(accounts), 'account')}:")
    for config_id, n, stake, currency in accounts[:_SHOWN]:
        money = f", with {stake:,.0f}{' ' + currency if currency else ''} a day at stake" if stake else ""
        say(f"  account {config_id}: {n} open{money}")
    if len(accounts) > _SHOWN:
        say(f"  and {_counted(len(accounts) - _SHOWN, 'account')} more with less at stake")
    say(f"What they are: adsml anomalies --config-id {accounts[0][0]}")


def show_days(response: pb.BatchDetectAnomaliesResponse) -> None:
    """Days of some entities, an entity after the other."""
    for number, result in enumerate(response.results):
        if number:
            say("")
        entity = result.entity
        name = f"{_LEVELS.get(entity.entity_type, 'series').capitalize()} {entity.entity_id}"
        if result.WhichOneof("result") == "error":
            say(f"{name} was not judged: {result.error.message}", "  ")
            continue
        report = result.report
        strange = [one for one in report.days if one.anomalous]
        # What goes on without a strange day among those asked for: a drift, or a fault that is over.
        beside = [
            one
            for one in report.incidents
            if one.kind == pb.INCIDENT_KIND_DRIFT or (one.state != pb.INCIDENT_STATE_OPEN and not report.days)
        ]
        stopped = [one for one in report.warnings if one.type == warning_pb2.WARNING_TYPE_STOPPED]
        found = stopped[0].message if stopped else "nothing out of line"
        found = f"{_counted(len(strange), 'day')} out of line" if strange else found
        say(f"{name}: {found}.", "  ")
        for day in report.days:
            words = _sentence(day.summary or day.exclusion_reason or "as expected")
            say(f"  {_day(day.date)}  {_word(day.severity):8}  {words}", " " * 24)
        for one in beside:
            say(f"  {_day(one.last_date)}  {_word(one.severity):8}  {_sentence(one.summary)}", " " * 24)
        by = report.answered_by
        source = f"{by.model.name}, version {by.model.version}" if by.HasField("model") else by.method
        own = by.source == answer_pb2.ANSWER_SOURCE_MODEL
        say(f"  Judged by {'its own model' if own else 'what is usual here'} ({source}).", "  ")
        for warning in report.warnings:
            if strange or warning not in stopped:
                say(f"  {_sentence(warning.message)}", "  ")


def say(text: str, indent: str = "") -> None:
    """In lines of 80 columns, those after the first with an indent."""
    for line in text.split("\n"):
        wrapped = textwrap.wrap(line, _WIDTH, subsequent_indent=indent, break_on_hyphens=False) or [""]
        console.print("\n".join(wrapped), highlight=False, markup=False, soft_wrap=True)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?")) else ".")


def _counted(n: int, noun: str) -> str:
    plural = noun[:-1] + "ies" if noun.endswith("y") and not noun.endswith("ay") else noun + "s"
    return f"{n:,} {noun if n == 1 else plural}"


def _word(severity: "pb.Severity.ValueType") -> str:
    name = pb.Severity.Name(severity).removeprefix("SEVERITY_").lower()
    return "-" if name == "none" else name


def _day(message: date_pb2.Date) -> date:
    return date(message.year, message.month, message.day)
