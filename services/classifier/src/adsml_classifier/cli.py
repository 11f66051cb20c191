"""The classifier's commands. Nothing heavy is imported before one of them runs."""

from collections import Counter, defaultdict
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

if TYPE_CHECKING:
    from collections.abc import Iterable

    from adsml_common.registry.bundle import Bundle
    from adsml_common.registry.models import ModelVersion
    from adsml_common.training.attempt import TrainOne
    from adsml_common.training.context import TrainingContext
    from adsml_report.content import Section
    from adsml_report.context import ReportContext

    from adsml_classifier.training.candidate import Recipe


_SHOWN = 10


def _serve() -> int:
    from adsml_common.serving.threads import pin_threads  # noqa: PLC0415

    pin_threads()
    from adsml_classifier.server import main  # noqa: PLC0415

    return main()


def train_classifiers(
    config_id: ConfigOption = "all",
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
    request_id: RequestOption = None,
    shard_index: ShardIndexOption = 0,
    shard_count: ShardCountOption = 1,
    workers: WorkersOption = None,
    item_seconds: ItemSecondsOption = 1800.0,
    json_output: JsonOption = False,
) -> None:
    """Train and register the classifiers of one account or all.

    Example: adsml train classifiers --config-id 1
    """
    from adsml_common.cli.training import Job, train  # noqa: PLC0415

    from adsml_classifier.models.labels import LabelMode  # noqa: PLC0415
    from adsml_classifier.naming import JOB  # noqa: PLC0415
    from adsml_classifier.training.candidate import Recipe  # noqa: PLC0415
    from adsml_classifier.training.fit_settings import FitSettings  # noqa: PLC0415
    from adsml_classifier.training.job import items_of  # noqa: PLC0415
    from adsml_classifier.training.sampling import SampleSettings  # noqa: PLC0415

    mode = LabelMode.SAME_WINDOW if same_window else LabelMode.OUTCOME
    recipe = Recipe(
        sampling=SampleSettings(mode=mode, attribution_lag_days=attribution_lag_days),
        fit=FitSettings(min_samples=min_samples),
    )
    train(
        Job(
            JOB,
            lambda _, accounts: items_of(accounts),
            partial(_trainer, recipe=recipe),
            preload=("adsml_classifier.training.job",),
            options={
                "same_window": same_window,
                "attribution_lag_days": attribution_lag_days,
                "min_samples": min_samples,
            },
        ),
        config_id=config_id,
        request_id=request_id,
        shard_index=shard_index,
        shard_count=shard_count,
        workers=workers,
        item_seconds=item_seconds,
        json_output=json_output,
    )


def _trainer(context: "TrainingContext", recipe: "Recipe") -> "TrainOne":
    from adsml_classifier.training.job import AccountTrainer  # noqa: PLC0415

    return AccountTrainer(context.database, context.registry, run_id=context.run_id, recipe=recipe)


def classify(
    config_id: Annotated[int, typer.Option(min=1, help="The ad account.")],
    entity_type: Annotated[EntityType, typer.Option(help="Level of the entities.")] = EntityType.ADSET,
    entity_id: Annotated[
        list[str] | None,
        typer.Option(help="Only these; may be repeated.  [default: all]", show_default=False),
    ] = None,
    as_of: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="As of the end of this day.", show_default=False),
    ] = None,
    reasons: Annotated[int, typer.Option(min=0, max=100, help="How many reasons to show for each.")] = 2,
    rules_only: Annotated[
        bool, typer.Option("--rules-only", help="By the rule, even where there is a model.")
    ] = False,
    server: Annotated[
        str | None, typer.Option(help="Ask this server, e.g. 127.0.0.1:50051, instead of working here.")
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Tell in which tier entities are expected to perform over the next 7 days, and why.

    Example: adsml classify --config-id 1 --entity-type adset
    """
    from adsml_classifier.asking import ask  # noqa: PLC0415

    answers = ask(
        config_id,
        entity_type,
        entity_ids=entity_id,
        as_of=as_of.date() if as_of else None,
        reasons=reasons,
        rules_only=rules_only,
        server=server,
    )
    if json_output:
        print_json({"results": answers})
        return
    _show(config_id, entity_type, answers)


def _show(config_id: int, entity_type: EntityType, answers: list[dict[str, Any]]) -> None:
    told = sorted(
        (one for one in answers if "tier" in one), key=lambda one: (one["rank"], -(one["confidence"] or 0))
    )
    rows = [
        (
            one["entity_id"],
            one["tier"].replace("_", " "),
            "" if one["confidence"] is None else f"{one['confidence']:.0%}",
            "no leads" if one["metrics"].get("cpl") is None else f"{one['metrics']['cpl']:.2f}",
            "; ".join(reason["explanation"] for reason in one["contributions"]) or one["reason"],
        )
        for one in told
    ]
    table(
        f"{entity_type.value}s of account {config_id}: the next 7 days",
        (entity_type.value, "tier", "sure", "CPL 7d", "because"),
        rows,
        right=("sure", "CPL 7d"),
    )
    by = Counter(one["model"] for one in told)
    if by:
        console.print(
            "answered by: " + ", ".join(f"{name} ({count})" for name, count in by.items()), highlight=False
        )
    without: defaultdict[str, list[str]] = defaultdict(list)
    for one in answers:
        if "error" in one:
            without[one["error"].replace(f"{entity_type.value} {one['entity_id']} ", "")].append(
                one["entity_id"]
            )
    for why, ids in without.items():
        shown = ", ".join(ids[:_SHOWN]) + (f" and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else "")
        console.print(f"{len(ids)} without an answer ({why}): {shown}", highlight=False, markup=False)
    for line in sorted({text for one in told for text in one["degradations"]}):
        console.print(f"without: {line}", highlight=False, markup=False)


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


def _check_model(version: "ModelVersion", bundle: "Bundle") -> object:
    from adsml_classifier.artifacts import parse  # noqa: PLC0415

    return parse(version, bundle)


def _report(context: "ReportContext") -> "Iterable[Section]":
    from adsml_classifier.reporting import sections  # noqa: PLC0415

    return sections(context)


family = Family(
    name="classifier",
    serve=_serve,
    train={"classifiers": train_classifiers},
    evaluate={"classifier": evaluate},
    commands={"classify": classify},
    check_model=_check_model,
    report=_report,
)
