"""`adsml evaluate classifier`: the honest report on somebody's own export, without server or database."""

from pathlib import Path
from typing import Any

from adsml_common.cli.output import console, table
from adsml_ingest import read_frame

from adsml_classifier.models.panel import Panel
from adsml_classifier.training import gate
from adsml_classifier.training.candidate import Recipe, TrainedCandidate, learn
from adsml_classifier.training.sampling import SampleSettings


def evaluate_files(data: Path, *, attribution_lag_days: int, weeks: int) -> dict[str, Any]:
    """Train on an export and judge on its last weeks, each by a model that knew only what came before.

    Parameters
    ----------
    data
        A file or directory that `adsml import` reads.
    attribution_lag_days, weeks
        As of `SampleSettings` and `Recipe`.

    Raises
    ------
    InvalidInput
        The export can't be read; names file, line and cure.
    InsufficientHistory
        Too few samples; says what there is.
    """
    frame, entities = read_frame([data])
    recipe = Recipe(sampling=SampleSettings(attribution_lag_days=attribution_lag_days), weeks=weeks)
    candidate = learn(Panel.of(frame, entities=entities), recipe, what=data.name, final=False)
    return report_of(candidate, recipe)


def report_of(candidate: TrainedCandidate, recipe: Recipe) -> dict[str, Any]:
    """What is printed with ``--json``: the verdict, which is the gate's, then the figures."""
    decision = gate.decide(candidate.assessment, None, recipe.gate, mode=recipe.sampling.mode)
    return {
        "verdict": {"use": "model" if decision.passed else "last_week_tier", "reason": decision.reason},
        **candidate.metrics(),
        "parameters": candidate.fitted.parameters(),
    }


def plot_of(report: dict[str, Any]) -> str:
    """The report's calibration as SVG."""
    from adsml_report.content import Reliability  # noqa: PLC0415  # in no image
    from adsml_report.plot import picture  # noqa: PLC0415

    bins = tuple((one["count"], one["confidence"], one["accuracy"]) for one in report["reliability"])
    title = f"{report['samples_test']} answers, calibration error {report['ece']:.3f}"
    return picture([Reliability(title, bins)], title=title)


def show(report: dict[str, Any]) -> None:
    """The report as tables."""
    verdict = report["verdict"]
    use = "use the model" if verdict["use"] == "model" else "use last week's tier, as the service will"
    console.print(f"Verdict: {use}. {verdict['reason']}.", highlight=False, markup=False)
    first, last = report["test_as_of"]
    console.print(
        f"Judged as of {first} to {last}: {report['samples_test']} samples, each week by what was known before it."
    )
    _show_worth(report["worth"])
    rows: list[tuple[str, ...]] = [
        (name, *(f"{part[figure]:.3f}" for figure in ("weighted_f1", "macro_f1", "rps")), loss)
        for name, part, loss in (
            ("model", report, f"{report['log_loss']:.3f}"),
            ("last week's tier", report["persistence"], ""),
            ("rule", report["rule"], ""),
        )
    ]
    odds = report["persistence"]
    rows.append(
        (
            "last week's tier and its odds",
            "",
            "",
            f"{odds['rps_with_odds']:.3f}",
            f"{odds['log_loss_with_odds']:.3f}",
        )
    )
    columns = ("weighted F1", "macro F1", "RPS", "log loss")
    table("Tiers and probabilities (RPS and log loss: less is better)", ("", *columns), rows, right=columns)
    console.print(f"RPS skill over last week's tier: {report['rps_skill']:.3f}")
    console.print(f"expected calibration error: {report['ece']:.3f}")
    weeks = [
        (
            " to ".join(one["as_of"]),
            one["samples_train"],
            one["samples_test"],
            *(
                f"{part[figure]:.3f}"
                for figure in ("weighted_f1", "macro_f1")
                for part in (one, one["persistence"])
            ),
        )
        for one in report["by_origin"]
    ]
    by_week = ("learnt from", "samples", "weighted F1", "persistence's", "macro F1", "persistence's macro")
    table("Week by week", ("as of", *by_week), weeks, right=by_week)
    levels = [
        (
            level,
            part["samples"],
            *(f"{part[who]['weighted_f1']:.3f}" for who in ("model", "persistence", "rule")),
        )
        for level, part in report["by_entity_type"].items()
    ]
    table("Weighted F1 by level", ("level", "samples", "model", "persistence", "rule"), levels,
          right=("samples", "model", "persistence", "rule"))  # fmt: skip
    tiers = report["confusion"]["tiers"]
    table(
        "Truth by row, answer by column",
        ("", *tiers),
        [(tier, *row) for tier, row in zip(tiers, report["confusion"]["truth_by_prediction"], strict=True)],
        right=tiers,
    )
    bins = [
        (one["count"], f"{one['confidence']:.0%}", f"{one['accuracy']:.0%}") for one in report["reliability"]
    ]
    shown = ("samples", "sure on average", "right")
    table("How sure it was, and how often it was right", shown, bins, right=shown)
    for note in report["notes"]:
        console.print(f"note: {note}")


def _show_worth(worth: dict[str, Any]) -> None:
    def money(value: float | None) -> str:
        return "no leads" if value is None else f"{value:,.2f}"

    columns = ("high: CPL", "low: CPL", "leads gained", "by tier")
    rows = [
        (
            name,
            money(worth[key]["high_cpl"]),
            money(worth[key]["low_cpl"]),
            f"{worth[key]['leads_gained_share']:+.1%}",
            f"{worth[key]['leads_gained_share_by_tier']:+.1%}",
        )
        for key, name in (("model", "model"), ("persistence", "last week's tier"), ("rule", "rule"))
    ]
    console.print(
        "In money, over the week that followed: CPL of what was called high and low, leads gained by moving "
        f"{worth['moved_share']:.0%} of the budget, and by the called tiers alone."
    )
    table(
        "Worth",
        ("", *columns),
        rows,
        right=columns,
    )
