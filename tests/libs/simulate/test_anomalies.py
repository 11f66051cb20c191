"""Injected faults: labels exactly where the numbers differ, and of the size that was asked for."""

from datetime import date

import numpy as np
import pandas as pd
import pytest
from adsml_common.domain import daily as daily_frame
from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import FailedPrecondition, InvalidInput
from adsml_simulate import AnomalyKind, SimulatedAccount, clean, inject_anomalies, simulate_account

KEYS = ["entity_type", "entity_id", "date"]
VALUES = ["spend", "impressions", "clicks", "leads"]


def differing(a: pd.DataFrame, b: pd.DataFrame) -> set[tuple[object, ...]]:
    assert a[KEYS].equals(b[KEYS])
    changed = (a[VALUES].to_numpy() != b[VALUES].to_numpy()).any(axis=1)
    return set(a.loc[changed, KEYS].itertuples(index=False, name=None))


@pytest.mark.parametrize("level", list(EntityType))
def test_labels_are_exactly_where_the_numbers_differ(still: SimulatedAccount, level: EntityType) -> None:
    faulty = inject_anomalies(still, list(AnomalyKind), rate=1.0, seed=3, entity_type=level)
    labels = faulty.truth.anomalies
    assert labels["incident"].nunique() >= 5
    assert set(labels[KEYS].itertuples(index=False, name=None)) == differing(still.daily, faulty.daily)
    assert not labels.duplicated([*KEYS, "incident"]).any()
    targets = labels[labels["target"]]
    assert (targets["entity_type"] == level.value).all()
    assert set(targets["incident"]) == set(labels["incident"])
    assert (targets.groupby("incident")["entity_id"].nunique() == 1).all()
    daily_frame.check(faulty.daily)
    assert (faulty.daily["leads"] <= faulty.daily["clicks"]).all()
    assert (faulty.daily["clicks"] <= faulty.daily["impressions"]).all() or "spike" in set(labels["kind"])
    # Before and after are the values of the two frames.
    for name, frame in (("before", still.daily), ("after", faulty.daily)):
        rows = labels.merge(frame, on=KEYS)
        assert len(rows) == len(labels)
        value = [row[row["metric"]] for _, row in rows.iterrows()]
        np.testing.assert_allclose(value, rows[name])


def test_levels_still_add_up_after_injection(still: SimulatedAccount) -> None:
    faulty = inject_anomalies(still, list(AnomalyKind), rate=1.0, seed=5)
    totals = faulty.daily.groupby(["date", "entity_type"])[VALUES].sum().unstack("entity_type")
    for name in VALUES:
        np.testing.assert_allclose(totals[name]["ad"], totals[name]["campaign"], atol=1e-6)
        np.testing.assert_allclose(totals[name]["adset"], totals[name]["campaign"], atol=1e-6)


def series_of(account: SimulatedAccount, label: pd.Series) -> pd.DataFrame:
    rows = account.daily[account.daily["entity_id"] == label["entity_id"]]
    return rows.set_index("date")


def weekday_residuals(values: pd.Series) -> pd.Series:
    return values - values.groupby(pd.DatetimeIndex(values.index).dayofweek).transform("mean")


@pytest.mark.parametrize("metric", VALUES)
def test_spikes_are_ten_sigmas_of_one_metric_alone(metric: str) -> None:
    account = simulate_account(clean(last_day=date(2026, 6, 30)), seed=5)
    faulty = inject_anomalies(account, [AnomalyKind.SPIKE], rate=3.0, seed=1)
    targets = faulty.truth.anomalies.query(f"target and metric == '{metric}'")
    assert len(targets) > 10
    for _, label in targets.iterrows():
        own, hit = series_of(account, label), series_of(faulty, label)
        values = own[metric]
        residuals = weekday_residuals(values)
        level = values[label["date"]] - residuals[label["date"]]
        sigmas = (hit.loc[label["date"], metric] - level) / residuals.std()
        assert sigmas == pytest.approx(label["magnitude"], abs=1e-6)
        assert sigmas == pytest.approx(10.0, abs=0.51 / residuals.std())
        others = [name for name in VALUES if name != metric]
        assert (own.loc[label["date"], others] == hit.loc[label["date"], others]).all()


def test_a_broken_correlation_is_three_sigmas_off_the_regression_and_spend_stays() -> None:
    account = simulate_account(clean(last_day=date(2026, 6, 30)), seed=4)
    faulty = inject_anomalies(account, [AnomalyKind.CORRELATION_BREAK], rate=1.5, seed=2)
    targets = faulty.truth.anomalies.query("target")
    assert len(targets) > 10
    assert set(np.sign(targets["magnitude"])) == {-1.0, 1.0}
    for _, label in targets.iterrows():
        own, hit = series_of(account, label), series_of(faulty, label)
        assert own["spend"].equals(hit["spend"])
        y, x = (weekday_residuals(np.log1p(own[name])) for name in ("leads", "spend"))
        slope = np.polyfit(x, y, 1)[0]
        sigma = np.sqrt(((y - slope * x) ** 2).sum() / (len(y) - 2))
        day = label["date"]
        level = np.log1p(own.loc[day, "leads"]) - y[day]
        off = (np.log1p(hit.loc[day, "leads"]) - level - slope * x[day]) / sigma
        assert off == pytest.approx(label["magnitude"], rel=0.02)
        assert 0.85 * 3 <= abs(off) <= 3 / 0.85


def test_outages_collapses_and_zero_days_are_what_they_say(still: SimulatedAccount) -> None:
    kinds = [AnomalyKind.TRACKING_OUTAGE, AnomalyKind.DELIVERY_COLLAPSE, AnomalyKind.ZERO_SPEND]
    faulty = inject_anomalies(still, kinds, rate=1.5, seed=7)
    targets = faulty.truth.anomalies.query("target")
    hit = targets.merge(faulty.daily, on=KEYS).merge(still.daily, on=KEYS, suffixes=("", "_clean"))
    assert set(hit["kind"]) == {kind.value for kind in kinds}
    outage = hit[hit["kind"] == "tracking_outage"]
    assert (outage["leads"] == 0).all()
    assert (outage["clicks"] == outage["clicks_clean"]).all()
    assert (outage["clicks"] > 0).all()
    zero = hit[hit["kind"] == "zero_spend"]
    assert (zero[VALUES].to_numpy() == 0).all()
    collapse = hit[hit["kind"] == "delivery_collapse"]
    assert (collapse["spend"] <= 0.1 * collapse["spend_clean"]).all()
    assert (collapse["spend"] > 0).all()
    lengths = targets.groupby(["kind", "incident"]).size().groupby("kind").max()
    assert lengths["tracking_outage"] <= 3
    assert lengths["zero_spend"] <= 2


def test_the_training_days_stay_clean_and_incidents_keep_apart(still: SimulatedAccount) -> None:
    faulty = inject_anomalies(still, list(AnomalyKind), rate=3.0, seed=1, earliest_day=60)
    labels = faulty.truth.anomalies
    first = pd.Timestamp(still.settings.first_day)
    assert (labels["date"] - first).dt.days.min() >= 60
    campaigns = labels[labels["entity_type"] == "campaign"].drop_duplicates(["entity_id", "date", "incident"])
    for _, rows in campaigns.groupby("entity_id"):
        spans = rows.groupby("incident")["date"].agg(["min", "max"]).sort_values("min")
        gaps = (spans["min"].iloc[1:].to_numpy() - spans["max"].iloc[:-1].to_numpy()) / np.timedelta64(1, "D")
        assert (gaps >= 3).all()


def test_the_rate_is_per_entity_and_thirty_days() -> None:
    account = simulate_account(clean(last_day=date(2026, 6, 30), days=365), seed=6)
    faulty = inject_anomalies(account, [AnomalyKind.ZERO_SPEND], rate=0.2, seed=1, earliest_day=5)
    expected = 0.2 * 15 * 360 / 30
    assert abs(faulty.truth.anomalies["incident"].nunique() - expected) < 4 * np.sqrt(expected)


def test_injection_is_deterministic_and_leaves_the_account_alone(still: SimulatedAccount) -> None:
    before = still.daily.copy()
    a, b = (inject_anomalies(still, [AnomalyKind.SPIKE], rate=1.0, seed=9) for _ in range(2))
    pd.testing.assert_frame_equal(a.daily, b.daily)
    pd.testing.assert_frame_equal(still.daily, before)
    assert still.truth.anomalies.empty
    assert list(still.truth.anomalies.columns) == list(a.truth.anomalies.columns)


def test_bad_requests_are_refused(still: SimulatedAccount) -> None:
    with pytest.raises(InvalidInput) as caught:
        inject_anomalies(still, [], rate=0.0, seed=1, earliest_day=500)
    assert {v.path for v in caught.value.violations} == {"kinds", "rate", "earliest_day"}
    faulty = inject_anomalies(still, [AnomalyKind.SPIKE], rate=1.0, seed=9)
    with pytest.raises(FailedPrecondition, match="in one call"):
        inject_anomalies(faulty, [AnomalyKind.SPIKE], rate=1.0, seed=9)
    sparse = simulate_account(
        clean(last_day=date(2026, 6, 30), days=60).__class__(
            last_day=date(2026, 6, 30), days=60, daily_budget=5.0, conversion_rate=0.1
        ),
        seed=1,
    )
    with pytest.raises(FailedPrecondition, match="leads enough"):
        inject_anomalies(sparse, [AnomalyKind.CORRELATION_BREAK], rate=1.0, seed=1)
