"""`adsml evaluate classifier`: the honest report on somebody's own export, without server or database."""

import textwrap
from pathlib import Path
from typing import Any, Final

from adsml_common.cli.output import console, table
from adsml_ingest import read_frame

from adsml_classifier.models.panel import Panel
from adsml_classifier.training import gate
from adsml_classifier.training.candidate import learn
from adsml_classifier.training.recipe import Recipe, SampleSettings

_NAMES: Final = {"model": "the model", "persistence": "last week's tier", "rule": "the rule"}


def evaluate_files(data: Path, *, attribution_lag_days: int, weeks: int) -> dict[str, Any]:
    """Train on a file or directory that `adsml import` reads, and judge on its last weeks: what ``--json`` prints.

    `InvalidInput` names file, line and cure where it can't be read, `InsufficientHistory` what there is where it is
    too little.
    """
    frame, entities = read_frame([data])
    recipe = Recipe(sampling=SampleSettings(attribution_lag_days=attribution_lag_days), weeks=weeks)
    candidate = learn(Panel.of(frame, entities=entities), recipe, what=data.name, final=False)
    decision = gate.decide(candidate.assessment, None, mode=recipe.sampling.mode)
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
    """The report for a person: the verdict, then tables."""
    first, last = report["test_as_of"]
    worth = report["worth"]
    use = (
        "use the model"
        if report["verdict"]["use"] == "model"
        else "use last week's tier, as the service will"
    )
    gained = [f"{worth[key]['leads_gained_share']:.1%} by {name}" for key, name in _NAMES.items()]
    _say(
        f"Verdict: {use}. Moving {worth['moved_share']:.0%} of each day's budget to what is called best brings more "
        f"leads over the next week: {', '.join(gained)}. Judged on {report['samples_test']} weeks of entities, as of "
        f"{first} to {last}, each by what was known before it."
    )
    _say(f"Why: {report['verdict']['reason']}.")
    columns: tuple[str, ...] = ("called high: CPL", "called low: CPL", "leads gained", "by tier alone")
    rows: list[tuple[Any, ...]] = [
        (
            name,
            *(_money(worth[key][cpl]) for cpl in ("high_cpl", "low_cpl")),
            *(f"{worth[key][f'leads_gained_share{by}']:+.1%}" for by in ("", "_by_tier")),
        )
        for key, name in _NAMES.items()
    ]
    table("In money, over the week that followed", ("", *columns), rows, right=columns)
    last_week = report["persistence"]
    losses = {
        "the model": f"{report['log_loss']:.3f}",
        "its odds": f"{last_week['log_loss_with_odds']:.3f}",
    }
    parts = {name: report | report.get(key, {}) for key, name in _NAMES.items()}
    odds = ("last week's tier and its odds", "", "", f"{last_week['rps_with_odds']:.3f}", losses["its odds"])
    rows = [
        (name, *(f"{one[figure]:.3f}" for figure in ("weighted_f1", "macro_f1", "rps")), losses.get(name, ""))
        for name, one in parts.items()
    ]
    columns = ("weighted F1", "macro F1", "RPS", "log loss")
    table(
        "Tiers and probabilities (RPS, log loss: less is better)",
        ("", *columns),
        [*rows, odds],
        right=columns,
    )
    console.print(f"RPS skill over last week's tier: {report['rps_skill']:.3f}")
    console.print(f"expected calibration error: {report['ece']:.3f}")
    both = [(part, figure) for figure in ("weighted_f1", "macro_f1") for part in ("", "persistence")]
    columns = ("learnt from", "samples", "weighted F1", "last week's", "macro F1", "last week's ")
    rows = [
        (
            one["as_of"][0],
            one["samples_train"],
            one["samples_test"],
            *(f"{(one.get(part) or one)[figure]:.3f}" for part, figure in both),
        )
        for one in report["by_origin"]
    ]
    table("Week by week", ("week from", *columns), rows, right=columns)
    columns = ("samples", *_NAMES.values())
    rows = [
        (level, part["samples"], *(f"{part[who]['weighted_f1']:.3f}" for who in _NAMES))
        for level, part in report["by_entity_type"].items()
    ]
    table("Weighted F1 by level", ("level", *columns), rows, right=columns)
    tiers = [tier.replace("_", " ") for tier in report["confusion"]["tiers"]]
    counts = report["confusion"]["truth_by_prediction"]
    rows = [(tier, *row) for tier, row in zip(tiers, counts, strict=True)]
    table("Truth by row, answer by column", ("", *tiers), rows, right=tiers)
    columns = ("samples", "sure on average", "right")
    rows = [
        (one["count"], f"{one['confidence']:.0%}", f"{one['accuracy']:.0%}") for one in report["reliability"]
    ]
    table("How sure it was, and how often it was right", columns, rows, right=columns)
    for note in report["notes"]:
        _say(f"Note: {note}")


def _say(words: str) -> None:
    console.print(textwrap.fill(words, 80), highlight=False, markup=False, soft_wrap=True)


def _money(value: float | None) -> str:
    return "no leads" if value is None else f"{value:,.2f}"
