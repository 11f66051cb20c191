"""What the account cannot change: market, season, the ads' own quality, and all chance in the counts.

Drawn once per account; the run with a change and the run without it share all of it.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import numpy as np

from adsml_simulate.chance import FloatArray, Stream, generator, uniforms
from adsml_simulate.settings import AccountSettings
from adsml_simulate.tree import Tree

PRICE_WEEKDAYS: Final = (0.98, 0.97, 0.98, 1.00, 1.03, 1.04, 1.00)
"""Auction price by weekday, Monday first, against the week's mean."""
CONVERSION_WEEKDAYS: Final = (1.12, 1.10, 1.06, 1.02, 0.92, 0.84, 0.94)
"""Conversion rate by weekday, Monday first, against the week's mean: people fill forms in on workdays."""
DRIFT_HALF_LIFE_DAYS: Final = 60.0
_AUTOCORRELATION_MARKET: Final = 0.85
_AUTOCORRELATION_CLICKS_PRICE: Final = 0.7
_AUTOCORRELATION_ALLOCATION: Final = 0.9
_DAYS_IN_YEAR: Final = 365.25
_BELIEF_ERROR_SD: Final = 0.5


@dataclass(frozen=True, eq=False)
class Environment:
    """Exogenous arrays; C campaigns, S ad sets, A ads, T days."""

    # shape (S,): what each ad set's budget is at first, currency per day. A campaign that shares its budget has the
    # sum of its ad sets'.
    budget: FloatArray
    audience: FloatArray  # shape (S,): people in reach of an ad set on a day
    # shape (A, T): logs of price, click rate (share) and odds of conversion, as far as they last: quality, drift,
    # trend
    lasting_cpm: FloatArray
    lasting_ctr: FloatArray
    lasting_odds: FloatArray
    # shape (A, T): what season, market and noise add to them
    fleeting_cpm: FloatArray
    fleeting_ctr: FloatArray
    fleeting_odds: FloatArray
    pacing: FloatArray  # shape (S, T): log of spend over budget
    belief: FloatArray  # shape (A,): how far the platform misjudges each ad at first (log of leads per money)
    # shapes (A, T) and (S, T): unsteadiness of the allocation, in logs
    ad_taste: FloatArray
    adset_taste: FloatArray
    exposure: FloatArray  # shape (A,): share of its steady exposure that an ad has on day 0
    # shape (A, T): uniform numbers of the counts
    u_impressions: FloatArray
    u_clicks: FloatArray
    u_leads: FloatArray


def ar1(rng: np.random.Generator, rows: int, days: int, *, phi: float, sd: float) -> FloatArray:
    """Stationary AR(1) series with lag-1 autocorrelation `phi` and standard deviation `sd`; (rows, days)."""
    steps = rng.standard_normal((days, rows))
    steps[1:] *= np.sqrt(1.0 - phi**2)
    for t in range(1, days):
        steps[t] += phi * steps[t - 1]
    return np.ascontiguousarray(sd * steps.T)


def _weekdays(settings: AccountSettings, profile: tuple[float, ...]) -> FloatArray:
    """Log of a weekday profile along the days, mean 0 over a week; (T,)."""
    logs = np.log(profile)
    logs = settings.weekly_season * (logs - logs.mean())
    return np.asarray(logs[(settings.first_day.weekday() + np.arange(settings.days)) % len(profile)])


def _years(settings: AccountSettings) -> tuple[FloatArray, FloatArray]:
    """Yearly season of log price and of log odds of conversion; each (T,).

    Prices peak before Christmas and around Black Friday and are lowest in January; forms are filled in least
    over Christmas and a little less in high summer.
    """
    day = np.array(
        [(settings.first_day + timedelta(days=t)).timetuple().tm_yday for t in range(settings.days)]
    )
    angle = 2 * np.pi * day / _DAYS_IN_YEAR
    black_friday = np.exp(-(((day - 331) / 5.0) ** 2))
    christmas = np.exp(-((((day + 5) % 365 - 362) / 6.0) ** 2))
    price = 0.10 * np.cos(angle - 2 * np.pi * 340 / _DAYS_IN_YEAR) + 0.22 * black_friday - 0.12 * christmas
    conversion = -0.05 * np.cos(angle - 2 * np.pi * 205 / _DAYS_IN_YEAR) - 0.25 * christmas
    return settings.yearly_season * price, settings.yearly_season * conversion


def _quality(rng: np.random.Generator, tree: Tree, sd: float) -> FloatArray:
    """Lasting quality of ads in logs, a third of the variance from each level; (A,)."""
    part = sd / np.sqrt(3.0)
    campaign, adset, ad = (
        part * rng.standard_normal(len(ids)) for ids in (tree.campaign_ids, tree.adset_ids, tree.ad_ids)
    )
    return np.asarray(campaign[tree.campaign_of_ad] + adset[tree.adset_of_ad] + ad)


def _shocks(settings: AccountSettings) -> FloatArray:
    """Log of what shocks make of the price; (T,)."""
    price = np.zeros(settings.days)
    for shock in settings.shocks:
        start = (shock.start - settings.first_day).days
        price[max(start, 0) : max(start + shock.days, 0)] += np.log1p(shock.cpm)
    return price


def _pacing(rng: np.random.Generator, tree: Tree, settings: AccountSettings) -> FloatArray:
    """Log of spend over budget: half its variance white by ad set, half AR(1) by campaign; (S, T)."""
    S, C, T = len(tree.adset_ids), len(tree.campaign_ids), settings.days
    daily = settings.pacing_sd * rng.standard_normal((S, T))
    slow = ar1(rng, C, T, phi=_AUTOCORRELATION_ALLOCATION, sd=settings.pacing_sd)
    return np.asarray(daily + slow[tree.campaign_of_adset])


def draw(settings: AccountSettings, tree: Tree, seed: int) -> Environment:
    """All exogenous arrays of an account."""
    C, S, A, T = len(tree.campaign_ids), len(tree.adset_ids), len(tree.ad_ids), settings.days
    economics = generator(seed, Stream.ECONOMICS)
    quality_cpm = _quality(economics, tree, settings.cpm_sd)
    quality_ctr = _quality(economics, tree, settings.ctr_sd)
    quality_odds = _quality(economics, tree, settings.conversion_rate_sd)
    weekday_strength = economics.uniform(0.6, 1.4, size=C)[tree.campaign_of_ad]

    # A person sets budgets in round figures; a shared one is the sum of what each ad set would have had.
    budgets = generator(seed, Stream.BUDGETS)
    size = settings.budget_sd * budgets.standard_normal(S) - settings.budget_sd**2 / 2
    budget = np.maximum(5.0, 5.0 * np.round(settings.daily_budget * np.exp(size) / 5.0))
    cpm_of_adset = settings.cpm * np.exp(
        np.add.reduceat(quality_cpm, tree.adset_starts) / np.bincount(tree.adset_of_ad, minlength=S)
    )
    audience = 1000 * budget / cpm_of_adset * np.exp(np.log(5.0) + 0.4 * budgets.standard_normal(S))

    drift = ar1(
        generator(seed, Stream.DRIFT), A, T,
        phi=0.5 ** (1.0 / DRIFT_HALF_LIFE_DAYS), sd=settings.drift_sd,
    )  # fmt: skip
    base = settings.conversion_rate / 100.0
    trend = settings.trend_per_30_days * (np.arange(T) / 30.0)
    market = generator(seed, Stream.MARKET)
    market_price, market_conversion = ar1(market, 2, T, phi=_AUTOCORRELATION_MARKET, sd=1.0)
    year_price, year_conversion = _years(settings)

    noise = generator(seed, Stream.CONVERSION_NOISE)
    conversion = [
        ar1(noise, rows, T, phi=settings.autocorrelation, sd=settings.conversion_noise_sd * np.sqrt(share))
        for rows, share in ((C, 0.25), (S, 0.25), (A, 0.5))
    ]
    click = ar1(
        generator(seed, Stream.CLICK_NOISE), S, T,
        phi=_AUTOCORRELATION_CLICKS_PRICE, sd=settings.click_noise_sd,
    )  # fmt: skip
    price = ar1(
        generator(seed, Stream.PRICE_NOISE), S, T,
        phi=_AUTOCORRELATION_CLICKS_PRICE, sd=settings.price_noise_sd,
    )  # fmt: skip
    allocation = generator(seed, Stream.ALLOCATION)
    belief = _BELIEF_ERROR_SD * allocation.standard_normal(A)
    ad_taste, adset_taste = (
        ar1(allocation, rows, T, phi=_AUTOCORRELATION_ALLOCATION, sd=settings.allocation_sd * part)
        for rows, part in ((A, 1.0), (S, 0.5))
    )
    ones = np.ones(T)
    common_price = _weekdays(settings, PRICE_WEEKDAYS) + year_price + _shocks(settings)
    common_price += settings.market_price_sd * market_price
    common_conversion = year_conversion + settings.market_conversion_sd * market_conversion
    return Environment(
        budget=budget,
        audience=audience,
        lasting_cpm=(np.log(settings.cpm) + quality_cpm)[:, None] * ones,
        lasting_ctr=(np.log(settings.ctr / 100.0) + quality_ctr)[:, None] * ones,
        lasting_odds=np.log(base / (1 - base)) + quality_odds[:, None] + drift + trend,
        fleeting_cpm=common_price + price[tree.adset_of_ad],
        fleeting_ctr=click[tree.adset_of_ad],
        fleeting_odds=(
            common_conversion
            + weekday_strength[:, None] * _weekdays(settings, CONVERSION_WEEKDAYS)
            + conversion[0][tree.campaign_of_ad]
            + conversion[1][tree.adset_of_ad]
            + conversion[2]
        ),
        pacing=_pacing(generator(seed, Stream.PACING), tree, settings),
        belief=belief,
        ad_taste=ad_taste,
        adset_taste=adset_taste,
        exposure=generator(seed, Stream.FATIGUE).random(A),
        u_impressions=uniforms(generator(seed, Stream.IMPRESSIONS), (A, T)),
        u_clicks=uniforms(generator(seed, Stream.CLICKS), (A, T)),
        u_leads=uniforms(generator(seed, Stream.LEADS), (A, T)),
    )
