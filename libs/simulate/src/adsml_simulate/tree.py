"""The account's tree as arrays: ads lie together by ad set, ad sets by campaign."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import NotFound

from adsml_simulate.chance import BoolArray, IntArray, Stream, generator
from adsml_simulate.settings import AccountSettings

_GOALS: Final = (
    "Quotes", "Consultations", "Demo requests", "Callbacks", "Brochure", "Waiting list", "Webinar",
)  # fmt: skip
_AUDIENCES: Final = (
    "Lookalike 1% customers", "Broad 25-54", "Interest home improvement", "Retargeting 30 days",
    "Lookalike 3% leads", "Interest small business", "Website visitors 180 days", "Broad 35-65 women",
    "Interest new parents", "Video viewers 75%", "Broad 25-44 men", "Engaged shoppers",
)  # fmt: skip
_CREATIVES: Final = (
    "Video testimonial", "Carousel before and after", "Static offer", "Video founder", "Static question",
    "Carousel steps", "Video how it works", "Static review", "Reel day in the life", "Static price",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Tree:
    """Entities and what is fixed about them; C campaigns, S ad sets, A ads."""

    # fixed-width digits in rising order, so that sorting by id keeps the arrays' order
    campaign_ids: tuple[str, ...]
    adset_ids: tuple[str, ...]
    ad_ids: tuple[str, ...]
    campaign_names: tuple[str, ...]
    adset_names: tuple[str, ...]
    ad_names: tuple[str, ...]
    campaign_of_adset: IntArray  # shape (S,), rising
    adset_of_ad: IntArray  # shape (A,), rising
    shared: BoolArray  # shape (C,): whether the campaign sets one budget for all its ad sets
    # shape (A,): index of the first and last day on which the ad may run; negative: before the data begin; `days`:
    # still running
    first: IntArray
    last: IntArray

    @property
    def campaign_of_ad(self) -> IntArray:
        """Shape (A,)."""
        return self.campaign_of_adset[self.adset_of_ad]

    @property
    def adset_starts(self) -> IntArray:
        """Shape (S,): position of each ad set's first ad, for ``reduceat``."""
        return np.searchsorted(self.adset_of_ad, np.arange(len(self.adset_ids)))

    @property
    def campaign_starts(self) -> IntArray:
        """Shape (C,): position of each campaign's first ad set."""
        return np.searchsorted(self.campaign_of_adset, np.arange(len(self.campaign_ids)))

    def ids(self, entity_type: EntityType) -> tuple[str, ...]:
        """In the arrays' order."""
        ids: tuple[str, ...] = getattr(self, f"{entity_type}_ids")
        return ids

    def names(self, entity_type: EntityType) -> tuple[str, ...]:
        """In the arrays' order."""
        names: tuple[str, ...] = getattr(self, f"{entity_type}_names")
        return names

    def position(self, entity_type: EntityType, entity_id: str) -> int:
        """Position of an entity in its level's arrays; NotFound if there is none of that id."""
        ids = self.ids(entity_type)
        at = int(np.searchsorted(np.array(ids), entity_id))
        if at == len(ids) or ids[at] != entity_id:
            raise NotFound(f"the simulated account has no {entity_type} {entity_id}")
        return at

    def level_of_ads(self, entity_type: EntityType) -> IntArray:
        """Shape (A,): position of each ad's ancestor (or itself) at a level."""
        if entity_type is EntityType.CAMPAIGN:
            return self.campaign_of_ad
        return self.adset_of_ad if entity_type is EntityType.ADSET else np.arange(len(self.ad_ids))

    def below(self, entity_type: EntityType, position: int) -> IntArray:
        """Positions of an entity's ads."""
        return np.flatnonzero(self.level_of_ads(entity_type) == position)

    def campaign_of(self, entity_type: EntityType, position: int) -> int:
        """Position of an entity's campaign."""
        if entity_type is EntityType.CAMPAIGN:
            return position
        of = self.campaign_of_adset if entity_type is EntityType.ADSET else self.campaign_of_ad
        return int(of[position])


def _ids(config_id: int, level: int, count: int) -> tuple[str, ...]:
    # 17 digits like the platform's own; odd steps so that ids do not look like an index.
    return tuple(
        f"238{config_id % 100_000:05d}{level}{137 * i + (i * i) % 131 + 11:08d}" for i in range(count)
    )


def _spread(rng: np.random.Generator, children: int, parents: int) -> IntArray:
    """A parent for each child, rising, none without a child, sizes uneven."""
    weights = rng.gamma(3.0, size=parents)
    extra = rng.multinomial(children - parents, weights / weights.sum())
    return np.repeat(np.arange(parents), extra + 1)


def grow(settings: AccountSettings, seed: int) -> Tree:
    """The tree of an account."""
    rng = generator(seed, Stream.TREE)
    C, S, A, T = settings.campaigns, settings.adsets, settings.ads, settings.days
    campaign_of_adset = _spread(rng, S, C)
    adset_of_ad = _spread(rng, A, S)
    # An exact share of campaigns rather than a coin each, so that a small account has both kinds.
    shared = rng.permutation(C) < round(settings.shared_budget_share * C)

    lives = generator(seed, Stream.LIFETIMES)
    starts_late, ends_early, when_start, when_end = lives.random((4, A))
    first = np.where(
        starts_late < settings.late_start_share, (0.1 + 0.7 * when_start) * T, -1 - 90 * when_start
    ).astype(np.int64)
    last = np.where(ends_early < settings.early_end_share, (0.3 + 0.6 * when_end) * T, T).astype(np.int64)
    last = np.where(last < first + 14, T, last)

    names = generator(seed, Stream.NAMES)
    goals, audiences, creatives = (
        names.permutation(len(words)) for words in (_GOALS, _AUDIENCES, _CREATIVES)
    )
    campaign_of_ad = campaign_of_adset[adset_of_ad]
    within_set = np.arange(A) - np.searchsorted(adset_of_ad, adset_of_ad)
    return Tree(
        campaign_ids=_ids(settings.config_id, 1, C),
        adset_ids=_ids(settings.config_id, 2, S),
        ad_ids=_ids(settings.config_id, 3, A),
        campaign_names=tuple(
            f"{_GOALS[goals[c % len(_GOALS)]]} | {'CBO' if shared[c] else 'ABO'} | {c + 1}" for c in range(C)
        ),
        adset_names=tuple(
            f"{_AUDIENCES[audiences[s % len(_AUDIENCES)]]} | {campaign_of_adset[s] + 1}.{s + 1}"
            for s in range(S)
        ),
        ad_names=tuple(
            f"{_CREATIVES[creatives[(adset_of_ad[a] + within_set[a]) % len(_CREATIVES)]]}"
            f" v{1 + within_set[a]} | {campaign_of_ad[a] + 1}.{adset_of_ad[a] + 1}.{a + 1}"
            for a in range(A)
        ),
        campaign_of_adset=campaign_of_adset,
        adset_of_ad=adset_of_ad,
        shared=shared,
        first=first,
        last=last,
    )
