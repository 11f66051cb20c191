"""The honest report: a model and its baselines on days after the ones it learnt from."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Final

import numpy as np

from adsml_classifier.models import scores, worth
from adsml_classifier.models.panel import LEVELS, BoolArray, FloatArray, IntArray, Panel
from adsml_classifier.models.rule import TIERS
from adsml_classifier.models.scores import Scores
from adsml_classifier.models.tier_model import TierModel
from adsml_classifier.models.worth import NextWeek, Worth
from adsml_classifier.training.sampling import Samples, Split

_SURE: Final = np.eye(len(TIERS))
# Samples that a tier's odds of changing start from: as often as the tiers are in all.
_PRIOR_SAMPLES: Final = 10.0


@dataclass(frozen=True)
class Answers:
    """What a model and last week's tier say of the same samples, shape (samples, 4).

    `transitions` is last week's tier with the odds that tiers changed by in the days learnt from: persistence that
    knows how far to trust itself.
    """

    probabilities: FloatArray
    transitions: FloatArray
    samples: Samples

    @classmethod
    def of(cls, model: TierModel, split: Split) -> "Answers":
        """Answers for a holdout, from what was known before it."""
        held = split.holdout
        return cls(model.probabilities(held.x), transitions(split.train)[held.persistence], held)

    def join(self, others: "Sequence[Answers]") -> "Answers":
        """These and those for other samples."""
        parts = (self, *others)
        return Answers(
            np.concatenate([part.probabilities for part in parts]),
            np.concatenate([part.transitions for part in parts]),
            self.samples.join([part.samples for part in others]),
        )

    def by(self, model: TierModel, mask: BoolArray) -> "Answers":
        """What another model says of some of the samples."""
        samples = self.samples.where(mask)
        return Answers(model.probabilities(samples.x), self.transitions[mask], samples)


@dataclass(frozen=True)
class Assessment:
    """A model and its baselines on the same samples."""

    model: Scores
    persistence: Scores  # the tier that the as-of week earned, again: what serves where the gate shuts
    transitions: Scores  # the same with the odds of a change; see `Answers`
    rule: Scores  # persistence and the rule's step for the trend
    worth: dict[str, Worth]  # of `model`, `persistence` and `rule`
    details: dict[str, Any]  # of the model, for JSON: by level and by tier, confusion, reliability
    first: date  # as-of days
    last: date

    @property
    def rps_skill(self) -> float:
        """Share of persistence's ranked probability score that the model is better by."""
        return 1 - self.model.rps / self.persistence.rps if self.persistence.rps else 0.0

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the worth in money first, then the model's figures, its baselines' beside them."""
        figures = asdict(self.model)
        samples = figures.pop("samples")
        return {
            "worth": {
                "moved_share": worth.MOVED_SHARE,
                **{name: asdict(one) for name, one in self.worth.items()},
            },
            **figures,
            "rps_skill": self.rps_skill,
            "persistence": _of_calls(self.persistence)
            | {"log_loss_with_odds": self.transitions.log_loss, "rps_with_odds": self.transitions.rps},
            "rule": _of_calls(self.rule),
            "samples_test": samples,
            "test_as_of": [self.first.isoformat(), self.last.isoformat()],
            **self.details,
        }


def transitions(train: Samples) -> FloatArray:
    """How often last week's tier (row) was followed by each tier (column), shape (4, 4)."""
    counts = scores.confusion(train.persistence, train.label).astype(np.float64)
    share = np.bincount(train.label, minlength=len(TIERS)) / max(len(train), 1)
    total = counts.sum(axis=1, keepdims=True) + _PRIOR_SAMPLES
    odds: FloatArray = (counts + _PRIOR_SAMPLES * share) / total
    return odds


def next_week(samples: Samples, *, leads: FloatArray | None = None) -> NextWeek:
    """The week after the samples of one account; `leads` in place of the realised ones, where the truth is known."""
    group = np.unique(samples.level * (samples.day.max() + 1) + samples.day, return_inverse=True)[1]
    return NextWeek(samples.next_spend, samples.next_leads if leads is None else leads, group)


def assess(answers: Answers, panel: Panel, *, week: NextWeek | None = None) -> Assessment:
    """Figures on at least one sample of days not learnt from; `week` is what came, as realised where not given."""
    held, probabilities = answers.samples, answers.probabilities
    week = week or next_week(held)
    predicted = probabilities.argmax(axis=1)
    forecasts = {"model": probabilities, "persistence": _SURE[held.persistence], "rule": _SURE[held.rule]}
    counts = scores.confusion(held.label, predicted)
    return Assessment(
        **{name: scores.of_probabilities(held.label, one) for name, one in forecasts.items()},
        transitions=scores.of_probabilities(held.label, answers.transitions),
        worth={name: worth.of_probabilities(one, week) for name, one in forecasts.items()},
        details={
            "by_entity_type": _by_level(held, predicted),
            "by_tier": _by_tier(counts),
            "confusion": {"tiers": [tier.value for tier in TIERS], "truth_by_prediction": counts.tolist()},
            "reliability": scores.reliability(predicted == held.label, probabilities.max(axis=1)),
        },
        first=panel.day(int(held.day.min())),
        last=panel.day(int(held.day.max())),
    )


def _by_level(held: Samples, predicted: IntArray) -> dict[str, dict[str, Any]]:
    """Samples, and the F1 of model and baselines."""
    calls = {"model": predicted, "persistence": held.persistence, "rule": held.rule}
    out: dict[str, dict[str, Any]] = {}
    for code in np.unique(held.level).tolist():
        mask = held.level == code
        of_level: dict[str, Any] = {"samples": int(mask.sum())}
        for name, called in calls.items():
            one = scores.f1(held.label[mask], called[mask])
            of_level[name] = {"weighted_f1": one.weighted, "macro_f1": one.macro}
        out[LEVELS[code]] = of_level
    return out


def _by_tier(counts: IntArray) -> dict[str, dict[str, float]]:
    true, called, hits = counts.sum(axis=1), counts.sum(axis=0), np.diag(counts)
    return {
        tier.value: {
            "samples": int(true[rank]),
            "precision": float(hits[rank] / max(called[rank], 1)),
            "recall": float(hits[rank] / max(true[rank], 1)),
            "f1": float(2 * hits[rank] / max(true[rank] + called[rank], 1)),
        }
        for rank, tier in enumerate(TIERS)
    }


def _of_calls(of: Scores) -> dict[str, float]:
    """Figures that calls without probabilities have."""
    return {"weighted_f1": of.weighted_f1, "macro_f1": of.macro_f1, "rps": of.rps}
