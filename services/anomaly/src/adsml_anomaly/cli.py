"""The anomaly family's commands. Nothing heavy is imported before one of them runs."""

from datetime import datetime
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from adsml_common.cli.ask import Door, ask, to_dict
from adsml_common.cli.family import Family
from adsml_common.cli.options import (
    DEFAULT_ENTITY_TYPE,
    AsOfDateOption,
    ConfigIdOption,
    EntityIdsOption,
    day_option,
)
from adsml_common.cli.output import JsonOption, errors, print_json, table
from adsml_common.cli.remote import Remote, with_server
from adsml_common.cli.training import Job, training_command
from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from adsml_common.cli.ask import OpenService
    from adsml_common.registry.bundle import Bundle
    from adsml_common.registry.models import ModelVersion
    from adsml_common.training.attempt import TrainOne
    from adsml_common.training.context import TrainingContext
    from adsml_report.content import Section
    from adsml_report.context import ReportContext

FalseAlarmsOption = Annotated[
    float | None,
    typer.Option(
        "--false-alarms", min=0.01, max=10,
        help="False alarms to put up with, per entity and 30 days.  [default: 1, moved by feedback]",
    ),
]  # fmt: skip
ContaminationOption = Annotated[
    float | None, typer.Option("--contamination", min=0.0003, max=0.33, help="The same as a share of days.")
]


def _check_rate(false_alarms: float | None, contamination: float | None) -> None:
    if false_alarms is not None and contamination is not None:
        raise InvalidInput.at("--contamination", "says the same as --false-alarms; give one of them")


def _serve() -> int:
    from adsml_common.serving.threads import pin_threads  # noqa: PLC0415

    pin_threads()
    from adsml_anomaly.server import main  # noqa: PLC0415

    return main()


@training_command(item_seconds=600.0)
def train_detectors(
    entity_type: Annotated[EntityType | None, typer.Option(help="Only entities of this level.")] = None,
    false_alarms: FalseAlarmsOption = None,
    contamination: ContaminationOption = None,
) -> Job:
    """Train and register a detector for every entity with 28 days of delivery, and profiles for the rest.

    The rate of false alarms is noted with the models, whose p-values hold for any: who asks sets the threshold.

    Example: adsml train anomaly-detectors --config-id 1
    """
    from adsml_anomaly.models.thresholds import DEFAULT_FALSE_ALARMS, of_contamination  # noqa: PLC0415
    from adsml_anomaly.training.items import JOB, items_of  # noqa: PLC0415

    _check_rate(false_alarms, contamination)
    rate = of_contamination(contamination) if contamination is not None else false_alarms
    rate = DEFAULT_FALSE_ALARMS if rate is None else rate
    return Job(
        JOB,
        partial(items_of, entity_type=entity_type),
        partial(_trainer, false_alarms=rate),
        preload=("adsml_anomaly.training.detectors",),
        entity_type=entity_type,
        options={"false_alarms": rate},
    )


def _trainer(context: "TrainingContext", false_alarms: float) -> "TrainOne":
    from adsml_anomaly.training.detectors import DetectorTrainer  # noqa: PLC0415

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
    from adsml_anomaly.evaluation.study import evaluate  # noqa: PLC0415

    with errors.status("scoring"):
        scores = evaluate(data, windows)
    if json_output:
        print_json(scores)
        return
    from adsml_anomaly.display import say  # noqa: PLC0415

    fixed = scores["fixed_threshold"]
    say(
        f"NAB score {scores['nab_standard']:.1f} over {len(scores['per_file'])} files, where silence is 0 and a "
        f"perfect detector 100: at the best one threshold, {scores['threshold']:.2f}; "
        f"{fixed['nab_standard']:.1f} at {fixed['threshold']}, set beforehand."
    )
    columns = ("file", "score", "windows hit", "false")
    rows = [
        (name, f"{one['standard']:.1f}", f"{one['hit']} of {one['windows']}", one["false_detections"])
        for name, one in scores["per_file"].items()
    ]
    table("NAB, standard profile", columns, rows, right=columns[1:])
    for name in scores["not_found"]:
        say(f"No data for {name}.")
    for name, reason in scores["skipped"].items():
        say(f"{name} was not scored: {reason}.")
    for name in scores["unlabelled"]:
        say(f"{name} has no windows and was not scored.")


def _ending_with_what_is_open(scan: "Callable[..., None]") -> "Callable[..., None]":
    """A scan's command that says, before it leaves, in which accounts something is open."""

    @wraps(scan)
    def run(**given: Any) -> None:
        from adsml_common.cli.context import open_database, settings  # noqa: PLC0415
        from adsml_common.store.accounts import AccountStore  # noqa: PLC0415

        from adsml_anomaly.display import show_open  # noqa: PLC0415
        from adsml_anomaly.incident_store import IncidentStore  # noqa: PLC0415

        try:
            scan(**given)
        except SystemExit:
            if not given["json_output"]:
                of = None if given["config_id"] == "all" else int(given["config_id"])
                with open_database(settings()) as database:
                    currency = AccountStore(database).currency
                    accounts = IncidentStore(database).open_by_account(of)
                    show_open([(one, n, stake, currency(one) or "") for one, n, stake in accounts])
            raise

    return run


@_ending_with_what_is_open
@training_command(item_seconds=600.0)
def scan_anomalies(
    as_of_date: Annotated[
        datetime | None,
        day_option("--as-of-date", "Last day to look at.  [default: the last that should be loaded]"),
    ] = None,
) -> Job:
    """Find what happened in every account, keep the incidents, and hand them to Alertmanager.

    Example: adsml scan-anomalies --config-id all
    """
    from adsml_anomaly.scanning import JOB, items_of, scanner  # noqa: PLC0415

    as_of = as_of_date.date() if as_of_date else None
    return Job(
        JOB,
        items_of,
        partial(scanner, as_of=as_of),
        preload=("adsml_anomaly.scanning",),
        options={"as_of_date": as_of.isoformat()} if as_of else None,
    )


def _open() -> "OpenService":
    from adsml_common.settings import load_settings  # noqa: PLC0415

    from adsml_anomaly.server import open_service  # noqa: PLC0415
    from adsml_anomaly.settings import AnomalySettings  # noqa: PLC0415

    return open_service(load_settings(AnomalySettings))


DOOR = Door("adsml.anomaly.v1.AnomalyService", _open)


@with_server
def anomalies(
    config_id: ConfigIdOption,
    entity_type: Annotated[
        EntityType | None, typer.Option(help="Only this level.  [default: all; with --entity-id: adset]")
    ] = None,
    entity_id: EntityIdsOption = None,
    first_date: Annotated[
        datetime | None, day_option("--first-date", "First day.  [default: 13 days before the last]")
    ] = None,
    as_of_date: AsOfDateOption = None,
    false_alarms: FalseAlarmsOption = None,
    contamination: ContaminationOption = None,
    min_stake: Annotated[
        float | None,
        typer.Option(min=0, help="Leave out incidents with less money at stake per day.", show_default=False),
    ] = None,
    country: Annotated[
        str | None,
        typer.Option(
            help="Country whose holidays count, such as DE.  [default: the service's setting]",
            show_default=False,
        ),
    ] = None,
    every_day: Annotated[
        bool, typer.Option("--every-day", help="Also days without an alarm; with --entity-id.")
    ] = False,
    json_output: JsonOption = False,
    *,
    remote: Remote | None = None,
) -> None:
    """What happened in an account in the last 14 days, by cause; with --entity-id, day by day.

    Example: adsml anomalies --config-id 1
    """
    from adsml.anomaly.v1 import anomaly_service_pb2 as pb  # noqa: PLC0415
    from adsml.common.v1 import calendar_pb2, entity_pb2  # noqa: PLC0415
    from adsml_common.serving.messages import ENTITY_TYPE, day_message  # noqa: PLC0415

    from adsml_anomaly import display  # noqa: PLC0415

    _check_rate(false_alarms, contamination)
    level = entity_type or (DEFAULT_ENTITY_TYPE if entity_id else None)
    number: Any = 0 if level is None else ENTITY_TYPE.to_wire(level)
    options = pb.DetectionOptions(
        min_stake_per_day=min_stake,
        first_date=None if first_date is None else day_message(first_date.date()),
        as_of_date=None if as_of_date is None else day_message(as_of_date.date()),
        anomalous_only=bool(entity_id) and not every_day,
        calendar=None if country is None else calendar_pb2.CalendarOptions(country_code=country.upper()),
    )
    if false_alarms is not None:
        options.false_alarms_per_month = false_alarms
    if contamination is not None:
        options.contamination = contamination
    request: Any = pb.DetectAccountAnomaliesRequest(config_id=config_id, entity_type=number, options=options)
    if entity_id:
        named = {"config_id": config_id, "entity_type": number}
        refs = [entity_pb2.EntityRef(**named, entity_id=one) for one in entity_id]
        subjects = [pb.DetectionSubject(entity=ref) for ref in refs]
        request = pb.BatchDetectAnomaliesRequest(subjects=subjects, options=options)
    with errors.status(f"looking at account {config_id}"):
        response = ask(DOOR, request, remote=remote)
    if json_output:
        print_json(to_dict(response))
    elif entity_id:
        display.show_days(response)
    else:
        display.show_account(config_id, response)


def _check_model(version: "ModelVersion", bundle: "Bundle") -> object:
    from adsml_anomaly.artifacts import parse  # noqa: PLC0415

    return parse(version, bundle)


def _report(context: "ReportContext") -> "Iterable[Section]":
    from adsml_anomaly.report_section import sections  # noqa: PLC0415

    return sections(context)


family = Family(name="anomaly", serve=_serve, check_model=_check_model, report=_report)
