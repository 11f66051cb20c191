"""The classifier's commands. Nothing heavy is imported before one of them runs."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from adsml_common.cli.ask import Door
from adsml_common.cli.family import Family
from adsml_common.cli.options import (
    DEFAULT_ENTITY_TYPE,
    AsOfDateOption,
    ConfigIdOption,
    EntityIdsOption,
    EntityTypeOption,
)
from adsml_common.cli.output import JsonOption, print_json
from adsml_common.cli.remote import Remote, with_server
from adsml_common.cli.training import Job, training_command
from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.domain.errors import InvalidInput, NotFound
from adsml_common.registry.bundle import MAX_BYTES, unpacks_to

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from adsml.classifier.v1 import classifier_service_pb2 as pb
    from adsml_common.cli.ask import OpenService
    from adsml_common.registry.bundle import Bundle
    from adsml_common.registry.models import ModelVersion
    from adsml_common.training.attempt import TrainOne
    from adsml_common.training.context import TrainingContext
    from adsml_report.content import Section
    from adsml_report.context import ReportContext

    from adsml_classifier.training.recipe import Recipe


def _open() -> "OpenService":
    from adsml_common.settings import load_settings  # noqa: PLC0415

    from adsml_classifier.server import open_service  # noqa: PLC0415
    from adsml_classifier.settings import ClassifierSettings  # noqa: PLC0415

    return open_service(load_settings(ClassifierSettings))


DOOR = Door("adsml.classifier.v1.ClassifierService", _open)
_BATCH: Final = 1000  # the contract's most


def ask_all(
    send: "Callable[[Any], Any]", refs: "Sequence[EntityRef]", options: "pb.ClassificationOptions"
) -> "list[pb.BatchClassifyResult]":
    """Results for any number of stored entities, in order, as the command and the report ask for them."""
    from adsml.classifier.v1 import classifier_service_pb2 as pb  # noqa: PLC0415
    from adsml.common.v1 import entity_pb2  # noqa: PLC0415
    from adsml_common.serving.messages import entity_ref_message  # noqa: PLC0415

    results: list[pb.BatchClassifyResult] = []
    for start in range(0, len(refs), _BATCH):
        part = refs[start : start + _BATCH]
        subjects = [entity_pb2.Subject(entity=entity_ref_message(ref)) for ref in part]
        results += send(pb.BatchClassifyRequest(subjects=subjects, options=options)).results
    return results


def _stored_refs(config_id: int, entity_type: EntityType) -> list[EntityRef]:
    """Every stored entity of a level; `NotFound` where the account has none."""
    from adsml_common.cli.context import open_database, settings  # noqa: PLC0415
    from adsml_common.store.entities import EntityStore  # noqa: PLC0415

    with open_database(settings()) as database:
        refs = [one.ref for one in EntityStore(database).list(config_id, entity_type=entity_type)]
    if not refs:
        raise NotFound(
            f"account {config_id} has no {entity_type}; import some first, or choose another level"
        )
    return refs


def _serve() -> int:
    from adsml_common.serving.threads import pin_threads  # noqa: PLC0415

    pin_threads()
    from adsml_classifier.server import main  # noqa: PLC0415

    return main()


@training_command(item_seconds=1800.0)
def train_classifiers(
    same_window: Annotated[
        bool,
        typer.Option(
            "--same-window",
            help="Learn the rule itself, for an account without outcomes yet; its scores mean nothing.",
        ),
    ] = False,
    attribution_lag_days: Annotated[
        int, typer.Option(min=0, max=28, help="Trailing days whose leads are still coming in.")
    ] = 0,
    min_samples: Annotated[int, typer.Option(min=1, help="Fewest samples to learn from.")] = 30,
) -> Job:
    """Train and register the classifiers of one account or all.

    Example: adsml train classifiers --config-id 1
    """
    from adsml_classifier.artifacts import JOB  # noqa: PLC0415
    from adsml_classifier.models.labels import LabelMode  # noqa: PLC0415
    from adsml_classifier.training.job import items_of  # noqa: PLC0415
    from adsml_classifier.training.recipe import FitSettings, Recipe, SampleSettings  # noqa: PLC0415

    mode = LabelMode.SAME_WINDOW if same_window else LabelMode.OUTCOME
    recipe = Recipe(
        sampling=SampleSettings(mode=mode, attribution_lag_days=attribution_lag_days),
        fit=FitSettings(min_samples=min_samples),
    )
    return Job(
        JOB,
        lambda _, accounts: items_of(accounts),
        partial(_trainer, recipe=recipe),
        preload=("adsml_classifier.training.job",),
        options={
            "same_window": same_window,
            "attribution_lag_days": attribution_lag_days,
            "min_samples": min_samples,
        },
    )


def _trainer(context: "TrainingContext", recipe: "Recipe") -> "TrainOne":
    from adsml_classifier.training.job import AccountTrainer  # noqa: PLC0415

    return AccountTrainer(context.database, context.registry, run_id=context.run_id, recipe=recipe)


@with_server
def classify(
    config_id: ConfigIdOption,
    entity_type: EntityTypeOption = DEFAULT_ENTITY_TYPE,
    entity_id: EntityIdsOption = None,
    as_of_date: AsOfDateOption = None,
    attribution_lag_days: Annotated[
        int | None,
        typer.Option(
            min=0, max=28, help="Trailing days whose leads are still coming in.", show_default=False
        ),
    ] = None,
    reasons: Annotated[int, typer.Option(min=0, max=10, help="How many reasons to show for each.")] = 2,
    rules_only: Annotated[
        bool, typer.Option("--rules-only", help="By the rule, even where there is a model.")
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Show every entity, not only the ten that spent most.")
    ] = False,
    remote: Remote | None = None,
    json_output: JsonOption = False,
) -> None:
    """Tell in which tier entities are expected to perform over the next 7 days, and why.

    Example: adsml classify --config-id 1 --entity-type adset
    """
    from adsml.classifier.v1 import classifier_service_pb2 as pb  # noqa: PLC0415
    from adsml_common.cli.ask import asking, to_dict  # noqa: PLC0415
    from adsml_common.serving.messages import day_message  # noqa: PLC0415

    from adsml_classifier.showing import show  # noqa: PLC0415

    if remote is not None and not entity_id:
        raise InvalidInput.at("--entity-id", "is missing; with --server say which entities are meant")
    options = pb.ClassificationOptions(
        max_reasons=reasons,
        rules_only=rules_only,
        as_of_date=None if as_of_date is None else day_message(as_of_date),
        attribution_lag_days=attribution_lag_days,
    )
    refs = [EntityRef(config_id, entity_type, one) for one in entity_id or ()]
    with asking(DOOR, remote=remote) as send:
        results = ask_all(send, refs or _stored_refs(config_id, entity_type), options)
    if json_output:
        print_json(to_dict(pb.BatchClassifyResponse(results=results)))
    else:
        show(config_id, entity_type, results, everything=everything)


def evaluate(
    data: Annotated[
        Path, typer.Option(help="Tidy CSV or any export that `adsml import` reads, or a directory of them.")
    ],
    attribution_lag_days: Annotated[
        int, typer.Option(min=0, max=28, help="Trailing days whose leads are still coming in.")
    ] = 0,
    weeks: Annotated[
        int,
        typer.Option(
            min=1, help="Weeks at the end to judge on, each by a model that knew only what came before."
        ),
    ] = 4,
    plot: Annotated[
        Path | None,
        typer.Option(help="Write the calibration plot here (SVG).", dir_okay=False, show_default=False),
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Measure the classifier on your own export: judged on its last weeks, each by what came before.

    Example: adsml evaluate classifier --data export.csv --json
    """
    from adsml_classifier.evaluation.report import evaluate_files, plot_of, show  # noqa: PLC0415

    report = evaluate_files(data, attribution_lag_days=attribution_lag_days, weeks=weeks)
    if plot is not None:
        plot.write_text(plot_of(report), encoding="utf-8")
    if json_output:
        print_json(report)
    else:
        show(report)


@unpacks_to(MAX_BYTES)
def _check_model(version: "ModelVersion", bundle: "Bundle") -> object:
    from adsml_classifier.artifacts import from_files  # noqa: PLC0415

    return from_files(bundle.files)


def _report(context: "ReportContext") -> "Iterable[Section]":
    from adsml_classifier.reporting import sections  # noqa: PLC0415

    return sections(context)


family = Family(
    name="classifier",
    serve=_serve,
    check_model=_check_model,
    report=_report,
)
