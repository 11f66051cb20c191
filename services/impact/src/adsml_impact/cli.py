"""The impact family's commands. Nothing heavy is imported before one of them runs."""

import inspect
import re
from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer
from adsml.common.v1 import change_pb2, entity_pb2
from adsml.impact.v1 import impact_service_pb2 as pb
from adsml_common.cli.ask import Door, ask
from adsml_common.cli.family import Family
from adsml_common.cli.options import (
    DEFAULT_ENTITY_TYPE,
    AsOfDateOption,
    ConfigIdOption,
    EntityTypeOption,
    MetricsOption,
    contract_option,
    day_option,
    sign,
)
from adsml_common.cli.output import JsonOption, console, errors, print_json
from adsml_common.cli.remote import Remote, with_server
from adsml_common.domain.changes import ChangeType
from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import InvalidInput
from adsml_common.domain.metrics import Metric
from google.protobuf.message import Message
from google.type import date_pb2

from adsml_impact.models.estimators import Estimator

if TYPE_CHECKING:
    from collections.abc import Iterable

    from adsml_report.content import Section
    from adsml_report.context import ReportContext

    from adsml_impact.server import OpenedService


CommandT = TypeVar("CommandT", bound=Callable[..., Any])


def _open() -> "OpenedService":
    from adsml_common.settings import load_settings  # noqa: PLC0415

    from adsml_impact.server import open_service  # noqa: PLC0415
    from adsml_impact.settings import ImpactSettings  # noqa: PLC0415

    return open_service(load_settings(ImpactSettings))


DOOR = Door("adsml.impact.v1.ImpactService", _open)


def _serve() -> int:
    from adsml_common.serving.threads import pin_threads  # noqa: PLC0415

    pin_threads()
    from adsml_impact.server import main  # noqa: PLC0415

    return main()


EntityIdsOption = Annotated[list[str], typer.Option("--entity-id", help="What was changed; may be repeated.")]
ControlsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--control", help="Compare with these; may be repeated.  [default: chosen]", show_default=False
    ),
]
_NUMBERS: Final = {
    "before_days": (int, "Days before to compare."),
    "after_days": (int, "Days after to compare."),
    "washout_days": (int, "Days after the change to leave out."),
    "baseline_days": (int, "Days before to fit on."),
    "alpha": (float, "Chance of a false positive."),
    "equivalence_margin": (float, "Effects below this share do not matter, such as 0.1."),
    "attribution_lag_days": (int, "Trailing days left out because they still fill up."),
}
_BY_KIND: Final = "What the verdict rests on.  [default: by kind of change]"
_OPTIONS: Final[dict[str, Any]] = {
    "metrics": MetricsOption,
    "primary_metric": Annotated[Metric | None, typer.Option(help=_BY_KIND, show_default=False)],
    "estimator": Annotated[
        Estimator | None, typer.Option(help="How to compare.  [default: chosen]", show_default=False)
    ],
    "as_of_date": AsOfDateOption,
    **{
        name: Annotated[kind | None, contract_option(pb.ImpactOptions, name, help_text=text)]
        for name, (kind, text) in _NUMBERS.items()
    },
}
"""The contract's options of an analysis, as command lines take them."""
_effect_option = partial(contract_option, pb.EstimateDetectableEffectRequest)


def with_options(*names: str) -> Callable[[CommandT], CommandT]:
    """Give a command some of the contract's options; it takes them as one argument, ``options: pb.ImpactOptions``."""

    def decorate(command: CommandT) -> CommandT:
        @wraps(command)
        def run(**given: Any) -> Any:
            chosen = {name: _wire(given.pop(name)) for name in names}
            return command(**given, options=pb.ImpactOptions(**chosen))

        kind = inspect.Parameter.KEYWORD_ONLY
        added = [inspect.Parameter(name, kind, default=None, annotation=_OPTIONS[name]) for name in names]
        own = inspect.signature(command, eval_str=True).parameters.values()
        sign(run, (new for one in own for new in (added if one.name == "options" else [one])), {})
        return run  # type: ignore[return-value]

    return decorate


def _wire(value: Any) -> Any:
    """A value as message constructors take it: days, and members of the domain's enums by the contract's name."""
    if isinstance(value, list):
        return [_wire(one) for one in value]
    if isinstance(value, StrEnum):
        return re.sub("(?<=[a-z])(?=[A-Z])", "_", f"{type(value).__name__}_{value.name}").upper()
    if isinstance(value, datetime):
        return date_pb2.Date(year=value.year, month=value.month, day=value.day)
    return value


def _panel(
    config_id: int, entity_type: EntityType, treated: list[str], controls: list[str] | None
) -> pb.Panel:
    level = _wire(entity_type)
    refs = [
        [entity_pb2.EntityRef(config_id=config_id, entity_type=level, entity_id=name) for name in names]
        for names in (treated, controls or [])
    ]
    return pb.Panel(stored=pb.StoredPanel(treated=refs[0], controls=refs[1]))


def _change(change_type: ChangeType | None, day: datetime | None) -> change_pb2.ChangeEvent | None:
    if change_type is None and day is None:
        return None
    return change_pb2.ChangeEvent(change_type=_wire(change_type), date=_wire(day))


def _answer(request: Message, remote: Remote | None, *, what: str) -> Any:
    with errors.status(what):
        return ask(DOOR, request, remote=remote)


def _show(answer: Any, json_output: bool, shown: Callable[[Any], None]) -> None:
    """Print an answer: as JSON, or by the module of tables."""
    if json_output:
        print_json(answer)
        return
    from adsml_impact import tables  # noqa: PLC0415

    shown(tables)


@with_server
@with_options(
    "before_days", "after_days", "washout_days", "baseline_days", "metrics", "primary_metric", "estimator", "alpha",
    "equivalence_margin", "attribution_lag_days", "as_of_date",
)  # fmt: skip
def impact(
    config_id: ConfigIdOption,
    entity_id: EntityIdsOption,
    entity_type: EntityTypeOption = DEFAULT_ENTITY_TYPE,
    date: Annotated[
        datetime | None,
        day_option("--date", "First day of the change.  [default: the latest recorded change]"),
    ] = None,
    change_type: Annotated[
        ChangeType | None,
        typer.Option(help="Kind of change; needed with --date.  [default: as recorded]", show_default=False),
    ] = None,
    control: ControlsOption = None,
    *,
    options: pb.ImpactOptions,
    plot: Annotated[Path | None, typer.Option(help="Draw the primary metric into this .svg file.")] = None,
    json_output: JsonOption = False,
    remote: Remote | None = None,
) -> None:
    """Tell what a change did, compared with what would have happened without it.

    Example: adsml impact --config-id 1 --entity-id 23800001200000011 --date 2024-06-10 --change-type budget_change
    """
    request = pb.AnalyzeImpactRequest(
        panel=_panel(config_id, entity_type, entity_id, control),
        change=_change(change_type, date),
        options=options,
    )
    if plot is not None and plot.suffix != ".svg":
        raise InvalidInput.at("plot", f"ends in {plot.suffix or 'nothing'!r}; expected .svg")
    response = _answer(request, remote, what="comparing with earlier days and other entities")
    if plot is not None:
        from adsml_impact.plot import draw_svg  # noqa: PLC0415

        plot.write_text(draw_svg(response.report), encoding="utf-8")
    _show(response, json_output, lambda tables: tables.show_report(response.report))
    if plot is not None and not json_output:
        console.print(f"drawn into {plot}", highlight=False)


@with_server
@with_options(
    "after_days", "primary_metric", "estimator", "alpha", "equivalence_margin", "attribution_lag_days"
)
def changes(
    config_id: Annotated[
        list[int], typer.Option("--config-id", min=1, help="The ad account; may be repeated.")
    ],
    change_type: Annotated[ChangeType, typer.Option(help="Kind of change.")],
    entity_type: Annotated[
        EntityType | None,
        typer.Option("--entity-type", help="Only of this level.  [default: any]", show_default=False),
    ] = None,
    first_date: Annotated[datetime | None, day_option("--first-date", "Only from this day on.")] = None,
    last_date: Annotated[datetime | None, day_option("--last-date", "Only up to this day.")] = None,
    raises: Annotated[
        bool | None,
        typer.Option(
            "--raises/--cuts",
            help="Only budgets that were raised, or cut.  [default: both, cuts turned]",
            show_default=False,
        ),
    ] = None,
    *,
    options: pb.ImpactOptions,
    json_output: JsonOption = False,
    remote: Remote | None = None,
) -> None:
    """Tell what the changes of one kind do in an account: their effects pooled, and each one's in that light.

    Example: adsml summarize-changes --config-id 1 --change-type budget_change --raises
    """
    direction: Any = {None: None, True: "BUDGET_DIRECTION_RAISE", False: "BUDGET_DIRECTION_CUT"}[raises]
    request = pb.SummarizeChangesRequest(
        config_ids=config_id,
        change_type=_wire(change_type),
        entity_type=_wire(entity_type),
        first_date=_wire(first_date),
        last_date=_wire(last_date),
        budget_direction=direction,
        options=options,
    )
    response = _answer(request, remote, what="analysing each change")
    _show(response, json_output, lambda tables: tables.show_summary(response, change_type))


@with_server
@with_options(
    "after_days", "metrics", "primary_metric", "estimator", "alpha", "attribution_lag_days", "as_of_date"
)
def detectable(
    config_id: ConfigIdOption,
    entity_id: EntityIdsOption,
    change_type: Annotated[ChangeType, typer.Option(help="Kind of change that is planned.")],
    entity_type: EntityTypeOption = DEFAULT_ENTITY_TYPE,
    date: Annotated[
        datetime | None, day_option("--date", "First day of the change.  [default: the day after the data]")
    ] = None,
    control: ControlsOption = None,
    *,
    options: pb.ImpactOptions,
    power: Annotated[
        float | None, _effect_option("power", help_text="Chance to see it, such as 0.8.")
    ] = None,
    target: Annotated[
        float | None,
        _effect_option(
            "target_relative", "--target", help_text="An effect to find the days for, such as -0.2."
        ),
    ] = None,
    json_output: JsonOption = False,
    remote: Remote | None = None,
) -> None:
    """Tell how large an effect must be to show, and how long to wait for a smaller one, before a change is made.

    Example: adsml detectable --config-id 1 --entity-id 23800001200000011 --change-type creative_change --target -0.2
    """
    request = pb.EstimateDetectableEffectRequest(
        panel=_panel(config_id, entity_type, entity_id, control),
        change=_change(change_type, date),
        options=options,
        power=power,
        target_relative=target,
    )
    response = _answer(request, remote, what="measuring how much chance alone moves these days")
    _show(response, json_output, lambda tables: tables.show_detectable(response, ", ".join(entity_id)))


def evaluate_impact(
    data: Annotated[Path, typer.Option(help="Delimited file, one row per unit and time, with a header.")],
    unit_column: Annotated[str, typer.Option(help="Column of the units.")],
    time_column: Annotated[str, typer.Option(help="Column of the times: whole numbers or ISO dates.")],
    outcome_column: Annotated[str, typer.Option(help="Column of the outcome.")],
    treated: Annotated[str, typer.Option(help="Treated units, separated by commas.")],
    start: Annotated[str, typer.Option(help="First treated time.")],
    demeaned: Annotated[
        bool | None,
        typer.Option(
            "--demeaned/--plain",
            help="Whether synthetic control allows a difference of level.  [default: for days, yes]",
            show_default=False,
        ),
    ] = None,
    alpha: Annotated[float, typer.Option(min=0.001, max=0.2, help="Level of tests and intervals.")] = 0.05,
    placebo_study: Annotated[
        bool, typer.Option("--placebo-study", help="Measure false-positive rate and power on this panel.")
    ] = False,
    json_output: JsonOption = False,
) -> None:
    """Estimate the effect of a treatment on any panel, by every method.

    Example: adsml evaluate impact --data prop99.csv --unit-column State --time-column Year --outcome-column
    PacksPerCapita --treated California --start 1989
    """
    from adsml_impact.evaluation.evaluate import evaluate_file  # noqa: PLC0415

    with errors.status("comparing") as status:
        result = evaluate_file(
            data,
            unit_column=unit_column,
            time_column=time_column,
            outcome_column=outcome_column,
            treated=tuple(name.strip() for name in treated.split(",") if name.strip()),
            start=start,
            demeaned=demeaned,
            alpha=alpha,
            placebo_study=placebo_study,
            progress=lambda done, every: status.update(f"placebo study: {done} of {every}"),
        )
    _show(result, json_output, lambda tables: tables.show_evaluation(result))


def _report(context: "ReportContext") -> "Iterable[Section]":
    from adsml_impact.reporting import sections  # noqa: PLC0415

    return sections(context)


family = Family(
    name="impact",
    serve=_serve,
    report=_report,
)
"""What `adsml` finds through the entry-point group ``adsml.families``."""
