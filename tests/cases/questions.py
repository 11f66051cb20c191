"""A case of ../shared/cases/models as a request, put to a family's service by one of two doors."""

import csv
import importlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import grpc
from adsml.anomaly.v1 import anomaly_service_pb2 as anomaly_pb
from adsml.classifier.v1 import classifier_service_pb2 as classifier_pb
from adsml.common.v1 import change_pb2, entity_pb2, metrics_pb2
from adsml.forecasting.v1 import forecasting_service_pb2 as forecasting_pb
from adsml.impact.v1 import impact_service_pb2 as impact_pb
from adsml_common.database import Database
from adsml_common.domain.errors import AdsmlError
from adsml_common.serving.context import CallContext
from adsml_common.serving.errors import status_of
from adsml_common.serving.serialized import SerializedResponse
from adsml_common.store.changes import ChangeStore
from adsml_common.store.entities import EntityStore
from adsml_common.store.metrics import MetricStore
from adsml_ingest import import_files
from adsml_ingest.change_log import KnownAccount, read_changes
from google.protobuf.message import Message
from google.type import date_pb2
from support.databases import migrated

FOLDER = Path(os.environ.get("ADSML_CASES", Path(__file__).parents[3] / "shared" / "cases" / "models"))
CONFIG = 1
LEVELS = ("campaign", "adset", "ad")


def cases() -> list[dict[str, Any]]:
    """Every case; none where the folder is absent."""
    path = FOLDER / "cases.json"
    return json.loads(path.read_text()) if path.exists() else []


@dataclass(frozen=True)
class Reply:
    """What a service answered: a message, or the status it refused with."""

    message: Message | None
    status: str = "OK"
    text: str = ""


def day(text: str) -> date_pb2.Date:
    parsed = date.fromisoformat(text)
    return date_pb2.Date(year=parsed.year, month=parsed.month, day=parsed.day)


class Account:
    """A case's rows and change log, stored in a database of its own and at hand for inline requests."""

    def __init__(self, name: str, folder: Path, *, rows: Sequence[Mapping[str, str]] | None = None) -> None:
        self.folder = folder
        source = FOLDER / name
        with (source / "daily.csv").open() as file:
            self.rows = list(csv.DictReader(file)) if rows is None else list(rows)
        changes = source / "changes.csv"
        self.changes: list[dict[str, str]] = []
        if changes.exists():
            with changes.open() as file:
                self.changes = list(csv.DictReader(file))
        self.parents = {row["entity_id"]: row["parent_id"] for row in self.rows}
        self.levels = {row["entity_id"]: row["entity_type"] for row in self.rows}
        self.url = f"sqlite:///{folder / 'case.db'}"
        self._store(changes)

    def _store(self, changes: Path) -> None:
        daily = self.folder / "daily.csv"
        with daily.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(self.rows[0]))
            writer.writeheader()
            writer.writerows(self.rows)
        migrated(self.url)
        database = Database.open(self.url)
        try:
            import_files([daily], config_id=CONFIG, store=MetricStore(database))
            if self.changes:
                known = KnownAccount(CONFIG, EntityStore(database).list(CONFIG))
                ChangeStore(database).upsert(read_changes(changes, account=known).events)
        finally:
            database.close()

    def entities(self, level: str | None = None) -> list[str]:
        return sorted(name for name, kind in self.levels.items() if level in {None, kind})

    def stored(self, name: str) -> entity_pb2.EntityRef:
        kind, _, entity = name.partition(":")
        return entity_pb2.EntityRef(
            config_id=CONFIG, entity_type=f"ENTITY_TYPE_{kind.upper()}", entity_id=entity
        )

    def inline(
        self, name: str, *, rename: str | None = None, account: bool = False
    ) -> entity_pb2.InlineSeries:
        kind, _, entity = name.partition(":")
        series = entity_pb2.InlineSeries(
            entity_type=f"ENTITY_TYPE_{kind.upper()}", entity_id=rename or entity
        )
        series.rows.extend(self._daily(row for row in self.rows if row["entity_id"] == entity))
        if account:
            series.account_rows.extend(self._account_rows())
        return series

    def _account_rows(self) -> list[metrics_pb2.DailyMetrics]:
        level = next(kind for kind in LEVELS if kind in self.levels.values())
        sums: dict[str, dict[str, float]] = {}
        for row in self.rows:
            if row["entity_type"] == level:
                total = sums.setdefault(
                    row["date"], dict.fromkeys(("spend", "impressions", "clicks", "leads"), 0.0)
                )
                for metric in total:
                    total[metric] += float(row[metric] or 0)
        return list(
            self._daily(
                {"date": when, **{k: str(v) for k, v in total.items()}} for when, total in sums.items()
            )
        )

    @staticmethod
    def _daily(rows: Iterator[Mapping[str, str]] | Any) -> Iterator[metrics_pb2.DailyMetrics]:
        for row in rows:
            yield metrics_pb2.DailyMetrics(
                date=day(row["date"]),
                spend=float(row["spend"] or 0),
                impressions=int(float(row["impressions"] or 0)),
                clicks=int(float(row["clicks"] or 0)),
                leads=float(row["leads"] or 0),
            )

    def change_events(self, entity: str) -> list[change_pb2.ChangeEvent]:
        """The recorded changes of an entity, of its parents and of its children."""
        related = {entity}
        above = self.parents.get(entity, "")
        while above:
            related.add(above)
            above = self.parents.get(above, "")
        return [self.change_event(row) for row in self.changes if row["entity_id"] in related]

    @staticmethod
    def change_event(row: Mapping[str, str]) -> change_pb2.ChangeEvent:
        event = change_pb2.ChangeEvent(
            date=day(row["date"]), change_type=f"CHANGE_TYPE_{row['change_type'].upper()}"
        )
        if row.get("budget_before"):
            event.value_before = float(row["budget_before"])
        if row.get("budget_after"):
            event.value_after = float(row["budget_after"])
        return event


@contextmanager
def service(family: str, account: Account) -> Iterator[Any]:
    """The family's service on the account's database, as every door opens it."""
    server = importlib.import_module(f"adsml_{family}.server")
    settings = importlib.import_module(f"adsml_{family}.settings")
    kind = getattr(settings, f"{family.capitalize()}Settings")
    opened = server.open_service(
        kind(
            database_url=account.url,
            artifact_url=str(account.folder / "models"),
            cache_dir=account.folder / "cache",
        )
    )
    try:
        yield opened.service
    finally:
        opened.close()


def ask(asked: Any, method: str, request: Message, *, seconds: float | None = None) -> Reply:
    """The service's reply; a refusal that is no domain error is INTERNAL, as it would be to a caller."""
    import time

    deadline = None if seconds is None else time.monotonic() + seconds
    context = CallContext(method, deadline_at=deadline)
    try:
        response = getattr(asked, method)(request, context)
        return Reply(response.message() if isinstance(response, SerializedResponse) else response)
    except AdsmlError as error:
        status = status_of(error)
        name = next(code.name for code in grpc.StatusCode if code.value[0] == status.code)
        return Reply(None, name, status.message)
    except Exception as error:
        return Reply(None, "INTERNAL", f"{type(error).__name__}: {error}")


def planned(question: Mapping[str, Any]) -> list[forecasting_pb.PlannedBudget]:
    return [
        forecasting_pb.PlannedBudget(date=day(when), budget=float(budget))
        for when, budget in question.get("planned_budget", {}).items()
    ]


def _batch(
    account: Account, question: Mapping[str, Any], door: str, options: forecasting_pb.ForecastOptions
) -> tuple[str, Message]:
    request = forecasting_pb.BatchForecastRequest(options=options)
    for copy in range(question.get("copies", 1)):
        for name in question["entity"]:
            item = request.items.add(metric=f"METRIC_{question['metric'].upper()}")
            if door == "stored":
                item.subject.entity.CopyFrom(account.stored(name))
            else:
                item.subject.inline.CopyFrom(account.inline(name, rename=f"{name}-{copy}"))
    return "BatchForecast", request


def forecast(account: Account, question: Mapping[str, Any], door: str) -> tuple[str, Message]:
    """Method and request of a forecasting case."""
    options = forecasting_pb.ForecastOptions(
        horizon_days=question["horizon"], as_of_date=day(question["as_of"]), planned_budgets=planned(question)
    )
    if "interval_level" in question:
        options.interval_level = question["interval_level"]
    metric = f"METRIC_{question['metric'].upper()}"
    if question.get("batch"):
        return _batch(account, question, door, options)
    name = question["entity"]
    subject = entity_pb2.Subject()
    if door == "stored":
        subject.entity.CopyFrom(account.stored(name))
    else:
        subject.inline.CopyFrom(account.inline(name))
        options.changes.extend(account.change_events(name.partition(":")[2]))
    if question["method"] == "forecast_new_entity":
        new = forecasting_pb.ForecastNewEntityRequest(subject=subject, metric=metric, options=options)
        if door != "stored":
            if question.get("parent"):
                new.parent.CopyFrom(account.inline(question["parent"]))
            for donor in question.get("donors", ()):
                new.donors.add(inline=account.inline(donor))
        return "ForecastNewEntity", new
    if question["method"] == "forecast":
        return "Forecast", forecasting_pb.ForecastRequest(
            subject=subject,
            metric=metric,
            options=options,
            method=f"FORECAST_METHOD_{question['forecast_method'].upper()}",
        )
    return "ForecastEnsemble", forecasting_pb.ForecastEnsembleRequest(
        subject=subject, metric=metric, options=options
    )


def detect(account: Account, question: Mapping[str, Any], door: str) -> tuple[str, Message]:
    """Method and request of an anomaly case."""
    options = anomaly_pb.DetectionOptions(
        first_date=day(question["first_date"]), as_of_date=day(question["last_date"])
    )
    if "still_filling_days" in question:
        options.attribution_lag_days = question["still_filling_days"]
    options.exclude_explained_by_change = question.get("exclude_explained_by_change", False)
    name = question["entity"]
    names = [f"{account.levels[one]}:{one}" for one in account.entities()] if name == "*" else [name]
    subjects = []
    for one in names:
        subject = anomaly_pb.DetectionSubject()
        if door == "stored":
            subject.entity.CopyFrom(account.stored(one))
        else:
            subject.inline.CopyFrom(account.inline(one))
            if name != "*":
                options.changes.extend(account.change_events(one.partition(":")[2]))
        subjects.append(subject)
    if name == "*":
        return "BatchDetectAnomalies", anomaly_pb.BatchDetectAnomaliesRequest(
            subjects=subjects, options=options
        )
    return "DetectAnomalies", anomaly_pb.DetectAnomaliesRequest(subject=subjects[0], options=options)


def classify(account: Account, question: Mapping[str, Any], door: str) -> tuple[str, Message]:
    """Method and request of a classifier case."""
    request = classifier_pb.ClassifyRequest()
    request.options.as_of_date.CopyFrom(day(question["as_of"]))
    request.options.rules_only = question.get("rules_only", False)
    if door == "stored":
        request.subject.entity.CopyFrom(account.stored(question["entity"]))
    else:
        request.subject.inline.CopyFrom(account.inline(question["entity"], account=True))
    return "Classify", request


def impact(account: Account, question: Mapping[str, Any], door: str) -> tuple[str, Message]:
    """Method and request of an impact case."""
    panel = impact_pb.Panel()
    if door == "stored":
        panel.stored.treated.append(account.stored(question["entity"]))
        panel.stored.controls.extend(account.stored(one) for one in question["controls"])
    else:
        panel.inline.treated.append(account.inline(question["entity"]))
        panel.inline.controls.extend(account.inline(one) for one in question["controls"])
        sent = {one.partition(":")[2] for one in (question["entity"], *question["controls"])}
        for row in account.changes:
            owner = row["entity_id"]
            while owner and owner not in sent:
                owner = account.parents.get(owner, "")
            if owner:
                panel.inline.changes.add(entity_id=owner, change=account.change_event(row))
    change = change_pb2.ChangeEvent(
        date=day(question["change_date"]), change_type=f"CHANGE_TYPE_{question['change_type'].upper()}"
    )
    if "budget_before" in question:
        change.value_before, change.value_after = question["budget_before"], question["budget_after"]
    options = impact_pb.ImpactOptions(
        before_days=question["windows"]["before_days"],
        after_days=question["windows"]["after_days"],
        attribution_lag_days=question["windows"]["drop_last_days"],
    )
    if "metric" in question:
        options.primary_metric = impact_pb.ImpactOptions(
            primary_metric=f"METRIC_{question['metric'].upper()}"
        ).primary_metric
    if question["method"] == "detectable_effect":
        return "EstimateDetectableEffect", impact_pb.EstimateDetectableEffectRequest(
            panel=panel, change=change, options=options, power=question["power"]
        )
    return "AnalyzeImpact", impact_pb.AnalyzeImpactRequest(panel=panel, change=change, options=options)


REQUESTS = {"forecasting": forecast, "anomaly": detect, "classifier": classify, "impact": impact}


def doors(case: Mapping[str, Any]) -> tuple[str, ...]:
    """The ways a case can be asked: a question about the change log or the account needs what is stored."""
    question = case["question"]
    if (
        question.get("stored")
        or question.get("from_change_log")
        or (case["family"] == "anomaly" and question["entity"] == "*")
    ):
        return ("stored",)
    if question.get("copies", 1) > 1:
        return ("inline",)
    return ("inline", "stored")


def last_day(rows: Sequence[Mapping[str, str]]) -> date:
    return max(date.fromisoformat(row["date"]) for row in rows)


def following(when: str, days: int) -> list[str]:
    return [(date.fromisoformat(when) + timedelta(days=step)).isoformat() for step in range(1, days + 1)]
