"""What a case expects of a reply. Each check gives the reasons why it does not hold; none where it does."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from adsml.common.v1 import change_pb2, metrics_pb2, tier_pb2
from google.protobuf import json_format
from google.type import date_pb2

from cases import questions
from cases.questions import Account, Reply


def iso(message: date_pb2.Date) -> str:
    return f"{message.year:04d}-{message.month:02d}-{message.day:02d}"


def words(reply: Reply) -> str:
    """Every text in the reply that a person reads."""
    texts: list[str] = [reply.text]

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            for one in value.values():
                walk(one)
        elif isinstance(value, list):
            for one in value:
                walk(one)
        elif isinstance(value, str):
            texts.append(value)

    if reply.message is not None:
        walk(json_format.MessageToDict(reply.message))
    return "\n".join(texts)


class Expectations:
    """Checks one case's expectations against one reply."""

    def __init__(
        self, case: Mapping[str, Any], account: Account, door: str, reply: Reply, folder: Path
    ) -> None:
        self.case = case
        self.question = case["question"]
        self.account = account
        self.door = door
        self.reply = reply
        self.folder = folder

    def failures(self, expect: Mapping[str, Any] | None = None) -> list[str]:
        """The reasons why the expectations do not hold."""
        out: list[str] = []
        expect = self.case["expect"] if expect is None else expect
        if self.reply.status == "INTERNAL":
            return [f"INTERNAL: {self.reply.text}"]
        allowed = {"status", "status_in", "any_of", "caution_about", "when_ok"}
        if self.reply.message is None and not set(expect) <= allowed:
            return [f"refused: {self.reply.status} {self.reply.text}"]
        for key, value in expect.items():
            check: Callable[[Any], str | None] = getattr(self, key)
            problem = check(value)
            if problem:
                out.append(f"{key}: {problem}")
        return out

    def _again(self, rows: Sequence[Mapping[str, str]]) -> float:
        account = Account(self.case["case"], self.folder, rows=rows)
        method, request = questions.REQUESTS[self.case["family"]](account, self.question, self.door)
        with questions.service(self.case["family"], account) as asked:
            reply = questions.ask(asked, method, request)
        assert reply.message is not None, reply.text
        return float(reply.message.forecast.total.value)  # type: ignore[attr-defined]

    # -- any family -----------------------------------------------------------------------------------------

    def any_of(self, choices: Sequence[Mapping[str, Any]]) -> str | None:
        problems = [self.failures(choice) for choice in choices]
        return None if any(not one for one in problems) else " | ".join("; ".join(one) for one in problems)

    def status(self, expected: str) -> str | None:
        return None if self.reply.status == expected else f"{self.reply.status}, not {expected}"

    def status_in(self, expected: Sequence[str]) -> str | None:
        return None if self.reply.status in expected else f"{self.reply.status}, not in {expected}"

    def when_ok(self, expect: Mapping[str, Any]) -> str | None:
        return None if self.reply.message is None else "; ".join(self.failures(expect)) or None

    def caution_about(self, pattern: str) -> str | None:
        return (
            None if re.search(pattern, words(self.reply), re.IGNORECASE) else f"no word matches {pattern!r}"
        )

    def caution_not_about(self, pattern: str) -> str | None:
        return f"says {pattern!r}" if re.search(pattern, words(self.reply), re.IGNORECASE) else None

    # -- forecasting ----------------------------------------------------------------------------------------

    @property
    def _forecast(self) -> Any:
        return self.reply.message.forecast  # type: ignore[union-attr]

    @property
    def _total(self) -> float | None:
        total = self._forecast.total
        return float(total.value) if self._forecast.HasField("total") and total.HasField("value") else None

    def total_between(self, ends: Sequence[float]) -> str | None:
        value = self._total
        if value is not None and ends[0] <= value <= ends[1]:
            return None
        return f"{value} not in {ends}"

    def total_percent_between(self, ends: Sequence[float]) -> str | None:
        # Rates are in percent where Ads Manager shows percent, which the contract's metrics are.
        return self.total_between(ends)

    def total_is_null(self, expected: bool) -> str | None:
        return None if (self._total is None) == expected else f"total is {self._total}"

    def first_date(self, expected: str) -> str | None:
        first = iso(self._forecast.days[0].date)
        return None if first == expected else f"begins on {first}"

    def days(self, expected: int) -> str | None:
        count = len(self._forecast.days)
        return None if count == expected else f"{count} days"

    def day_between(self, expected: Mapping[str, Sequence[float]]) -> str | None:
        values = {iso(one.date): one.value for one in self._forecast.days}
        wrong = {
            when: values.get(when)
            for when, ends in expected.items()
            if not ends[0] <= values.get(when, math.nan) <= ends[1]
        }
        return f"{wrong}, expected {expected}" if wrong else None

    def other_days_between(self, ends: Sequence[float]) -> str | None:
        named = self.case["expect"].get("day_between", {})
        wrong = {
            iso(one.date): one.value
            for one in self._forecast.days
            if iso(one.date) not in named and not ends[0] <= one.value <= ends[1]
        }
        return f"{wrong} not in {ends}" if wrong else None

    def _width(self) -> float:
        interval = self._forecast.total.interval
        return float(interval.upper - interval.lower)

    def total_interval_width_at_most(self, most: float) -> str | None:
        return None if self._width() <= most else f"{self._width():.1f} wide, at most {most}"

    def total_interval_width_at_least(self, least: float) -> str | None:
        return None if self._width() >= least else f"{self._width():.1f} wide, at least {least}"

    def total_interval_holds(self, value: float) -> str | None:
        interval = self._forecast.total.interval
        return None if interval.lower <= value <= interval.upper else f"[{interval.lower}, {interval.upper}]"

    def answered_at_least(self, least: int) -> str | None:
        count = sum(one.WhichOneof("result") == "forecast" for one in self.reply.message.results)  # type: ignore[union-attr]
        return None if count >= least else f"{count} answered"

    def every_item_answered_or_with_its_own_error(self, expected: bool) -> str | None:
        results = self.reply.message.results  # type: ignore[union-attr]
        return None if all(one.WhichOneof("result") for one in results) else "an item has neither"

    def same_total_without_leading_zero_rows_within_percent(self, percent: float) -> str | None:
        entity = self.question["entity"].partition(":")[2]
        delivered = [
            date.fromisoformat(row["date"])
            for row in self.account.rows
            if row["entity_id"] == entity and float(row["spend"] or 0) + float(row["leads"] or 0) > 0
        ]
        launch = min(delivered).isoformat()
        rows = [row for row in self.account.rows if row["entity_id"] != entity or row["date"] >= launch]
        return self._same(self._again(rows), percent)

    def same_total_with_zero_rows_in_gaps_within_percent(self, percent: float) -> str | None:
        entity = self.question["entity"].partition(":")[2]
        own = {row["date"]: row for row in self.account.rows if row["entity_id"] == entity}
        rows = list(self.account.rows)
        first, last = min(own), max(own)
        blank = {**next(iter(own.values())), "spend": "0", "impressions": "0", "clicks": "0", "leads": "0"}
        span = (date.fromisoformat(last) - date.fromisoformat(first)).days
        rows.extend({**blank, "date": when} for when in questions.following(first, span) if when not in own)
        return self._same(self._again(rows), percent)

    def _same(self, other: float, percent: float) -> str | None:
        total = self._total or 0.0
        return None if abs(other - total) <= percent / 100 * max(abs(total), 1e-9) else f"{total} and {other}"

    # -- impact ---------------------------------------------------------------------------------------------

    @property
    def _report(self) -> Any:
        return self.reply.message.report  # type: ignore[union-attr]

    def _effect(self, metric: str | None = None) -> Any:
        number = (
            self._report.primary_metric
            if metric is None
            else metrics_pb2.Metric.Value(f"METRIC_{metric.upper()}")
        )
        return next(one for one in self._report.effects if one.metric == number)

    def verdict_in(self, expected: Sequence[str]) -> str | None:
        verdict = change_pb2.Verdict.Name(self._report.verdict).removeprefix("VERDICT_")
        return None if verdict in expected else f"{verdict}, not in {expected}"

    def effect_percent_between(self, ends: Sequence[float], metric: str | None = None) -> str | None:
        effect = self._effect(metric)
        percent = 100 * effect.relative if effect.HasField("relative") else math.nan
        return None if ends[0] <= percent <= ends[1] else f"{percent:.1f} not in {ends}"

    def metric_effect_percent_between(self, expected: Mapping[str, Sequence[float]]) -> str | None:
        problems = {metric: self.effect_percent_between(ends, metric) for metric, ends in expected.items()}
        return str(problems) if any(problems.values()) else None

    def metric_verdict_not(self, expected: Mapping[str, Sequence[str]]) -> str | None:
        verdicts = {
            metric: change_pb2.Verdict.Name(self._effect(metric).verdict).removeprefix("VERDICT_")
            for metric in expected
        }
        wrong = {metric: verdict for metric, verdict in verdicts.items() if verdict in expected[metric]}
        return str(wrong) if wrong else None

    def controls_exclude(self, expected: Sequence[str]) -> str | None:
        names = {one.partition(":")[2] for one in expected}
        used = {one.entity.entity_id for one in self._report.controls if one.weight > 0}
        return f"uses {sorted(names & used)}" if names & used else None

    def net_budget(self, expected: Sequence[float]) -> str | None:
        change = self._report.change
        if [change.value_before, change.value_after] == list(expected):
            return None
        text = words(self.reply)
        shown = all(re.search(rf"\b{value:g}\b", text) for value in expected)
        return None if shown else f"{change.value_before:g} to {change.value_after:g}"

    def detectable_over_half_width_between(self, ends: Sequence[float]) -> str | None:
        """The detectable effect, in logs, over the half width of the interval of an analysis of the same window."""
        effect = self.reply.message.effects[0]  # type: ignore[union-attr]
        method, request = (
            "AnalyzeImpact",
            questions.impact(self.account, {**self.question, "method": "analyze_impact"}, self.door)[1],
        )
        with questions.service("impact", self.account) as asked:
            reply = questions.ask(asked, method, request)
        assert reply.message is not None, reply.text
        report = reply.message.report  # type: ignore[attr-defined]
        interval = next(
            one for one in report.effects if one.metric == report.primary_metric
        ).relative_interval
        half = (math.log1p(interval.upper) - math.log1p(interval.lower)) / 2
        problems = []
        for name, logs in (
            ("up", math.log1p(effect.relative_up)),
            ("down", -math.log1p(effect.relative_down)),
        ):
            if not ends[0] <= logs / half <= ends[1]:
                problems.append(f"{name} {logs / half:.2f} not in {ends}")
        return "; ".join(problems) or None

    # -- anomaly --------------------------------------------------------------------------------------------

    @property
    def _reports(self) -> list[Any]:
        message: Any = self.reply.message
        if message.DESCRIPTOR.name == "DetectAnomaliesResponse":
            return [message.report]
        return [one.report for one in message.results if one.WhichOneof("result") == "report"]

    def _alarm_days(self) -> list[str]:
        return [iso(one.date) for report in self._reports for one in report.days if one.anomalous]

    def alarm_on(self, expected: Sequence[str]) -> str | None:
        alarms = set(self._alarm_days())
        for incident in self._incidents():
            alarms.update(
                when for when in expected if iso(incident.first_date) <= when <= iso(incident.last_date)
            )
        missing = set(expected) - alarms
        return f"no alarm on {sorted(missing)}" if missing else None

    def alarm_on_at_least_one_of(self, expected: Sequence[str]) -> str | None:
        return None if set(expected) & set(self._alarm_days()) else "no alarm"

    def no_alarm_on(self, expected: Sequence[str]) -> str | None:
        alarms = set(expected) & set(self._alarm_days())
        return f"alarm on {sorted(alarms)}" if alarms else None

    def alarms_at_most(self, most: int) -> str | None:
        alarms = self._alarm_days()
        return f"{len(alarms)} alarms: {alarms}" if len(alarms) > most else None

    def no_alarm_on_weekdays_without_delivery(self, expected: bool) -> str | None:
        entity = self.question["entity"].partition(":")[2]
        delivers = {
            date.fromisoformat(row["date"]).weekday()
            for row in self.account.rows
            if row["entity_id"] == entity and float(row["spend"] or 0) > 0
        }
        alarms = [when for when in self._alarm_days() if date.fromisoformat(when).weekday() not in delivers]
        return f"alarm on {alarms}" if alarms else None

    def _incidents(self) -> list[Any]:
        message: Any = self.reply.message
        account = list(getattr(message, "incidents", ()))
        return account + [one for report in self._reports for one in report.incidents]

    def ongoing(self, expected: bool) -> str | None:
        incidents = self._incidents()
        state = any("OPEN" in json_format.MessageToDict(one).get("state", "") for one in incidents)
        return None if incidents and state == expected else f"{len(incidents)} incidents, open: {state}"

    def incident_main_metric_in(self, expected: Sequence[str]) -> str | None:
        metrics = [
            metrics_pb2.Metric.Name(one.main_metric).removeprefix("METRIC_") for one in self._incidents()
        ]
        wrong = [one for one in metrics if one not in expected]
        return None if metrics and not wrong else f"{metrics}, expected {expected}"

    def account_incidents_at_most(self, most: int) -> str | None:
        count = self._account_incidents()
        return f"{count} incidents" if count > most else None

    def account_incidents_at_least(self, least: int) -> str | None:
        count = self._account_incidents()
        return f"{count} incidents" if count < least else None

    def _account_incidents(self) -> int:
        message: Any = self.reply.message
        if "incidents" in message.DESCRIPTOR.fields_by_name:
            return len(message.incidents)
        return len({one.incident_id for one in self._incidents()})

    def printed_value_outside_printed_range(self, expected: bool) -> str | None:
        pattern = re.compile(r"(\S[^,;:]*?) (-?[\d.,]+)%?, expected (?:about )?(-?[\d.,]+)%? to (-?[\d.,]+)")
        wrong = []
        for report in self._reports:
            for text in [one.summary for one in (*report.days, *report.incidents)]:
                for name, *numbers in pattern.findall(text):
                    value, low, high = (float(one.rstrip(".,").replace(",", "")) for one in numbers)
                    if low <= value <= high:
                        wrong.append(f"{name} {value} in {low} to {high}")
        return "; ".join(wrong) or None

    # -- classifier -----------------------------------------------------------------------------------------

    def _tier(self) -> str:
        return tier_pb2.Tier.Name(self.reply.message.classification.tier).removeprefix("TIER_")  # type: ignore[union-attr]

    def tier_in(self, expected: Sequence[str]) -> str | None:
        return None if self._tier() in expected else f"{self._tier()}, not in {expected}"

    def tier_not_in(self, expected: Sequence[str]) -> str | None:
        return f"{self._tier()}" if self._tier() in expected else None

    def reason_matches(self, pattern: str) -> str | None:
        answer = self.reply.message.classification  # type: ignore[union-attr]
        texts = [answer.answered_by.reason, *(one.text for one in answer.reasons)]
        return None if re.search(pattern, "\n".join(texts), re.IGNORECASE) else f"{texts}"
