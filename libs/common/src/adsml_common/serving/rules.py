"""What the contracts' comments demand of requests, as a table.

Every field of every message that a request can hold stands here (a test sees to it), so that a new one can't
be forgotten. What depends on data or models is for the services to say.
"""

from typing import Any, Final

from adsml_common.domain.errors import FieldViolation
from adsml_common.serving.field_rules import (
    Day,
    Days,
    Found,
    Free,
    Many,
    Number,
    Numbers,
    One,
    Rows,
    Rule,
    Text,
    Texts,
    Word,
    Words,
)
from adsml_common.serving.table import REQUIRED, Table, Validator

_MAX_ID: Final = 2**63 - 1
_ROWS: Final = 1_500
_BATCH: Final = 1_000
_INT64: Final = 2.0**63

_HORIZON: Final = Number(1, 90)
_LEVEL: Final = Number(0.5, 0.99)
_LAG: Final = Number(0, 28)
_REASON: Final = Text(1, 2_000, lines=True)
_NOTE: Final = Text(0, 2_000, lines=True)
_PERSON: Final = Text(0, 256)
_MODEL_NAME: Final = Text(1, 256)
_NO_DAY: Final = "is not set; expected year, month and day"
_PAGE: Final[dict[str, Rule]] = {"page_size": Number(1, 1_000, zero=True), "page_token": Text(0, 512)}


def _scope(message: Any, path: str, found: Found) -> None:
    """Entities need exactly one account and a level."""
    if message.entity_ids and (len(message.config_ids) != 1 or message.entity_type == 0):
        found.append(
            FieldViolation(
                f"{path}entity_ids", "needs exactly one account in config_ids and a level in entity_type"
            )
        )


def _amounts(message: Any, path: str, found: Found) -> None:
    """A budget change needs no amounts, but those that are given are amounts."""
    for name in ("value_before", "value_after"):
        if message.HasField(name) and not 0 <= getattr(message, name) < _INT64:
            found.append(
                FieldViolation(
                    path + name, f"is {getattr(message, name):.15g}; expected a finite number, 0 or more"
                )
            )


def _assessed(message: Any, path: str, found: Found) -> None:
    """The last day to assess does not come before the first."""
    if message.HasField("first_date") and message.HasField("last_date"):
        first, last = message.first_date, message.last_date
        if (last.year, last.month, last.day) < (first.year, first.month, first.day):
            found.append(FieldViolation(f"{path}last_date", "comes before first_date"))


def _dated(message: Any, path: str, found: Found) -> None:
    """A change that was made has a day."""
    if message.HasField("change") and not message.change.HasField("date"):
        found.append(FieldViolation(f"{path}change.date", _NO_DAY))


def _all_dated(message: Any, path: str, found: Found) -> None:
    """Changes that were made have a day."""
    for index, change in enumerate(message.changes):
        if not change.HasField("date"):
            found.append(FieldViolation(f"{path}changes[{index}].date", _NO_DAY))


def _detection(message: Any, path: str, found: Found) -> None:
    """Days in order, and a day for every change."""
    _assessed(message, path, found)
    _all_dated(message, path, found)


RULES: Final[Table] = {
    # common
    "adsml.common.v1.EntityRef": {
        "config_id": Number(1, _MAX_ID),
        "entity_type": Word(required=True),
        "entity_id": Text(1, 64),
    },
    "adsml.common.v1.InlineSeries": {
        "config_id": Number(1, _MAX_ID),
        "entity_type": Word(),
        "entity_id": Text(0, 64),
        "rows": Rows(1, _ROWS),
        "account_rows": Rows(0, _ROWS),
    },
    "adsml.common.v1.Subject": {"oneof source": REQUIRED, "entity": One(), "inline": One()},
    "adsml.common.v1.ChangeEvent": {
        # Where a change is made, not planned, its day is required: see _dated and _all_dated.
        "date": Day(),
        "change_type": Word(required=True),
        "value_before": Free(),
        "value_after": Free(),
        "*": _amounts,
        "description": Text(0, 500, lines=True),
    },
    # classifier
    "adsml.classifier.v1.ClassificationOptions": {
        "as_of_date": Day(),
        "max_contributions": Number(0, 100),
        "rules_only": Free(),
    },
    "adsml.classifier.v1.ClassifyEntitiesRequest": {
        "subjects": Many(1, _BATCH, apart=True),
        "options": One(),
    },
    "adsml.classifier.v1.ClassifyNewEntityRequest": {"subject": One(required=True), "options": One()},
    "adsml.classifier.v1.RecordFeedbackRequest": {
        "entity": One(required=True),
        "date": Day(required=True, past=True),
        "tier": Word(required=True),
        "person": _PERSON,
        "note": _NOTE,
    },
    # forecasting
    "adsml.forecasting.v1.ForecastOptions": {
        "horizon_days": _HORIZON,
        "cutoff": Day(),
        "interval_level": _LEVEL,
        "drop_last_days": _LAG,
        "planned_budgets": Many(0, 90),
        "changes": Many(0, 1_000),
        "*": _all_dated,
        "peers": One(),
        "cpl_mode": Word(),
    },
    "adsml.forecasting.v1.PlannedBudget": {"date": Day(required=True), "budget": Number(0)},
    "adsml.forecasting.v1.PeerOptions": {
        "mask_anomalies": Free(),
        "use_change_events": Free(),
        "use_tiers": Free(),
    },
    "adsml.forecasting.v1.EnsembleOptions": {
        "combiner": Word(),
        "members": Words(refused=("ENSEMBLE", "TRANSFER")),
    },
    "adsml.forecasting.v1.ForecastRequest": {
        "subject": One(required=True),
        "metric": Word(required=True),
        "method": Word(required=True, refused=("TRANSFER",)),
        "options": One(),
    },
    "adsml.forecasting.v1.ForecastEnsembleRequest": {
        "subject": One(required=True),
        "metric": Word(required=True),
        "options": One(),
        "ensemble": One(),
    },
    "adsml.forecasting.v1.ForecastNewEntityRequest": {
        "subject": One(required=True),
        "metric": Word(required=True),
        "options": One(),
        "parent": One(),
        "donors": Many(0, 200),
        "tier": Word(),
    },
    "adsml.forecasting.v1.BatchForecastItem": {
        "subject": One(required=True),
        "metric": Word(required=True),
        "method": Word(refused=("TRANSFER",)),
    },
    "adsml.forecasting.v1.BatchForecastRequest": {
        "items": Many(1, _BATCH, apart=True),
        "options": One(),
        "ensemble": One(),
        "include_member_values": Free(),
    },
    "adsml.forecasting.v1.BacktestRequest": {
        "subjects": Many(1, _BATCH),
        "metric": Word(required=True),
        "methods": Words(refused=("TRANSFER",)),
        "horizon_days": _HORIZON,
        "cutoffs": Number(1, 52),
        "step_days": Number(1, 90),
        "min_history_days": Number(1, 1_000),
        "interval_level": _LEVEL,
        "drop_last_days": _LAG,
        "ensemble": One(),
        "bootstrap_samples": Number(0, 10_000),
        "seed": Free(),
    },
    # anomaly
    "adsml.anomaly.v1.SeriesSource": {
        "oneof source": REQUIRED,
        "entity": One(),
        "inline": One(),
        "points": One(),
    },
    "adsml.anomaly.v1.PointSeries": {
        "name": Text(0, 128),
        "points": Many(10, 50_000),
        "season_length": Number(1, 1_000),
    },
    # Times and values are checked where they are read, like daily rows.
    "adsml.anomaly.v1.Point": {"time": Free(), "value": Free()},
    "adsml.anomaly.v1.DetectionOptions": {
        "first_date": Day(),
        "last_date": Day(),
        "*": _detection,
        "false_alarms_per_month": Number(0, 10, above=True),
        "contamination": Number(0, 0.5, above=True),
        "metrics": Words(),
        "excluded_dates": Days(400),
        "changes": Many(0, 1_000),
        "exclude_explained_by_change": Free(),
        "anomalous_only": Free(),
    },
    "adsml.anomaly.v1.DetectAnomaliesRequest": {"series": One(required=True), "options": One()},
    "adsml.anomaly.v1.BatchDetectAnomaliesRequest": {
        "series": Many(1, _BATCH, apart=True),
        "options": One(),
    },
    "adsml.anomaly.v1.RecordFeedbackRequest": {
        "entity": One(required=True),
        "date": Day(required=True, past=True),
        "judgement": Word(required=True),
        "person": _PERSON,
        "note": _NOTE,
    },
    # impact
    "adsml.impact.v1.Panel": {"oneof source": REQUIRED, "stored": One(), "inline": One()},
    "adsml.impact.v1.StoredPanel": {
        "treated": Many(1, 100),
        "controls": Many(0, _BATCH),
        "excluded_controls": Many(0, _BATCH),
    },
    "adsml.impact.v1.InlinePanel": {
        "treated": Many(1, 100),
        "controls": Many(0, _BATCH),
        "account_rows": Rows(0, _ROWS),
    },
    "adsml.impact.v1.ImpactOptions": {
        "before_days": Number(3, 90),
        "after_days": Number(3, 90),
        "washout_days": _LAG,
        "baseline_days": Number(3, 365),
        "metrics": Words(),
        "primary_metric": Word(),
        "estimator": Word(),
        "alpha": Number(0.001, 0.2),
        "equivalence_margin_percent": Number(0, 50, above=True),
        "max_placebos": Number(19, 10_000),
        "drop_last_days": _LAG,
        "seed": Free(),
        "omit_series": Free(),
    },
    "adsml.impact.v1.AnalyzeImpactRequest": {
        "panel": One(required=True),
        "change": One(required=True),
        "*": _dated,
        "options": One(),
    },
    "adsml.impact.v1.AnalyzeImpactItem": {
        "panel": One(required=True),
        "change": One(required=True),
        "*": _dated,
    },
    "adsml.impact.v1.BatchAnalyzeImpactRequest": {
        "items": Many(1, _BATCH, apart=True),
        "options": One(),
    },
    "adsml.impact.v1.EstimateDetectableEffectRequest": {
        "panel": One(required=True),
        "change": One(),
        "options": One(),
        "power": Number(0.5, 0.99),
        "target_percent": Number(0, 500, above=True),
    },
    # registry
    "adsml.registry.v1.ListModelsRequest": {
        "config_id": Number(1, _MAX_ID),
        "entity_type": Word(),
        "entity_id": Text(0, 64),
        "model_type": Text(0, 64),
        "status": Word(),
        "name": Text(0, 256),
        **_PAGE,
    },
    "adsml.registry.v1.GetModelRequest": {"name": _MODEL_NAME, "version": Number(1, 2**31 - 1)},
    "adsml.registry.v1.ActivateModelVersionRequest": {
        "name": _MODEL_NAME,
        "version": Number(1, 2**31 - 1),
        "reason": _REASON,
    },
    "adsml.registry.v1.RollbackModelRequest": {
        "name": _MODEL_NAME,
        "version": Number(1, 2**31 - 1),
        "reason": _REASON,
        "expected_active_version": Number(1, 2**31 - 1),
    },
    "adsml.registry.v1.ListModelEventsRequest": {"name": Text(0, 256), **_PAGE},
    # training
    "adsml.training.v1.TrainingScope": {
        "config_ids": Numbers(10_000, 1),
        "entity_type": Word(),
        "entity_ids": Texts(10_000, 64),
        "*": _scope,
    },
    "adsml.training.v1.StartTrainingRequest": {
        "request_id": Text(1, 128),
        "job": Word(required=True),
        "scope": One(),
        "shard_count": Number(1, 256, zero=True),
        "reason": _NOTE,
    },
    "adsml.training.v1.GetTrainingRunRequest": {
        "run_id": Text(1, 128),
        "max_failed_items": Number(0, 1_000),
    },
    "adsml.training.v1.ListTrainingRunsRequest": {"job": Word(), "state": Word(), **_PAGE},
    "adsml.training.v1.CancelTrainingRunRequest": {"run_id": Text(1, 128), "reason": _NOTE},
}

VALIDATOR: Final = Validator(RULES)
"""Checks whole requests (done by the harness) and single entries of batches (done by handlers)."""
