"""`adsml evaluate forecasting`: any long CSV, without server or database."""

from pathlib import Path
from typing import Annotated, Any

import typer
from adsml_common.cli.output import JsonOption, console, errors, print_json, table
from adsml_common.domain.errors import InvalidInput


def evaluate_forecasting(
    data: Annotated[
        Path,
        typer.Option(help="Long CSV with series_id, ds, y; a column part (train/test) marks the test days."),
    ],
    test: Annotated[
        Path | None, typer.Option(help="The test days, where they are in a file of their own.")
    ] = None,
    horizon: Annotated[int, typer.Option(min=1, max=366, help="Days to forecast.")] = 7,
    season_length: Annotated[int, typer.Option(min=1, max=366, help="Days per season.")] = 7,
    methods: Annotated[
        str, typer.Option(help="Methods to compare, by commas. Empty: all but the slow AUTO_ARIMA.")
    ] = "",
    origins: Annotated[int, typer.Option(min=1, max=52, help="Validation cutoffs per series.")] = 3,
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0: one per core.")] = 0,
    json_output: JsonOption = False,
) -> None:
    """Measure every method and the ensemble on a file's test days.

    Without test days, the last `horizon` days of each series are held out. Members, combiner and intervals
    are learnt from rolling origins inside the training part.

    Example: adsml evaluate forecasting --data series.csv --horizon 14 --json
    """
    import time  # noqa: PLC0415

    from rich.progress import Progress  # noqa: PLC0415

    from adsml_forecasting.evaluation.study import (  # noqa: PLC0415
        evaluate,
        held_out,
        read_long,
    )
    from adsml_forecasting.models.method import MINIMUM_DAYS, Method  # noqa: PLC0415
    from adsml_forecasting.models.origins import cores, worker_pool  # noqa: PLC0415

    began = time.perf_counter()
    names = [name.strip().upper() for name in methods.split(",") if name.strip()]
    unknown = [name for name in names if name not in {m.value for m in MINIMUM_DAYS}]
    if unknown:
        raise InvalidInput.at(
            "--methods", f"{unknown[0]!r} is no method; expected {', '.join(m.value for m in MINIMUM_DAYS)}"
        )
    apart = None if test is None else read_long(test)
    series = held_out(read_long(data), apart, horizon=horizon, season_length=season_length)
    with Progress(console=errors, transient=True) as bar, worker_pool(workers or cores()) as pool:
        task = bar.add_task(f"forecasting {len(series)} series", total=len(series) * (origins + 1))
        found = evaluate(
            series,
            horizon=horizon,
            methods=[Method(name) for name in names] or None,
            origins=origins,
            pool=pool,
            progress=lambda done: bar.advance(task, done),
        )
    shown = found | {
        "seconds": round(time.perf_counter() - began, 2),
        "horizon": horizon,
        "season_length": season_length,
    }
    if json_output:
        print_json(shown)
    else:
        _show(shown)


def _show(shown: dict[str, Any]) -> None:
    best, ours = shown["best_single_on_validation"], shown["ensemble"]
    console.print(_verdict(best, ours), highlight=False)
    console.print(f"{shown['series']} series, {shown['horizon']} days ahead, {shown['seconds']:.0f} s")
    rows: list[list[object]] = [["ENSEMBLE", *_cells(ours)]]
    rows += [[name, *_cells(row)] for name, row in shown["combinations"].items()]
    rows += [
        [f"{name} (best on validation)" if name == best["name"] else name, *_cells(row)]
        for name, row in sorted(shown["methods"].items(), key=lambda item: item[1]["wmape"] or 1e300)
    ]
    right = ["wMAPE", "sMAPE", "MASE", "90% held"]
    table("Error on the test days", ["method", *right], rows, right=right)
    weights = {name: weight for name, weight in ours["weights"].items() if weight > 0}
    if weights:
        parts = ", ".join(f"{name} {weight:.2f}" for name, weight in weights.items())
        console.print(f"ensemble: {ours['combiner']} of {parts}")


def _verdict(best: dict[str, Any], ours: dict[str, Any]) -> str:
    name = best["name"].replace("_", " ").lower()
    if ours["wmape"] is None or best["wmape"] is None:
        return "Every test day is 0: there is nothing to measure an error against."
    gap = ours["wmape"] - best["wmape"]
    alike = abs(gap) <= 0.005 * best["wmape"] + 1e-6
    side = "as well as" if alike else "better than" if gap < 0 else "worse than"
    text = (
        f"The ensemble did {side} the one method that looked best before the test days ({name}): it missed "
        f"{ours['wmape']:.1%} of what came, {name} {best['wmape']:.1%}."
    )
    if ours["coverage_90"] is not None:
        text += f" Its 90% ranges held {ours['coverage_90']:.1%} of the days."
    return text


def _cells(row: dict[str, float | None]) -> list[str]:
    shares = {"wmape": ".1%", "smape": ".1%", "mase": ".3f", "coverage_90": ".1%"}
    return ["-" if row[name] is None else format(row[name], form) for name, form in shares.items()]
