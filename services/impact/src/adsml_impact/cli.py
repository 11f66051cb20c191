"""The impact family's commands. Nothing heavy is imported before one of them runs."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from adsml_common.cli.family import Family
from adsml_common.cli.output import JsonOption, console, errors, print_json, table
from adsml_common.domain.changes import ChangeType
from adsml_common.domain.entities import EntityType

from adsml_impact.models.estimators import Estimator

if TYPE_CHECKING:
    from collections.abc import Iterable

    from adsml_report.content import Section
    from adsml_report.context import ReportContext

    from adsml_impact.analysis.report import ImpactReport


def _serve() -> int:
    from adsml_common.serving.threads import pin_threads  # noqa: PLC0415

    pin_threads()
    from adsml_impact.server import main  # noqa: PLC0415

    return main()


def impact(
    config_id: Annotated[int, typer.Option(min=1, help="The ad account.")],
    entity_id: Annotated[list[str], typer.Option(help="What was changed; may be repeated.")],
    entity_type: Annotated[EntityType, typer.Option(help="Its level.")] = EntityType.ADSET,
    date: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"],
            help="First day of the change.  [default: the latest recorded change]",
            show_default=False,
        ),
    ] = None,
    change_type: Annotated[
        ChangeType | None,
        typer.Option(help="Kind of change.  [default: as recorded on that day]", show_default=False),
    ] = None,
    control: Annotated[
        list[str] | None,
        typer.Option(help="Compare with these; may be repeated.  [default: chosen]", show_default=False),
    ] = None,
    before_days: Annotated[int, typer.Option(help="Days before to compare.")] = 7,
    after_days: Annotated[
        int | None, typer.Option(help="Days after to compare.  [default: 7, or as many as there are]")
    ] = None,
    washout_days: Annotated[int, typer.Option(help="Days after the change to leave out.")] = 0,
    baseline_days: Annotated[
        int | None, typer.Option(help="Days before to fit on.  [default: 56]", show_default=False)
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="Report these (cpl, ctr, leads, ...); may be repeated.  [default: all]", show_default=False
        ),
    ] = None,
    primary: Annotated[
        str | None,
        typer.Option(help="What the verdict rests on.  [default: by kind of change]", show_default=False),
    ] = None,
    estimator: Annotated[
        Estimator | None, typer.Option(help="How to compare.  [default: chosen]", show_default=False)
    ] = None,
    alpha: Annotated[float, typer.Option(help="Chance of a false positive.")] = 0.05,
    margin: Annotated[float, typer.Option(help="Effects below this many percent do not matter.")] = 10.0,
    drop_last_days: Annotated[int, typer.Option(help="Trailing days that are still filling up.")] = 2,
    plot: Annotated[Path | None, typer.Option(help="Draw the primary metric into this .svg file.")] = None,
    json_output: JsonOption = False,
) -> None:
    """Tell what a change did, compared with what would have happened without it.

    Example: adsml impact --config-id 1 --entity-id 23800001200000011 --date 2024-06-10 --plot effect.svg
    """
    from adsml_impact.analysis.query import Options  # noqa: PLC0415
    from adsml_impact.asking import Asked, as_object, ask, metric_named  # noqa: PLC0415

    report = ask(
        Asked(
            config_id=config_id,
            entity_type=entity_type,
            entity_ids=tuple(entity_id),
            day=date.date() if date else None,
            change_type=change_type,
            controls=tuple(control or ()),
            options=Options(
                before_days=before_days,
                after_days=after_days,
                washout_days=washout_days,
                baseline_days=baseline_days,
                metrics=tuple(metric_named(one, "--metric") for one in metric or ()),
                primary_metric=None if primary is None else metric_named(primary, "--primary"),
                estimator=estimator,
                alpha=alpha,
                equivalence_margin_percent=margin,
                drop_last_days=drop_last_days,
            ),
        )
    )
    if plot is not None:
        from adsml_impact.plot import draw_svg, save  # noqa: PLC0415

        save(draw_svg(report), plot)
    if json_output:
        print_json(as_object(report))
        return
    _show(report)
    if plot is not None:
        console.print(f"drawn into {plot}", highlight=False)


def _show(report: "ImpactReport") -> None:
    windows = report.windows
    console.print(f"[bold]{report.verdict.upper()}[/]  {report.recommendation}", highlight=False)
    rows = []
    for one in report.metrics:
        effect = one.effect
        if effect is None:
            rows.append(
                (
                    one.metric,
                    one.scope,
                    _figure(one.before),
                    _figure(one.after),
                    "",
                    one.missing_reason,
                    "",
                    "",
                )
            )
            continue
        interval = effect.percent_interval
        rows.append(
            (
                one.metric,
                one.scope,
                _figure(one.before),
                _figure(one.after),
                _figure(effect.counterfactual),
                f"{effect.percent:+.1f}% [{interval.lower:+.1f}, {interval.upper:+.1f}]",
                f"{effect.p_value:.3f} / {one.adjusted_p_value:.3f}",
                one.verdict,
            )
        )  # fmt: skip
    table(
        f"{windows.before_first} to {windows.before_last} against {windows.after_first} to {windows.after_last}, "
        f"fitted from {windows.baseline_first} ({report.estimator.replace('_', ' ')})",
        ("metric", "of", "before", "after", "expected", "effect", "p / adjusted", "verdict"),
        rows,
        right=("before", "after", "expected"),
    )
    rate = report.false_positive_rate
    if rate.rate is not None:
        console.print(
            f"where nothing was changed this analysis found an effect in {rate.rate:.1%} of {rate.analyses} cases "
            f"({rate.nominal:.0%} asked for)",
            highlight=False,
        )
    naive = report.primary.naive
    if naive.p_value is not None:
        console.print(
            f"naive, not to be relied on: {report.primary.metric} {naive.percent_change or 0.0:+.1f}%, t-test "
            f"p = {naive.p_value:.3f}",
            highlight=False,
        )
    if report.controls:
        heaviest = ", ".join(
            f"{one.entity_id} {one.weight:.0%}" for one in report.controls[:5] if one.weight > 0
        )
        console.print(f"compared with {len(report.controls)} entities: {heaviest} ...", highlight=False)
    for shift in report.budget_shifts[:5]:
        console.print(
            f"spend of {shift.entity_id}: {shift.spend_per_day:+.2f} a day ({shift.share_percent:.0f}%)",
            highlight=False,
        )
    for caution in report.cautions:
        console.print(f"careful: {caution.message}", highlight=False, markup=False)


def _figure(value: float) -> str:
    return "" if value != value else f"{value:,.2f}"  # noqa: PLR0124 - NaN is what differs from itself


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

    def told(done: int, every: int) -> None:
        if done % 20 == 0 or done == every:
            errors.print(f"placebo study: {done} of {every}", highlight=False)

    found = evaluate_file(
        data,
        unit_column=unit_column,
        time_column=time_column,
        outcome_column=outcome_column,
        treated=tuple(name.strip() for name in treated.split(",") if name.strip()),
        start=start,
        demeaned=demeaned,
        alpha=alpha,
        placebo_study=placebo_study,
        progress=told,
    )
    if json_output:
        print_json(found)
        return
    _show_evaluation(found)


def _show_evaluation(found: dict[str, Any]) -> None:
    table(
        f"{', '.join(found['treated'])} from {found['start']}: {found['periods_before']} times before, "
        f"{found['periods_after']} after, {found['controls']} controls",
        ("method", "ATT", "percent", "p", "interval"),
        [
            (
                name,
                f"{method['att']:.3f}",
                "" if method["percent"] is None else f"{method['percent']:.2f}",
                "" if method["p_value"] is None else f"{method['p_value']:.3f}",
                "" if None in method["interval"] else "[{:.3f}, {:.3f}]".format(*method["interval"]),
            )
            for name, method in found["methods"].items()
        ],
        right=("ATT", "percent", "p"),
    )
    heaviest = list(found["weights"].items())[:10]
    table("weights of synthetic control", ("unit", "weight"), [(name, f"{w:.4f}") for name, w in heaviest])
    if "placebo_study" in found:
        table(
            f"where nothing was done, at {found['alpha']:g}",
            ("method", "false positives", "power at +1 sd", "analyses"),
            [
                (name, one["false_positive_rate"], one["power_1sd"], one["analyses"])
                for name, one in found["placebo_study"].items()
            ],
            right=("false positives", "power at +1 sd", "analyses"),
        )
    for name in found["dropped_units"]:
        console.print(f"left out, has gaps: {name}", highlight=False, markup=False)


def _report(context: "ReportContext") -> "Iterable[Section]":
    from adsml_impact.reporting import sections  # noqa: PLC0415

    return sections(context)


family = Family(
    name="impact",
    serve=_serve,
    evaluate={"impact": evaluate_impact},
    commands={"impact": impact},
    report=_report,
)
"""What `adsml` finds through the entry-point group ``adsml.families``."""
