"""The honest report: a model and its baselines on days after the ones it learnt from."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

import numpy as np

from adsml_classifier.models import scores
from adsml_classifier.models.panel import LEVELS, FloatArray, Panel
from adsml_classifier.models.rule import TIERS
from adsml_classifier.models.tier_model import TierModel
from adsml_classifier.training.sampling import Samples


@dataclass(frozen=True)
class Assessment:
    """A model and its baselines on the same samples.

    Attributes
    ----------
    model
        Figures of the model.
    persistence
        The tier that the as-of week earned, repeated for the week that follows.
    rule
        The rule as of the day: the same with its step for the trend. What serves where there is no model.
    by_entity_type
        ``samples``, and the F1 of each, by level.
    by_tier
        ``samples``, ``precision``, ``recall`` and ``f1`` of the model, by tier.
    confusion
        Counts, truth by row and prediction by column, from best to worst tier.
    reliability
        Confidence against accuracy, by bin of confidence.
    first, last
        First and last as-of day.
    """

    model: scores.Scores
    persistence: scores.F1
    rule: scores.F1
    by_entity_type: dict[str, dict[str, Any]]
    by_tier: dict[str, dict[str, float]]
    confusion: list[list[int]]
    reliability: tuple[scores.Bin, ...]
    first: date
    last: date

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the model's figures at the top, the baselines beside them."""
        figures = self.model.as_dict()
        return {
            **{name: value for name, value in figures.items() if name != "samples"},
            "persistence": _f1(self.persistence),
            "rule": _f1(self.rule),
            "samples_test": self.model.samples,
            "test_as_of": [self.first.isoformat(), self.last.isoformat()],
            "by_entity_type": self.by_entity_type,
            "by_tier": self.by_tier,
            "confusion": {"tiers": [tier.value for tier in TIERS], "truth_by_prediction": self.confusion},
            "reliability": [asdict(one) for one in self.reliability],
        }


def judge(model: TierModel, holdout: Samples, panel: Panel) -> Assessment:
    """Figures of a model on samples of days that it did not learn from.

    Parameters
    ----------
    model
        Which one.
    holdout
        At least one sample.
    panel
        Where they are from.
    """
    return judge_probabilities(model.probabilities(holdout.x), holdout, panel)


def judge_probabilities(probabilities: FloatArray, holdout: Samples, panel: Panel) -> Assessment:
    """The same from probabilities, shape (samples, 4)."""
    predicted = probabilities.argmax(axis=1)
    counts = scores.confusion(holdout.label, predicted)
    by_level = {}
    for code, level in enumerate(LEVELS):
        mask = holdout.level == code
        if mask.any():
            part = holdout.where(mask)
            by_level[level] = {
                "samples": len(part),
                "model": _f1(scores.f1(part.label, predicted[mask])),
                "persistence": _f1(scores.f1(part.label, part.persistence)),
                "rule": _f1(scores.f1(part.label, part.rule)),
            }
    true, said, hits = counts.sum(axis=1), counts.sum(axis=0), np.diag(counts)
    by_tier = {
        tier.value: {
            "samples": int(true[rank]),
            "precision": float(hits[rank] / max(said[rank], 1)),
            "recall": float(hits[rank] / max(true[rank], 1)),
            "f1": float(2 * hits[rank] / max(true[rank] + said[rank], 1)),
        }
        for rank, tier in enumerate(TIERS)
    }
    return Assessment(
        model=scores.of_probabilities(holdout.label, probabilities),
        persistence=scores.f1(holdout.label, holdout.persistence),
        rule=scores.f1(holdout.label, holdout.rule),
        by_entity_type=by_level,
        by_tier=by_tier,
        confusion=counts.tolist(),
        reliability=tuple(scores.reliability(predicted == holdout.label, probabilities.max(axis=1))),
        first=panel.day(int(holdout.day.min())),
        last=panel.day(int(holdout.day.max())),
    )


def pool(parts: Sequence[tuple[FloatArray, Samples]]) -> tuple[FloatArray, Samples]:
    """Probabilities and samples of several accounts as one set, for figures over all of them."""
    together = parts[0][1].join([samples for _, samples in parts[1:]])
    return np.concatenate([probabilities for probabilities, _ in parts]), together


def _f1(value: scores.F1) -> dict[str, float]:
    return {"weighted_f1": value.weighted, "macro_f1": value.macro}
