"""What a snapshot is taught: the tier of the week that followed, or a person's word."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

import numpy as np
from adsml_common.domain.tiers import Tier

from adsml_classifier.models import rule
from adsml_classifier.models.panel import BoolArray, IntArray, Panel


class LabelMode(StrEnum):
    """Where labels come from.

    ``OUTCOME`` reads the 7 days after the as-of day. ``SAME_WINDOW`` reads the rule off the very days the
    features see: it distils the rule, its scores mean nothing, and it is there to have a model at all before
    there is an outcome.
    """

    OUTCOME = "outcome"
    SAME_WINDOW = "same_window"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A person's tier for an entity as of a day, meant for the 7 days that follow; of two the later recorded counts."""

    entity_type: str
    entity_id: str
    date: date
    tier: Tier
    recorded_at: datetime


@dataclass(frozen=True)
class Labels:
    """Labels of entity-days, each of shape (entities, days).

    `no_delivery` and `immaterial` say why there is none: the entity did not spend in the week that followed, or too
    little to tell. Both are False where the week is not over yet.
    """

    tier: IntArray  # `Tier.rank`, or -1 where there is none
    by_person: BoolArray
    no_delivery: BoolArray
    immaterial: BoolArray


def from_data(panel: Panel, days: IntArray, *, mode: LabelMode, last_complete: int) -> Labels:
    """Labels by the rule; none looks past the column `last_complete`, the last whose leads are all in.

    An outcome counts where the week's spend is material, leads or not: to let a lead decide whether a week is
    looked at would only keep the lucky ones among the small. The tier is the one the week earned: the step for the
    trend is how the rule looks ahead, and an outcome has nothing ahead of it.
    """
    if mode is LabelMode.OUTCOME:
        week = rule.week(panel, days, back=-rule.DAYS)
        tier = rule.earned(week)
        over = days + rule.DAYS <= last_complete
    else:
        week = rule.week(panel, days)
        tier = rule.tiers(panel, days)
        over = days <= last_complete
    delivered = week.spend > 0
    return Labels(
        tier=np.where(over & delivered & week.material, tier, -1),
        by_person=np.zeros(tier.shape, dtype=np.bool_),
        no_delivery=over & ~delivered,
        immaterial=over & delivered & ~week.material,
    )


def with_judgements(
    labels: Labels, panel: Panel, days: IntArray, judgements: Sequence[Judgement], *, reach_days: int
) -> Labels:
    """A person's word in place of the data's, on the day it was given for and up to `reach_days` around it.

    The nearest day wins, of two as near the later one, and on one day what was recorded last. A judgement needs no
    outcome, so it also labels days whose week is not over. Judgements of entities or days that the panel does not
    have change nothing.
    """
    tier, by_person = labels.tier.copy(), labels.by_person.copy()
    rows = panel.rows_of([(j.entity_type, j.entity_id) for j in judgements])
    nearest = np.full(tier.shape, reach_days + 1)
    ordered = sorted(zip(rows, judgements, strict=True), key=lambda pair: (pair[1].date, pair[1].recorded_at))
    for row, judgement in ordered:
        if row < 0:
            continue
        distance = np.abs(days - panel.column(judgement.date))
        wins = (distance <= reach_days) & (distance <= nearest[row])
        nearest[row, wins] = distance[wins]
        tier[row, wins] = judgement.tier.rank
        by_person[row, wins] = True
    return Labels(tier, by_person, labels.no_delivery & ~by_person, labels.immaterial & ~by_person)
