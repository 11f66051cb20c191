"""The auction and the people: from plan and environment to spend, impressions, clicks and leads of every ad.

One pass over the days, all ads at once, because exposure, learning and what the platform believes of an ad
follow from earlier days. It works on expected values only, so that chance in the counts moves no money; the
counts are drawn afterwards from the environment's stored uniform numbers. Leads count on the day of the click and
become known over the days that follow: `seen` has those known at the end of a day.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from adsml_simulate.chance import (
    BoolArray,
    FloatArray,
    IntArray,
    Stream,
    binomial_quantile,
    generator,
    uniforms,
)
from adsml_simulate.environment import Environment
from adsml_simulate.plan import Plan
from adsml_simulate.settings import AccountSettings
from adsml_simulate.tree import Tree

EXPOSURE_HALF_LIFE_DAYS: Final = 14.0
LEARNING_LEADS: Final = 50.0
LEARNING_DAYS: Final = 14.0
_BELIEF_RATE: Final = 0.15
_MOST_CTR, _MOST_CONVERSION = 0.5, 0.9


@dataclass(frozen=True, eq=False)
class Counts:
    """What happened, by ad and day; each (A, T), whole numbers."""

    cents: IntArray  # spend in hundredths of the currency
    # as named; `leads <= clicks <= impressions`
    impressions: IntArray
    clicks: IntArray
    leads: IntArray
    delivered: BoolArray


@dataclass(frozen=True, eq=False)
class Delivery:
    """A run of the account: its counts and the rates behind them, each (A, T) unless said otherwise."""

    counts: Counts
    # shares, the means of clicks per impression and leads per click on that day
    ctr: FloatArray
    conversion: FloatArray
    lasting: FloatArray  # leads per money as far as it lasts: without season, market, noise and learning
    fatigue: FloatArray  # factor on the click rate, 1 for a fresh creative
    learning: FloatArray  # shape (S, T): share of the learning phase still ahead, 0 when it is over
    audience: FloatArray  # shape (S, T): people in reach


def _shares(weights: FloatArray, starts: IntArray, of: IntArray) -> FloatArray:
    """Weights over their group's sum, 0 where that is 0."""
    total = np.add.reduceat(weights, starts)[of]
    return np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)


def _spend(
    tree: Tree, env: Environment, plan: Plan, belief: FloatArray, t: int
) -> tuple[FloatArray, FloatArray]:
    """Money of a day: each ad's share of its ad set's spend (A,), and each ad set's spend (S,).

    An ad set has its own budget, or a share of its campaign's; shares go by what the platform believes of the
    leads per money (`belief`, in logs) and by its unsteady taste.
    """
    active, starts, of = plan.active[:, t], tree.adset_starts, tree.adset_of_ad
    campaign_starts, of_campaign = tree.campaign_starts, tree.campaign_of_adset
    liking = np.exp(belief + env.ad_taste[:, t])
    share = _shares(np.where(active, liking, 0.0), starts, of)
    adset_active = np.logical_or.reduceat(active, starts)
    adset_belief = np.add.reduceat(share * belief, starts)
    own = plan.adset_budget[:, t]
    wanted = adset_active * own * np.exp(adset_belief + env.adset_taste[:, t])
    pooled = np.add.reduceat(own, campaign_starts)[of_campaign] * _shares(
        wanted, campaign_starts, of_campaign
    )
    budget = np.where(tree.shared[of_campaign], pooled, own)
    return share, adset_active * budget * np.exp(env.pacing[:, t])


def deliver(tree: Tree, settings: AccountSettings, environment: Environment, plan: Plan) -> Delivery:
    """Run the account; the formulas, with units, are in docs/simulate.md."""
    env = environment
    A, S, T = len(tree.ad_ids), len(tree.adset_ids), settings.days
    of = tree.adset_of_ad
    ad_starts = tree.adset_starts
    kappa, gamma = settings.price_elasticity, settings.saturation_elasticity
    keep = 0.5 ** (1.0 / EXPOSURE_HALF_LIFE_DAYS)
    audience = env.audience[:, None] * np.exp(plan.log_audience)

    spend, impressions, ctr, conversion, fatigue, lasting = (np.zeros((A, T)) for _ in range(6))
    learning = np.zeros((S, T))
    exposure = np.zeros(A)
    # Ad sets that ran before the data begin have learnt; later ones start at nothing.
    running = plan.active[:, 0] & (tree.first < 0)
    learnt = np.where(np.logical_or.reduceat(running, ad_starts), 1.0, 0.0)
    belief = env.lasting_ctr[:, 0] + env.lasting_odds[:, 0] - env.lasting_cpm[:, 0] + env.belief
    # Any constant does, as shares don't feel it; this one does not depend on which campaigns are run.
    belief_base = np.log(settings.ctr * settings.conversion_rate / 1e4 / settings.cpm)

    for t in range(T):
        active = plan.active[:, t]
        exposure[plan.restarts_exposure[:, t]] = 0.0
        learnt[plan.restarts_learning[:, t]] = 0.0

        share, adset_spend = _spend(tree, env, plan, belief - belief_base, t)
        spend[:, t] = share * adset_spend[of]

        # Price and rates: the further spend is beyond what the audience was sized for, the dearer and colder.
        relative = adset_spend / (env.budget * np.exp(plan.log_audience[:, t]))
        pressure = np.log(np.clip(relative, 0.02, 50.0))[of]
        log_cpm = env.lasting_cpm[:, t] + plan.log_cpm[:, t] + kappa * pressure
        if t == 0:
            steady = 1000.0 * spend[:, 0] * np.exp(-log_cpm) / audience[of, 0] / (1.0 - keep)
            exposure = np.where(tree.first < 0, env.exposure * steady, 0.0)
        fatigue[:, t] = (1.0 + exposure) ** -settings.fatigue
        ahead = 1.0 - learnt
        learning[:, t] = ahead
        log_ctr = env.lasting_ctr[:, t] + plan.log_ctr[:, t] + np.log(fatigue[:, t])
        log_taken = plan.log_conversion[:, t] - gamma * pressure
        rate = np.exp(log_taken) / (1.0 + np.exp(-env.lasting_odds[:, t]))
        lasting[:, t] = 1000.0 * np.exp(log_ctr - log_cpm) * rate
        ctr[:, t] = np.minimum(np.exp(log_ctr + env.fleeting_ctr[:, t]), _MOST_CTR)
        odds = env.lasting_odds[:, t] + env.fleeting_odds[:, t]
        unlearnt = 1.0 - settings.learning_penalty * ahead[of]
        conversion[:, t] = np.minimum(np.exp(log_taken) * unlearnt / (1.0 + np.exp(-odds)), _MOST_CONVERSION)
        impressions[:, t] = 1000.0 * spend[:, t] * np.exp(-log_cpm - env.fleeting_cpm[:, t])

        # What the day leaves behind.
        leads = np.add.reduceat(impressions[:, t] * ctr[:, t] * conversion[:, t], ad_starts)
        step = np.maximum(leads / LEARNING_LEADS, 1.0 / LEARNING_DAYS)
        learnt = np.where(adset_spend > 0, np.minimum(learnt + step, 1.0), learnt)
        exposure = keep * exposure + impressions[:, t] / audience[of, t]
        seen = np.log(np.maximum(lasting[:, t], 1e-12)) - np.log(1000.0)
        belief = np.where(active, belief + _BELIEF_RATE * (seen - belief), belief)

    shown = np.floor(impressions + env.u_impressions).astype(np.int64)
    cents = np.rint(100.0 * spend).astype(np.int64)
    # Neither money without an impression nor an impression without a cent makes a row.
    delivered = (shown > 0) & (cents > 0)
    shown, cents = shown * delivered, cents * delivered
    clicks = binomial_quantile(env.u_clicks, shown, ctr)
    counts = Counts(cents, shown, clicks, binomial_quantile(env.u_leads, clicks, conversion), delivered)
    return Delivery(counts, ctr, conversion, lasting, fatigue, learning, audience)


def seen(counts: Counts, *, lag: tuple[float, ...], seed: int, at: int) -> Counts:
    """The counts as known at the end of a day, by index; later days have none.

    Each lead's delay is drawn once, so that what is known never shrinks from one day to the next.
    """
    known = np.cumsum(lag)
    leads = counts.leads.copy()
    rng = generator(seed, Stream.LAG)
    # Thinned from the longest delay down: of the leads known after k + 1 days, known[k] / known[k + 1] were
    # known after k. A click k days ago has gone through the steps down to k.
    for k in range(len(lag) - 2, -1, -1):
        u = uniforms(rng, counts.leads.shape)
        young = slice(max(at - k, 0), None)
        leads[:, young] -= binomial_quantile(
            u[:, young], leads[:, young], min(1 - known[k] / known[k + 1], 0.95)
        )
    up_to = np.arange(counts.leads.shape[1]) <= at
    leads *= up_to
    return Counts(
        counts.cents * up_to,
        counts.impressions * up_to,
        counts.clicks * up_to,
        leads,
        counts.delivered & up_to,
    )
