"""`adsml evaluate classifier`: the honest report on somebody's own export, without server or database."""

from pathlib import Path
from typing import Any

from adsml_common.cli.output import console, table
from adsml_ingest import read_frame

from adsml_classifier.evaluation.calibration_plot import reliability_svg
from adsml_classifier.models.panel import Panel
from adsml_classifier.models.scores import Bin
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
    learned = learn(Panel.of(frame, entities=entities), recipe, what=data.name, final=False)
    return report_of(learned)


def report_of(learned: TrainedCandidate) -> dict[str, Any]:
    """What is printed with ``--json``."""
    return {**learned.metrics(), "parameters": learned.fitted.parameters()}


def plot_of(report: dict[str, Any]) -> str:
    """The report's calibration as SVG."""
    bins = [Bin(**one) for one in report["reliability"]]
    return reliability_svg(
        bins, title=f"{report['samples_test']} answers, calibration error {report['ece']:.3f}"
    )


def show(report: dict[str, Any]) -> None:
    """The report as tables."""
    rows = [
        (name, f"{part['weighted_f1']:.3f}", f"{part['macro_f1']:.3f}")
        for name, part in (
            ("model", report),
            ("persistence (last week's tier again)", report["persistence"]),
            ("rule (persistence and its trend step)", report["rule"]),
        )
    ]
    first, last = report["test_as_of"]
    table(
        f"The tier of the next 7 days, as of {first} to {last}: {report['samples_test']} samples, "
        "each week by what was known before it",
        ("", "weighted F1", "macro F1"),
        rows,
        right=("weighted F1", "macro F1"),
    )
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
    columns = ("learnt from", "samples", "weighted F1", "persistence's", "macro F1", "persistence's macro")
    table("Week by week", ("as of", *columns), weeks, right=columns)
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
