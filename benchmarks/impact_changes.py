"""Changes whose true effect is known: how large an effect shows, and what many changes say together."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cache

import numpy as np
import numpy.typing as npt
from adsml.impact.v1 import impact_service_pb2 as pb
from adsml_common.domain.changes import ChangeType
from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import AdsmlError
from adsml_common.domain.metrics import Metric
from adsml_common.serving.messages import day, entity_ref
from adsml_impact.analysis.change import analyse
from adsml_impact.analysis.query import AccountData, ImpactQuery, Options
from adsml_impact.analysis.summary import AnalysedChange, summarise
from adsml_impact.analysis.tree import Relation, Tree
from adsml_impact.models.comparison import Comparison, compare
from adsml_impact.models.design import Design
from adsml_impact.models.estimators import Estimator
from adsml_impact.models.meta_analysis import Estimate, pool
from adsml_impact.models.naive import naive_comparison
from adsml_impact.models.power import detectable
from adsml_simulate import RandomChanges, SimulatedAccount, clean, simulate_account

FloatArray = npt.NDArray[np.float64]

LAST = date(2024, 6, 30)
ENOUGH_LEADS = 10.0
"""Leads a day from which on an ad set is one that can be judged in a week."""
EFFECT = float(np.log(0.65))
ALPHA = 0.05


@dataclass(frozen=True)
class Panel:
    """Spend and leads of an account's ad sets by day, nothing having happened."""

    spend: FloatArray
    leads: FloatArray


@cache
def panels(accounts: int) -> list[Panel]:
    """Quiet accounts of two sizes in turn: 24 ad sets in 8 campaigns, and 15 in 4."""
    out = []
    for seed in range(accounts):
        settings = clean(last_day=LAST)
        if seed % 2 == 0:
            settings = replace(settings, campaigns=8, adsets=24, ads=60)
        daily = simulate_account(settings, seed=2000 + seed).daily
        rows = daily[daily["entity_type"] == "adset"]
        spend, leads = (
            rows.pivot(index="entity_id", columns="date", values=column).fillna(0.0).to_numpy(float)
            for column in ("spend", "leads")
        )
        out.append(Panel(spend, leads))
    return out


METHODS: dict[str, Estimator | None] = {
    "adsml": None,
    "synthetic_control": Estimator.SYNTHETIC_CONTROL,
    "difference_in_differences": Estimator.DIFFERENCE_IN_DIFFERENCES,
}


def busy(panel: Panel, horizon: int) -> list[int]:
    """Ad sets with leads enough before the change."""
    return [int(unit) for unit in np.flatnonzero(panel.leads[:, :-horizon].mean(axis=1) >= ENOUGH_LEADS)]


def cost_per_lead(
    panel: Panel, unit: int, horizon: int, estimator: Estimator | None = None
) -> Comparison | None:
    """One ad set's CPL over the last days, compared; None where it has none."""
    order = [unit, *(i for i in range(panel.spend.shape[0]) if i != unit)]
    design = Design(change=panel.spend.shape[1] - horizon, horizon=horizon, estimator=estimator)
    one = compare(panel.spend[order], panel.leads[order], design)
    return one if one is not None and np.isfinite(one.tau) else None


def power(accounts: int, horizon: int, method: str) -> dict[str, float]:
    """Of ad sets with 10 leads a day or more: false positives, power at -35%, and stated detectable effects."""
    hits: dict[str, list[float]] = {}
    taus = []
    for panel in panels(accounts):
        for unit in busy(panel, horizon):
            if method not in METHODS:
                p = naive_p_values(panel, unit, horizon)
                rows = [("false_positive_rate", p["null"] < ALPHA), ("power", p["shifted"] < ALPHA)]
            else:
                one = cost_per_lead(panel, unit, horizon, METHODS[method])
                if one is None:
                    continue
                taus.append(one.tau)
                could = detectable(one, horizon=horizon, ratio=True)
                low, high = one.interval(ALPHA)
                rows = [
                    ("false_positive_rate", one.p_value < ALPHA),
                    ("coverage", low <= 0 <= high),
                    ("power", _shifted(one, EFFECT) < ALPHA),
                    ("power_up", _shifted(one, -EFFECT) < ALPHA),
                    ("stated_rise_found", _shifted(one, np.log1p(could.relative_up)) < ALPHA),
                    ("stated_fall_found", _shifted(one, np.log1p(could.relative_down)) < ALPHA),
                ]
            for what, hit in rows:
                hits.setdefault(what, []).append(float(hit))
    out: dict[str, float] = {what: float(np.mean(values)) for what, values in hits.items()}
    if taus:
        out["spread"] = float(np.std(taus))
    return out | {"analyses": len(hits["power"])}


def _shifted(one: Comparison, by: float) -> float:
    # Nothing but tau depends on the treated's days after the change.
    return one.reference.p_value((one.tau + float(by)) / one.size)


def p_values(
    panel: Panel, unit: int, horizon: int, *, estimator: Estimator | None = None
) -> dict[str, float]:
    """Of one ad set as it is, and at -35%; and the seconds that the first took."""
    started = time.perf_counter()
    one = cost_per_lead(panel, unit, horizon, estimator)
    seconds = time.perf_counter() - started
    if one is None:
        return {"null": 1.0, "shifted": 1.0, "seconds": seconds}
    return {"null": one.p_value, "shifted": _shifted(one, EFFECT), "seconds": seconds}


def naive_p_values(panel: Panel, unit: int, horizon: int) -> dict[str, float]:
    """The same by Welch's t-test of daily values."""
    with np.errstate(divide="ignore"):
        days = panel.spend[unit] / panel.leads[unit]
    days[~np.isfinite(days)] = np.nan
    out = {}
    started = time.perf_counter()
    for name, factor in (("null", 1.0), ("shifted", float(np.exp(EFFECT)))):
        after = days[-horizon:] * factor
        p = naive_comparison(days[-2 * horizon : -horizon], after, before_total=1.0, after_total=1.0).p_value
        out[name] = 1.0 if p is None else p
    return out | {"seconds": (time.perf_counter() - started) / 2}


def _account(seed: int, *, placebo: bool) -> SimulatedAccount:
    settings = clean(last_day=LAST, days=180)
    changes = RandomChanges(
        count=40,
        types=(ChangeType.AUDIENCE_CHANGE, ChangeType.CREATIVE_CHANGE),
        lift_sd=0.35,
        placebo=placebo,
        quiet_days=8,
    )
    settings = replace(settings, campaigns=8, adsets=24, ads=60, daily_budget=120.0, random_changes=changes)
    return simulate_account(settings, seed=seed)


def _summaries(account: SimulatedAccount) -> Iterator[tuple[pb.SummarizeChangesResponse, list[float]]]:
    """Each kind of change of an account pooled on CPL, with the true relative effects."""
    relations = {
        (one.ref.entity_type, one.ref.entity_id): Relation(one.parent_id, one.shares_budget)
        for one in account.entities
    }
    tree = Tree(relations, account.changes)
    truth = account.truth.effects
    truth = truth[(truth["scope"] == "entity") & (truth["days"] == 7) & (truth["metric"] == "cpl")]
    true_of = dict(zip(truth["change"], truth["relative"], strict=True))
    data: dict[EntityType, AccountData] = {}
    for kind in (ChangeType.AUDIENCE_CHANGE, ChangeType.CREATIVE_CHANGE):
        analysed, effects = [], {}
        for number, event in enumerate(account.changes):
            level = event.entity.entity_type
            first = account.settings.first_day + timedelta(days=70)
            if event.change_type is not kind or event.date < first or number not in true_of:
                continue
            rows = account.daily[account.daily["entity_type"] == level.value]
            known = data.setdefault(level, AccountData(rows=rows, tree=tree))
            query = ImpactQuery(
                treated=(event.entity.entity_id,),
                entity_type=level,
                change_type=kind,
                day=event.date,
                options=Options(metrics=(Metric.CPL,), primary_metric=Metric.CPL, with_series=False),
            )
            try:
                analysis = analyse(query, known)
            except AdsmlError:
                continue
            if analysis.metric is Metric.CPL:
                analysed.append(AnalysedChange(event, analysis))
                effects[event.entity, event.date] = float(true_of[number])
        if analysed:
            summary = summarise(analysed, (), change_type=kind, alpha=ALPHA, margin=0.2)
            changes = [(entity_ref(one.entity, ""), day(one.change.date, "")) for one in summary.changes]
            yield summary, [effects[one] for one in changes]


def summaries(seeds: Iterable[int], *, placebo: bool) -> dict[str, list[float]]:
    """What summaries of some accounts said and what was true: p-values of the pooled mean, and each change's own."""
    out: dict[str, list[float]] = {
        name: [] for name in ("null", "said", "improved", "significant", "covered")
    }
    for seed in seeds:
        for summary, truths in _summaries(_account((3000 if placebo else 4000) + seed, placebo=placebo)):
            if not summary.HasField("pooled"):
                continue
            if placebo:
                out["null"].append(summary.pooled.p_value)
                continue
            for one, true in zip(summary.changes, truths, strict=True):
                interval = one.interval
                out["said"].append(one.probability_improved)
                out["improved"].append(float(true < 0))
                out["significant"].append(float(one.p_value < ALPHA))
                out["covered"].append(float(interval.lower <= true <= interval.upper))
    return out


def pooled(some: Iterable[dict[str, list[float]]]) -> dict[str, float]:
    """Pooled false positives where nothing happened; where something did, whether probabilities hold."""
    every = list(some)
    together = {name: np.array([x for one in every for x in one[name]]) for name in every[0]}
    p, good = together["said"], together["improved"] > 0
    sure = np.where(p >= 0.5, p, 1 - p)
    right = np.where(p >= 0.5, good, ~good)
    out = {
        "pooled_false_positive_rate": float((together["null"] < ALPHA).mean()),
        "pooled_null": together["null"].size,
        "changes": int(p.size),
        "single_coverage": float(together["covered"].mean()),
        "single_significant": float(together["significant"].mean()),
    }
    for low, high in ((0.5, 0.65), (0.65, 0.75), (0.75, 0.85), (0.85, 0.95), (0.95, 1.01)):
        inside = (sure >= low) & (sure < high)
        if inside.any():
            out[f"said_{low:g}_to_{min(high, 1):g}"] = float(sure[inside].mean())
            out[f"right_{low:g}_to_{min(high, 1):g}"] = float(right[inside].mean())
            out[f"number_{low:g}_to_{min(high, 1):g}"] = int(inside.sum())
    return out


def like_changes(accounts: int, *, together: int = 3) -> dict[str, float]:
    """Power of a few like changes of -35% pooled, against one alone."""
    alone, many = [], []
    for panel in panels(accounts):
        estimates = []
        for k, unit in enumerate(busy(panel, 7)):
            one = cost_per_lead(panel, unit, 7)
            if one is None:
                continue
            alone.append(_shifted(one, EFFECT) < ALPHA)
            low, high = one.interval(0.05)
            day = LAST + timedelta(days=20 * k)  # on days of their own
            estimates.append(
                Estimate(
                    effect=one.tau + EFFECT,
                    error=(high - low) / 2 / 1.959964,
                    group="1",
                    unit=str(unit),
                    first=day,
                    last=day + timedelta(days=6),
                    correlation=0.0,
                )
            )
        starts = range(0, len(estimates) - together + 1, together)
        many += [pool(estimates[start : start + together]).p_value < ALPHA for start in starts]
    return {"alone": float(np.mean(alone)), f"{together}_together": float(np.mean(many)), "groups": len(many)}
