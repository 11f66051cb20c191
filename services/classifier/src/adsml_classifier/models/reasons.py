"""Why a tier was answered: the facts that speak for it, then at most one against."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from weakref import WeakKeyDictionary

import numpy as np
from adsml_common.domain.tiers import Tier

from adsml_classifier.models import rule
from adsml_classifier.models.facts import FACTS, MEMBERSHIP, PLACE, Evidence
from adsml_classifier.models.panel import FloatArray, IntArray

# A fact that speaks neither well nor badly of an entity convinces less than one that does, whatever moved the model.
_NEUTRAL_WEIGHT: Final = 0.5
# Facts weaker than this share of the strongest are left out.
_WEAKEST: Final = 0.05
# What the tables of tiers ask for, in that order; the rest shows what speaks against.
_OF_THE_WEEK: Final = {"cpl": 4.0, "lead days": 2.0, "month": 1.0, "trend": 0.5}
_STEP_WEIGHT: Final = 3.0
_SIDES: Final[WeakKeyDictionary[Evidence, IntArray]] = WeakKeyDictionary()
_UNDECIDED: Final = "no single fact decides: its figures lie between tiers"


@dataclass(frozen=True, slots=True)
class Reason:
    """One fact with its figures that speaks for or against the answered tier."""

    text: str
    supports: bool
    features: tuple[str, ...] = ()  # behind it; empty where no model answered


def of_model(
    evidence: Evidence, rows: IntArray, tier: IntArray, contributions: FloatArray, *, most: int
) -> list[tuple[Reason, ...]]:
    """Reasons of a model's answers: at most `most` for the tier, then at most one against.

    `rows` are the entities answered, `tier` their `Tier.rank`, both of shape (answers,); `contributions` of each
    feature to the answered tier's log-odds, shape (answers, features).
    """
    return _chosen(evidence, rows, tier, contributions @ MEMBERSHIP, {}, most=most, by_model=True)


def of_week(
    evidence: Evidence, rows: IntArray, tier: IntArray, *, step: IntArray, most: int
) -> list[tuple[Reason, ...]]:
    """Reasons of last week's tier, or of the rule, by what the table of tiers looks at; as of `of_model`.

    `step` is the rule's for the trend, 0 for last week's tier, shape (answers,): where it moved the tier it is among
    the reasons.
    """
    weights = np.zeros(len(FACTS))
    for name, weight in _OF_THE_WEEK.items():
        weights[PLACE[name]] = weight
    sides = _sides(evidence, rows)
    # Every fact counts as far as it agrees with the tier.
    strength = sides * weights * _direction(tier)[:, None]
    cpl, trend, days = PLACE["cpl"], PLACE["trend"], PLACE["lead days"]
    strength[:, cpl] = np.where(sides[:, cpl] == 0, weights[cpl], strength[:, cpl])
    notes: dict[tuple[int, int], str] = {}
    cheap = evidence.ratio("spend_7", "leads_7") <= rule.HIGH * evidence.account_ratio("spend_7", "leads_7")
    rare = (cheap & (evidence["lead_days_7"] < rule.HIGH_LEAD_DAYS))[rows] & (sides[:, days] == 0)
    strength[rare, days] = weights[days]
    for place in np.flatnonzero(rare).tolist():
        notes[place, days] = f"; a high performer has them on {rule.HIGH_LEAD_DAYS}"
    strength[step != 0, trend] = _STEP_WEIGHT
    for place in np.flatnonzero(step).tolist():
        notes[place, trend] = ": one tier lower" if step[place] > 0 else ": one tier higher"
    return _chosen(evidence, rows, tier, strength, notes, most=most, by_model=False)


def _direction(tier: IntArray) -> IntArray:
    """1 for the two tiers that facts in an entity's favour support, -1 for the two below."""
    return np.where(tier <= Tier.MODERATE.rank, 1, -1)


def _sides(evidence: Evidence, rows: IntArray) -> IntArray:
    """Of every fact, shape (answers, facts); worked out once for all entities of an account."""
    sides = _SIDES.get(evidence)
    if sides is None:
        sides = _SIDES[evidence] = np.stack([fact.side(evidence) for fact in FACTS], axis=1)
    return sides[rows]


def _chosen(
    evidence: Evidence,
    rows: IntArray,
    tier: IntArray,
    strength: FloatArray,
    notes: Mapping[tuple[int, int], str],
    *,
    most: int,
    by_model: bool,
) -> list[tuple[Reason, ...]]:
    """The strongest facts for each answer, and the strongest against; `notes` are added to facts of some answers.

    A fact is told on the side where its figures read so: one that speaks well of an entity is no reason to call it
    LOW, whatever it did to the model's score.
    """

    def told(place: int, fact: int, *, supports: bool) -> list[Reason]:
        text = FACTS[fact].text(evidence, int(rows[place]))
        text += notes.get((place, fact), "") if text and supports else ""
        return [Reason(text, supports, FACTS[fact].features if by_model else ())] if text else []

    agrees = _sides(evidence, rows) * _direction(tier)[:, None]
    noted = np.zeros(strength.shape, dtype=np.bool_)
    for at in notes:
        noted[at] = True
    weight = np.where((agrees == 0) & ~noted, _NEUTRAL_WEIGHT, 1.0)
    supporting = np.where((strength > 0) & ((agrees >= 0) | noted), strength * weight, 0.0)
    opposing = np.where((strength < 0) & (agrees < 0), -strength, 0.0)
    order = np.argsort(-supporting, axis=1, kind="stable")
    strongest = np.maximum(supporting, opposing).max(axis=1, initial=0.0)
    against = opposing.argmax(axis=1)
    out = []
    for place in range(len(rows)):
        least = _WEAKEST * strongest[place]
        chosen: list[Reason] = []
        for fact in order[place].tolist():
            if len(chosen) == most or not supporting[place, fact] > least:
                break
            chosen += told(place, fact, supports=True)
        if not chosen:
            chosen.append(Reason(_UNDECIDED, True))
        if opposing[place, against[place]] > least:
            chosen += told(place, int(against[place]), supports=False)
        out.append(tuple(chosen))
    return out
