"""The anomaly family's commands. Nothing heavy is imported before one of them runs."""

from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from adsml_common.cli.family import Family
from adsml_common.cli.output import JsonOption, console, print_json, table
from adsml_common.cli.training import (
    ConfigOption,
    ItemSecondsOption,
    RequestOption,
    ShardCountOption,
    ShardIndexOption,
    WorkersOption,
)
from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterable

    from adsml_common.registry.bundle import Bundle
    from adsml_common.registry.models import ModelVersion
    from adsml_common.training.attempt import TrainOne
    from adsml_common.training.context import TrainingContext
    from adsml_report.content import Section
    from adsml_report.context import ReportContext


def _serve() -> int:
    from adsml_common.serving.threads import pin_threads  # noqa: PLC0415

    pin_threads()
    from adsml_anomaly.server import main  # noqa: PLC0415

    return main()


def train_detectors(
    config_id: ConfigOption = "all",
    entity_type: Annotated[EntityType | None, typer.Option(help="Only entities of this level.")] = None,
    false_alarms: Annotated[
        float | None, typer.Option(min=0.01, max=10, help="Per entity and 30 days.  [default: 1]")
    ] = None,
    contamination: Annotated[
        float | None, typer.Option(min=0.0003, max=0.33, help="The same as a share of days.")
    ] = None,
    request_id: RequestOption = None,
    shard_index: ShardIndexOption = 0,
    shard_count: ShardCountOption = 1,
    workers: WorkersOption = None,
    item_seconds: ItemSecondsOption = 600.0,
    json_output: JsonOption = False,
) -> None:
    """Train and register a detector for every entity with 28 days of delivery, and profiles for the rest.

    Example: adsml train anomaly-detectors --config-id 1
    """
    from adsml_common.cli.training import Job, train  # noqa: PLC0415

    from adsml_anomaly.thresholds import DEFAULT_FALSE_ALARMS, of_contamination  # noqa: PLC0415
    from adsml_anomaly.training_items import JOB, items_of  # noqa: PLC0415

    if false_alarms is not None and contamination is not None:
        raise InvalidInput.at("--contamination", "says the same as --false-alarms; give one of them")
    rate = of_contamination(contamination) if contamination is not None else false_alarms
    rate = DEFAULT_FALSE_ALARMS if rate is None else rate
    train(
        Job(
            JOB,
            partial(items_of, entity_type=entity_type),
            partial(_trainer, false_alarms=rate),
            preload=("adsml_anomaly.training",),
            entity_type=entity_type,
            options={"false_alarms": rate},
        ),
        config_id=config_id,
        request_id=request_id,
        shard_index=shard_index,
        shard_count=shard_count,
        workers=workers,
        item_seconds=item_seconds,
        json_output=json_output,
    )


def _trainer(context: "TrainingContext", false_alarms: float) -> "TrainOne":
    from adsml_anomaly.training import DetectorTrainer  # noqa: PLC0415

    return DetectorTrainer(
        context.database, context.registry, run_id=context.run_id, false_alarms=false_alarms
    )


def evaluate_anomaly(
    data: Annotated[Path, typer.Option(help="Directory of CSV files: timestamp, value.")],
    windows: Annotated[Path, typer.Option(help='NAB\'s windows: {"FILE": [["first", "last"], ...]}.')],
    json_output: JsonOption = False,
) -> None:
    """Score the point detector on labelled series by the Numenta Anomaly Benchmark's own rule.

    Example: adsml evaluate anomaly --data series --windows windows.json --json
    """
    from adsml_anomaly.evaluation import evaluate  # noqa: PLC0415

    found = evaluate(data, windows)
    if json_output:
        print_json(found)
        return
    rows = [
        (name, f"{one['standard']:.1f}", f"{one['hit']} of {one['windows']}", one["false_detections"])
        for name, one in found["per_file"].items()
    ]
    rows.append(("all", f"{found['nab_standard']:.1f}", "", ""))
    table(
        f"NAB, standard profile, one threshold ({found['threshold']:.2f})",
        ("file", "score", "windows hit", "false"),
        rows,
        right=("score", "windows hit", "false"),
    )
    fixed = found["fixed_threshold"]
    console.print(
        f"at a threshold of {fixed['threshold']} set beforehand: {fixed['nab_standard']:.1f}", highlight=False
    )
    for name in found["not_found"]:
        console.print(f"no data for {name}", highlight=False, markup=False)
    for name, reason in found["skipped"].items():
        console.print(f"{name} was not scored: {reason}", highlight=False, markup=False)
    for name in found["unlabelled"]:
        console.print(f"{name} has no windows and was not scored", highlight=False, markup=False)


def anomalies(
    config_id: Annotated[int, typer.Option(min=1, help="The ad account.")],
    entity_type: Annotated[EntityType | None, typer.Option(help="Only this level.")] = None,
    entity_id: Annotated[
        list[str] | None, typer.Option(help="Only these; may be repeated.", show_default=False)
    ] = None,
    first_date: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="First day.  [default: the last stored]")
    ] = None,
    last_date: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Last day.  [default: the last stored]")
    ] = None,
    false_alarms: Annotated[
        float | None,
        typer.Option(min=0.01, max=10, help="Per entity and 30 days.  [default: each one's own]"),
    ] = None,
    contamination: Annotated[
        float | None, typer.Option(min=0.0003, max=0.33, help="The same as a share of days.")
    ] = None,
    all_: Annotated[
        bool,
        typer.Option("--all", help="Scan every entity of the account (the default without --entity-id)."),
    ] = False,
    every_day: Annotated[bool, typer.Option("--every-day", help="Also days without an alarm.")] = False,
    server: Annotated[
        str | None, typer.Option(help="Ask this server, e.g. 127.0.0.1:50053, instead of working here.")
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Tell which days of which entities are out of line, by how much and in which metric.

    Example: adsml anomalies --config-id 1 --all
    """
    from adsml_anomaly.asking import ask  # noqa: PLC0415
    from adsml_anomaly.thresholds import of_contamination  # noqa: PLC0415

    if false_alarms is not None and contamination is not None:
        raise InvalidInput.at("--contamination", "says the same as --false-alarms; give one of them")
    if all_ and entity_id:
        raise InvalidInput.at("--all", "scans every entity; leave --entity-id out")
    answers = ask(
        config_id,
        entity_type,
        entity_ids=entity_id,
        first_date=first_date.date() if first_date else None,
        last_date=last_date.date() if last_date else None,
        false_alarms=of_contamination(contamination) if contamination is not None else false_alarms,
        everything=every_day,
        server=server,
    )
    if json_output:
        print_json({"results": answers})
    else:
        _show(config_id, answers)


_ORDER = ("CRITICAL", "HIGH", "MEDIUM", "LOW", "UNSPECIFIED")


def _show(config_id: int, answers: list[dict[str, Any]]) -> None:
    rows = [
        (
            one["entity_type"],
            one["entity_id"],
            day["date"],
            day["severity"].lower(),
            day["summary"],
            one["model"],
        )
        for one in answers
        for day in one.get("days", ())
        if day["anomalous"]
    ]
    rows.sort(key=lambda row: (_ORDER.index(row[3].upper()), row[2], row[0], row[1]))
    table(
        f"anomalies of account {config_id}: {len(rows)} among {len(answers)} entities",
        ("level", "id", "day", "severity", "what", "judged by"),
        rows,
    )
    failed = [one for one in answers if "error" in one]
    for one in failed[:10]:
        console.print(f"{one['entity_id']}: {one['error']}", highlight=False, markup=False)
    if len(failed) > 10:
        console.print(f"and {len(failed) - 10} more without an answer; see --json")
    pooled = sum(one.get("source") == "POOLED" for one in answers)
    if pooled:
        console.print(f"{pooled} of {len(answers)} were judged by a profile of their level or account")


def _check_model(version: "ModelVersion", bundle: "Bundle") -> object:
    from adsml_anomaly.artifacts import parse  # noqa: PLC0415

    return parse(version, bundle)


def _report(context: "ReportContext") -> "Iterable[Section]":
    from adsml_anomaly.reporting import sections  # noqa: PLC0415

    return sections(context)


family = Family(
    name="anomaly",
    serve=_serve,
    train={"anomaly-detectors": train_detectors},
    evaluate={"anomaly": evaluate_anomaly},
    commands={"anomalies": anomalies},
    check_model=_check_model,
    report=_report,
)
