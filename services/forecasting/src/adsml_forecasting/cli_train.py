"""`adsml train prophet` and `adsml train ensemble-weights`."""

import sys
from functools import partial
from typing import Annotated

import typer
from adsml_common.cli.output import JsonOption, console, print_json, table

_CONFIG = typer.Option("--config-id", help="Ad account, or 'all'.")
_TYPES = typer.Option("--entity-type", help="Levels, by commas.")
_METRICS = typer.Option("--metric", help="Metrics, by commas.")
_DROP = typer.Option("--drop-last-days", min=0, max=28, help="Trailing days that are still filling up.")
_REQUEST = typer.Option("--request-id", help="The same again goes on with the same run. Empty: a new run.")
_INDEX = typer.Option(
    "--shard-index", min=0, envvar="JOB_COMPLETION_INDEX", help="Which shard this process does."
)
_COUNT = typer.Option("--shard-count", min=1, help="In how many shards the run is split.")


def train_prophet(
    config_id: Annotated[str, _CONFIG] = "all",
    entity_type: Annotated[str, _TYPES] = "campaign,adset",
    metric: Annotated[str, _METRICS] = "spend,leads,cpl",
    drop_last_days: Annotated[int, _DROP] = 0,
    request_id: Annotated[str, _REQUEST] = "",
    shard_index: Annotated[int, _INDEX] = 0,
    shard_count: Annotated[int, _COUNT] = 1,
    json_output: JsonOption = False,
) -> None:
    """Tune Prophet for every entity and metric; parameters serve where they beat the defaults."""
    _run(
        "prophet",
        config_id,
        entity_type,
        metric,
        drop_last_days,
        request_id,
        shard_index,
        shard_count,
        json_output,
    )


def train_ensemble_weights(
    config_id: Annotated[str, _CONFIG] = "all",
    entity_type: Annotated[str, _TYPES] = "campaign,adset",
    metric: Annotated[str, _METRICS] = "spend,leads,cpl",
    drop_last_days: Annotated[int, _DROP] = 0,
    request_id: Annotated[str, _REQUEST] = "",
    shard_index: Annotated[int, _INDEX] = 0,
    shard_count: Annotated[int, _COUNT] = 1,
    json_output: JsonOption = False,
) -> None:
    """Learn members, weights and intervals of the ensemble by rolling origins, per level and campaign."""
    _run(
        "ensemble",
        config_id,
        entity_type,
        metric,
        drop_last_days,
        request_id,
        shard_index,
        shard_count,
        json_output,
    )


def _run(
    family: str,
    config_id: str,
    entity_type: str,
    metric: str,
    drop_last_days: int,
    request_id: str,
    shard_index: int,
    shard_count: int,
    json_output: bool,
) -> None:
    import uuid  # noqa: PLC0415

    from adsml_common.cli.context import open_database, open_registry, settings  # noqa: PLC0415
    from adsml_common.domain.entities import EntityType  # noqa: PLC0415
    from adsml_common.domain.errors import InvalidInput  # noqa: PLC0415
    from adsml_common.domain.metrics import Metric  # noqa: PLC0415
    from adsml_common.store.metrics import MetricStore  # noqa: PLC0415
    from adsml_common.training.job import run_job  # noqa: PLC0415
    from adsml_common.training.records import run_id_of  # noqa: PLC0415
    from adsml_common.training.runs import TrainingRuns  # noqa: PLC0415

    from adsml_forecasting import training  # noqa: PLC0415

    def words(text: str, kind: type[EntityType] | type[Metric], option: str) -> list[str]:
        found = [word.strip().lower() for word in text.split(",") if word.strip()]
        known = [one.value for one in kind]
        for word in found:
            if word not in known:
                raise InvalidInput.at(option, f"{word!r} is not known; expected {', '.join(known)}")
        return found

    levels = [EntityType(word) for word in words(entity_type, EntityType, "--entity-type")]
    metrics = [Metric(word) for word in words(metric, Metric, "--metric")]
    job = "prophet" if family == "prophet" else "ensemble-weights"
    asked = request_id or uuid.uuid4().hex
    config = settings()
    with open_database(config) as database:
        store, registry = MetricStore(database), open_registry(config, database)
        if config_id == "all":
            accounts = store.config_ids()
        elif config_id.isdigit():
            accounts = [int(config_id)]
        else:
            raise InvalidInput.at("--config-id", f"is {config_id!r}; expected a number or 'all'")
        todo = training.items(
            store,
            family=family,
            config_ids=accounts,
            entity_types=levels,
            metrics=metrics,
            drop_last_days=drop_last_days,
        )
        train = training.train_prophet if family == "prophet" else training.train_ensemble
        run = run_job(
            job,
            todo,
            partial(train, store=store, registry=registry, run_id=run_id_of(job, asked)),
            runs=TrainingRuns(database),
            request_id=asked,
            parameters={
                "config_id": config_id,
                "entity_types": [level.value for level in levels],
                "metrics": [one.value for one in metrics],
                "drop_last_days": drop_last_days,
            },
            shard_index=shard_index,
            shard_count=shard_count,
        )
        rows = TrainingRuns(database).items(run.run_id)
    if json_output:
        print_json({"run": run, "items": rows})
    else:
        table(
            f"{job}: {run.status.value.lower()}",
            ["item", "status", "what came of it"],
            [[row.key, row.status.value, row.reason] for row in rows],
        )
        console.print(f"run {run.run_id}")
    if run.exit_status:
        sys.exit(run.exit_status)
