"""The true effect of every change: the same account, the same chance, without that change.

Both runs share every random number (common random numbers), and a change reaches no further than its
campaign, so that only the campaign is run again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from adsml_common.domain.metrics import Metric, value

from adsml_simulate.arrays import FloatArray, IntArray
from adsml_simulate.delivery import Delivery, deliver
from adsml_simulate.environment import Environment
from adsml_simulate.plan import compile_plan
from adsml_simulate.settings import AccountSettings, PlannedChange
from adsml_simulate.tree import Tree

WINDOWS: Final = (7, 14)
"""Days after the change over which effects are summed up."""
METRICS: Final = tuple(metric for metric in Metric if metric is not Metric.FREQUENCY)
_COLUMNS: Final = ("spend", "impressions", "clicks", "leads", "expected_clicks", "expected_leads")


@dataclass(frozen=True, eq=False)
class ChangeTruth:
    """What the changes did."""

    # one row per change, scope and day from the change on. `change`: position in the account's changes; `scope`:
    # `entity` (the one changed), `campaign` (its campaign) or `account`; `date`; then each of spend, impressions,
    # clicks, leads, expected_clicks, expected_leads with the prefix `with_` (as simulated) and `without_` (had this
    # one change not been made; other changes as they were).
    counterfactuals: pd.DataFrame
    # one row per change, scope, length of window (first 7 and first 14 days of the change) and metric.
    # `expected_with`, `expected_without`, `absolute`, `relative`: from expected clicks and leads, so without sampling
    # noise; `realised_with`, `realised_without`: from the counts. Counts and money are sums over the window, ratios
    # are ratios of sums; `relative` 0.2 means 20% more; missing where a denominator is 0. Windows that end after the
    # data are absent.
    effects: pd.DataFrame


def _series(run: Delivery, ads: IntArray | slice) -> FloatArray:
    """Sums over ads of `_COLUMNS`; (columns, T)."""
    counts = run.counts
    shown = counts.impressions[ads]
    clicks = shown * run.ctr[ads]
    cents, leads = counts.cents[ads], counts.leads[ads]
    parts = (cents, shown, counts.clicks[ads], leads, clicks, clicks * run.conversion[ads])
    summed = np.stack([part.sum(axis=0, dtype=np.float64) for part in parts])
    summed[0] /= 100.0
    return summed


def measure(
    tree: Tree,
    settings: AccountSettings,
    environment: Environment,
    run: Delivery,
    planned: Sequence[PlannedChange],
    numbers: Sequence[int],
) -> ChangeTruth:
    """Run the account without each change in turn; `numbers` are the changes' positions in the account's change log."""
    days = pd.date_range(settings.first_day, periods=settings.days)
    account = _series(run, slice(None))
    counterfactuals: list[pd.DataFrame] = []
    for k, change in enumerate(planned):
        position = tree.position(change.entity_type, change.entity_id)
        campaign = tree.campaign_of(change.entity_type, position)
        part, adsets, ads = tree.only(campaign)
        own = tree.below(change.entity_type, position)
        with_change = [_series(run, own), _series(run, ads), account]
        without_change = with_change
        if not change.placebo:
            world = environment.only(adsets, ads)
            others = [other for j, other in enumerate(planned) if j != k]
            other_run = deliver(part, settings, world, compile_plan(part, settings, world, others))
            entity, whole = _series(other_run, own - ads.start), _series(other_run, slice(None))
            rest = account - with_change[1] + whole
            # Cents and counts are exact; taking a campaign out and in again must not leave dust.
            rest[:4] = np.round(rest[:4], 2)
            without_change = [entity, whole, rest]
        from_day = slice(settings.index(change.date), None)
        scopes = ("entity", "campaign", "account")
        for scope, actual, otherwise in zip(scopes, with_change, without_change, strict=True):
            frame = pd.DataFrame({"change": numbers[k], "scope": scope, "date": days[from_day]})
            for c, name in enumerate(_COLUMNS):
                frame[f"with_{name}"] = actual[c, from_day]
                frame[f"without_{name}"] = otherwise[c, from_day]
            counterfactuals.append(frame)
    stacked = pd.concat(counterfactuals, ignore_index=True) if counterfactuals else _no_counterfactuals()
    return ChangeTruth(counterfactuals=stacked, effects=_effects(stacked))


def _no_counterfactuals() -> pd.DataFrame:
    columns: dict[str, object] = {
        "change": pd.Series(dtype=np.int64),
        "scope": pd.Series(dtype=object),
        "date": pd.Series(dtype="datetime64[ns]"),
    }
    for name in _COLUMNS:
        columns |= {f"{side}_{name}": pd.Series(dtype=np.float64) for side in ("with", "without")}
    return pd.DataFrame(columns)


def _sums(frame: pd.DataFrame, side: str, *, expected: bool) -> pd.DataFrame:
    drawn = "expected_" if expected else ""
    columns = {
        "spend": "spend",
        "impressions": "impressions",
        "clicks": f"{drawn}clicks",
        "leads": f"{drawn}leads",
    }
    return pd.DataFrame({name: frame[f"{side}_{column}"] for name, column in columns.items()})


def _effects(counterfactuals: pd.DataFrame) -> pd.DataFrame:
    keys = ["change", "scope"]
    parts: list[pd.DataFrame] = []
    for days in WINDOWS:
        groups = counterfactuals.groupby(keys, sort=False)
        window = counterfactuals[groups.cumcount() < days]
        whole = groups["date"].transform("size").loc[window.index] >= days
        summed = window[whole].drop(columns="date").groupby(keys, sort=False).sum()
        for metric in METRICS:
            with_, without = (
                value(metric, _sums(summed, side, expected=True)) for side in ("with", "without")
            )
            part = summed.index.to_frame(index=False)
            part["days"], part["metric"] = days, metric.value
            part["expected_with"], part["expected_without"] = with_, without
            part["absolute"] = with_ - without
            nonzero = without != 0
            part["relative"] = np.divide(
                with_ - without, without, out=np.full_like(without, np.nan), where=nonzero
            )
            for side in ("with", "without"):
                part[f"realised_{side}"] = value(metric, _sums(summed, side, expected=False))
            parts.append(part)
    out = pd.concat(parts, ignore_index=True)
    return out.sort_values([*keys, "days"], kind="stable", ignore_index=True)
