"""`adsml train prophet` and `adsml train ensemble-weights`."""

from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from adsml_common.cli.training import Job, training_command
from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import InvalidInput
from adsml_common.domain.metrics import Metric

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adsml_common.database import Database
    from adsml_common.training.attempt import TrainOne
    from adsml_common.training.context import TrainingContext
    from adsml_common.training.records import Item

_T = TypeVar("_T", bound=StrEnum)
_TypesOption = Annotated[str, typer.Option("--entity-type", help="Levels, by commas.")]
_MetricsOption = Annotated[str, typer.Option("--metric", help="Metrics, by commas.")]
_DropOption = Annotated[
    int,
    typer.Option("--attribution-lag-days", min=0, max=28, help="Trailing days that are still filling up."),
]


@training_command(item_seconds=900.0)
def train_prophet(
    entity_type: _TypesOption = "campaign,adset",
    metric: _MetricsOption = "spend,leads",
    attribution_lag_days: _DropOption = 0,
) -> Job:
    """Tune Prophet for every entity and metric; parameters serve where they beat the defaults.

    Example: adsml train prophet --config-id 1
    """
    return _job("prophet", "prophet", entity_type, metric, attribution_lag_days)


@training_command(item_seconds=1800.0)
def train_ensemble_weights(
    entity_type: _TypesOption = "campaign,adset",
    metric: _MetricsOption = "spend,leads",
    attribution_lag_days: _DropOption = 0,
) -> Job:
    """Learn members, weights and intervals of the ensemble by rolling origins, per level and campaign.

    Example: adsml train ensemble-weights --config-id 1
    """
    return _job("ensemble-weights", "ensemble", entity_type, metric, attribution_lag_days)


def _job(name: str, family: str, entity_type: str, metric: str, attribution_lag_days: int) -> Job:
    levels = _members(entity_type, EntityType, "--entity-type")
    metrics = _members(metric, Metric, "--metric")

    def items(database: "Database", accounts: "Sequence[int]") -> "list[Item]":
        from adsml_common.store.metrics import MetricStore  # noqa: PLC0415

        from adsml_forecasting.training import jobs  # noqa: PLC0415

        return jobs.items(
            MetricStore(database),
            family=family,
            config_ids=accounts,
            entity_types=levels,
            metrics=metrics,
            attribution_lag_days=attribution_lag_days,
        )

    return Job(
        name,
        items,
        partial(_trainer, family=family),
        preload=("adsml_forecasting.training.jobs",),
        options={
            "entity_types": [level.value for level in levels],
            "metrics": [one.value for one in metrics],
            "attribution_lag_days": attribution_lag_days,
        },
    )


def _trainer(context: "TrainingContext", family: str) -> "TrainOne":
    from adsml_common.store.metrics import MetricStore  # noqa: PLC0415

    from adsml_forecasting.training import jobs  # noqa: PLC0415

    train_one = jobs.train_prophet if family == "prophet" else jobs.train_ensemble
    return partial(
        train_one, store=MetricStore(context.database), registry=context.registry, run_id=context.run_id
    )


def _members(text: str, kind: "type[_T]", option: str) -> "list[_T]":
    """Those of an enum, by commas."""
    known = [one.value for one in kind]
    words = [word.strip().lower() for word in text.split(",") if word.strip()]
    for word in words:
        if word not in known:
            raise InvalidInput.at(option, f"{word!r} is not known; expected {', '.join(known)}")
    return [kind(word) for word in words]
