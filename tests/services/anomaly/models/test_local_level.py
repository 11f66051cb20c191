"""What is expected of a day, and how fast that moves."""

from datetime import date

import numpy as np
import pytest
from adsml_anomaly.models.channels import CHANNELS, Days, metric_values
from adsml_anomaly.models.local_level import WARM_UP_DAYS, Dynamics, counts, innovations, run
from adsml_common.domain.metrics import Metric

LEADS, CPL = CHANNELS.index(Metric.LEADS), CHANNELS.index(Metric.CPL)
MONDAY = date(2024, 1, 1)


def dynamics(*, phi: float = 0.01, kappa: float = 0.03, weekdays: np.ndarray | None = None) -> Dynamics:
    profile = np.zeros((len(CHANNELS), 7))
    if weekdays is not None:
        profile[: LEADS + 1] = weekdays
    n = len(CHANNELS)
    return Dynamics(np.full(n, phi), np.full(n, kappa), profile, 0.02)


def days(leads: np.ndarray, *, spend: float = 200.0) -> Days:
    n = len(leads)
    columns = [np.full(n, spend), np.full(n, 10_000.0), np.full(n, 300.0), leads, np.full(n, 8000.0)]
    return Days(MONDAY, np.stack(columns, axis=1))


def z_of(leads: np.ndarray, *, barred: slice = slice(0), changed: slice = slice(0)) -> np.ndarray:
    """Innovations of leads where some days must not teach, or a known change came into force."""
    given, moves = days(leads), dynamics()
    y, x = counts(given.rows, moves.unit_price)
    marks = np.zeros((2, len(leads)), dtype=bool)
    marks[0, barred] = marks[1, changed] = True
    found = run(y, x, np.zeros_like(y), 0, moves.weekdays, moves.phi, moves.kappa, *marks, False)
    return found[0][LEADS]


def test_nothing_is_said_before_each_weekday_was_seen() -> None:
    z = innovations(days(np.full(20, 30.0)), dynamics()).z
    assert np.isnan(z[:WARM_UP_DAYS]).all()
    assert np.isfinite(z[WARM_UP_DAYS:, LEADS]).all()


def test_a_day_is_judged_by_the_days_before_it_alone() -> None:
    rng = np.random.default_rng(0)
    leads = rng.poisson(30, 60).astype(float)
    whole = innovations(days(leads), dynamics()).z
    for t in (20, 41):
        np.testing.assert_array_equal(innovations(days(leads[: t + 1]), dynamics()).z, whole[: t + 1])


def test_weekdays_are_expected() -> None:
    profile = np.log([1.3, 1.2, 1.1, 1.0, 0.9, 0.7, 0.8])
    profile -= profile.mean()
    leads = 40 * np.exp(profile[np.arange(56) % 7])
    found = innovations(days(leads), dynamics(weekdays=profile))
    assert np.nanmax(np.abs(found.z[14:, LEADS])) < 0.2


def test_a_spike_hardly_moves_the_next_days_expectation() -> None:
    leads = np.full(60, 30.0)
    leads[40] = 300.0
    found = innovations(days(leads), dynamics())
    assert found.z[40, LEADS] > 8
    assert abs(found.z[41, LEADS]) < 1


def test_a_new_level_is_taken_over_after_three_days() -> None:
    leads = np.full(60, 30.0)
    leads[40:] = 90.0
    z = innovations(days(leads), dynamics()).z[:, LEADS]
    assert (z[40:43] > 3).all()
    assert np.abs(z[43:]).max() < 2


def test_when_an_outage_ends_the_old_level_is_remembered() -> None:
    leads = np.full(70, 30.0)
    leads[40:46] = 0.0
    z = innovations(days(leads), dynamics()).z[:, LEADS]
    assert (z[40:43] < -3).all()
    assert np.abs(z[46:]).max() < 2


def test_a_known_change_frees_the_level_at_once() -> None:
    leads = np.full(60, 30.0)
    leads[40:] = 60.0
    z = z_of(leads, changed=slice(40, 42))
    assert z[40] > 3
    assert np.abs(z[41:]).max() < 2


def test_barred_days_teach_nothing() -> None:
    leads = np.full(60, 30.0)
    leads[40:43] = 5.0
    z = z_of(leads, barred=slice(40, 43))
    assert (z[40:43] < -3).all()
    assert np.abs(z[43:]).max() < 0.5


def test_a_metric_without_denominator_is_missing() -> None:
    rows = days(np.array([0.0, 4.0])).rows
    assert np.isnan(metric_values(rows)[0, CPL])
    assert metric_values(rows)[1, CPL] == pytest.approx(50.0)
