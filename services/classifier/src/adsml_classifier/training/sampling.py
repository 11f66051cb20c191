"""Samples to learn from and to be judged on: an entity as of a day, with the tier of what followed."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import InsufficientHistory

from adsml_classifier.models import features, labels, rule
from adsml_classifier.models.labels import Judgement
from adsml_classifier.models.panel import LEVELS, BoolArray, FloatArray, IntArray, Panel
from adsml_classifier.training.recipe import SampleSettings

HORIZON_DAYS: Final = rule.DAYS
"""Days that a label looks ahead."""
JUDGEMENT_REACH_DAYS: Final = 3
"""How many days around its own a person's judgement labels."""
JUDGEMENT_WEIGHT: Final = 5.0
"""How many samples a person's label counts as."""


@dataclass(frozen=True)
class Excluded:
    """Entity-days that are not samples, and why."""

    not_over: int
    no_delivery: int
    immaterial: int

    def __str__(self) -> str:
        return (
            f"{self.not_over} entity-days have no full week after them yet, {self.no_delivery} were followed by a "
            f"week without spend, {self.immaterial} by one with too little to judge"
        )


@dataclass(frozen=True)
class Samples:
    """Samples, each array of shape (samples,) but for `x`; sorted by day, then entity."""

    x: npt.NDArray[np.float32]  # features, shape (samples, features)
    label: IntArray  # `Tier.rank` of the truth
    day: IntArray  # column of the as-of day in the panel
    entity: IntArray  # row of the entity in the panel
    level: IntArray  # index of its type in `panel.LEVELS`
    persistence: IntArray  # the tier that the as-of week itself earned: the forecast that nothing changes
    rule: IntArray  # what the rule says as of the day: the same with its step for the trend
    next_spend: FloatArray  # of the 7 days after the as-of day, as far as the panel has them
    next_leads: FloatArray
    by_person: BoolArray  # whether the label is a person's
    weight: FloatArray
    excluded: Excluded

    def __len__(self) -> int:
        return len(self.label)

    def where(self, mask: BoolArray) -> "Samples":
        """The samples of a mask."""
        return replace(self, **{name: getattr(self, name)[mask] for name in _PER_SAMPLE})

    def join(self, others: "Sequence[Samples]") -> "Samples":
        """These samples and those of other accounts; rows and columns then no longer name one panel's."""
        parts = (self, *others)
        joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _PER_SAMPLE}
        excluded = zip(*(astuple(part.excluded) for part in parts), strict=True)
        return replace(self, **joined, excluded=Excluded(*map(sum, excluded)))

    @property
    def absent(self) -> tuple[int, ...]:
        """Tiers without a sample."""
        return tuple(np.setdiff1d(np.arange(len(rule.TIERS)), self.label).tolist())

    @property
    def counts(self) -> dict[str, int]:
        """Samples of each tier, from best to worst."""
        counts = np.bincount(self.label, minlength=len(rule.TIERS)).tolist()
        return {tier.value: count for tier, count in zip(rule.TIERS, counts, strict=True)}


_PER_SAMPLE: Final = (
    "x", "label", "day", "entity", "level", "persistence", "rule", "next_spend", "next_leads", "by_person", "weight",
)  # fmt: skip


def build(
    panel: Panel,
    settings: SampleSettings,
    *,
    judgements: Sequence[Judgement] = (),
    levels: Sequence[EntityType] = tuple(EntityType),
) -> Samples:
    """Cut samples from the entities of some levels, one per entity and as-of day.

    A sample is an entity that spent in the 7 days up to the as-of day and whose label is known; as-of days have a
    full week of data behind them.
    """
    last_complete = len(panel.days) - 1 - settings.attribution_lag_days
    days = np.arange(rule.DAYS - 1, len(panel.days))
    spent = panel.running["spend"].last(rule.DAYS, days) > 0
    spent &= np.isin(panel.level, [LEVELS.index(level.value) for level in levels])[:, None]
    truth = labels.from_data(panel, days, mode=settings.mode, last_complete=last_complete)
    truth = labels.with_judgements(truth, panel, days, judgements, reach_days=JUDGEMENT_REACH_DAYS)
    mask = spent & (truth.tier >= 0)
    stride = -(-int(mask.sum()) // settings.most)
    if stride > 1:
        # The last day with an outcome stays, whatever the stride; people's labels are too dear to thin out.
        last = days[(mask & ~truth.by_person).any(axis=0)].max(initial=0)
        mask &= ((last - days) % stride == 0) | truth.by_person
    excluded = Excluded(
        not_over=int((spent & (truth.tier < 0) & ~truth.no_delivery & ~truth.immaterial).sum()),
        no_delivery=int((spent & truth.no_delivery).sum()),
        immaterial=int((spent & truth.immaterial).sum()),
    )
    used = mask.any(axis=0)
    days, mask = days[used], mask[:, used]
    earned = rule.earned(rule.week(panel, days))
    # Transposed, so that samples come out by day.
    column, entity = np.nonzero(mask.T)
    by_person = truth.by_person[:, used][entity, column]
    ahead = {
        name: panel.running[name].last(HORIZON_DAYS, days, back=-HORIZON_DAYS)[entity, column]
        for name in ("spend", "leads")
    }
    return Samples(
        x=np.ascontiguousarray(features.compute(panel, days)[:, entity, column].T),
        label=truth.tier[:, used][entity, column],
        day=days[column],
        entity=entity,
        level=panel.level[entity],
        persistence=earned[entity, column],
        rule=rule.stepped(earned, rule.step(panel, days))[entity, column],
        next_spend=ahead["spend"],
        next_leads=ahead["leads"],
        by_person=by_person,
        weight=np.where(by_person, JUDGEMENT_WEIGHT, 1.0),
        excluded=excluded,
    )


@dataclass(frozen=True)
class Split:
    """Samples before and after a cutoff, the column of the first day held out: no label of `train` looks past it."""

    train: Samples
    holdout: Samples
    cutoff: int


def split(samples: Samples, *, cutoff: int, until: int | None = None, lag_days: int = 0) -> Split:
    """Split by time, from the as-of day `cutoff` to `until` or the last, with a gap.

    Training ends a week (and the lag) before the cutoff: at the end of that day, the outcomes of later samples could
    not have been known.
    """
    last = int(samples.day.max(initial=cutoff)) if until is None else until
    return Split(
        train=samples.where(samples.day + HORIZON_DAYS + lag_days <= cutoff),
        holdout=samples.where((samples.day >= cutoff) & (samples.day <= last)),
        cutoff=cutoff,
    )


def known_days(samples: Samples) -> tuple[int, int]:
    """First and last as-of day whose outcome is known.

    A person's word can come before the outcome: days that have nothing else are not counted.
    """
    known = samples.day[~samples.by_person]
    known = known if known.size else samples.day
    return int(known.min()), int(known.max())


def require(samples: Samples, panel: Panel, *, what: str, needed: int) -> None:
    """Refuse to learn from too little, by an `InsufficientHistory` that says what there is and whose it is (`what`)."""
    if len(samples) >= needed:
        return
    days = f"{len(panel)} entities, {panel.day(0)} to {panel.day(len(panel.days) - 1)}"
    tiers = ", ".join(f"{count} {tier}" for tier, count in samples.counts.items() if count)
    raise InsufficientHistory(
        f"{what} ({days}; {f'samples: {tiers}; ' if tiers else ''}{samples.excluded})",
        had=len(samples),
        needed=needed,
        unit="samples",
    )
