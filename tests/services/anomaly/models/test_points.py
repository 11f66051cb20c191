"""Points at equal steps, such as hourly values."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from adsml_anomaly.models import points
from adsml_anomaly.models.results import Direction, Threshold

HOUR = 3600.0


def hourly(days: int, *, seed: int = 0, noise: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    t = np.arange(24 * days)
    level = 2.0 + 0.6 * np.sin(2 * np.pi * t / 24) + 0.2 * ((t // 24) % 7 >= 5)
    return t * HOUR, np.exp(level + noise * rng.standard_normal(t.size))


def test_a_point_is_judged_by_the_points_before_it_alone() -> None:
    seconds, values = hourly(20)
    position, step = points.positions(seconds)
    season = points.season_of(step)
    whole = points.alarms(points.judge(values, position, season).score, season.short)
    for n in (60, 301):
        part = points.alarms(points.judge(values[:n], position[:n], season).score, season.short)
        np.testing.assert_array_equal(part, whole[:n])


def autocorrelated(days: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    seconds, values = hourly(days, seed=seed, noise=0.0)
    rng = np.random.default_rng(100 + seed)
    e = np.zeros(seconds.size)
    for t in range(1, e.size):
        e[t] = 0.6 * e[t - 1] + 0.08 * rng.standard_normal()
    return seconds, values * np.exp(e)


def unseasoned(days: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(200 + seed)
    return np.arange(24 * days) * HOUR, np.exp(2.0 + 0.1 * rng.standard_normal(24 * days))


@pytest.mark.parametrize("rate", [0.5, 1.0, 3.0])
@pytest.mark.parametrize(("series", "season"), [(hourly, None), (autocorrelated, None), (unseasoned, 1)])
def test_of_ordinary_points_as_many_are_flagged_as_asked(
    series: Callable[..., Any], season: int | None, rate: float
) -> None:
    flagged = total = 0
    for seed in range(4):
        seconds, values = series(60, seed=seed)
        position, step = points.positions(seconds)
        found = points.judge(values, position, points.season_of(step, season))
        p = points.calibrate(
            found.score, np.isfinite(found.z), points.season_of(step, season), p_value=rate / 30
        )[0][48:]
        flagged += int((p <= rate / 30 + 1e-12).sum())
        total += p.size
    # The design's bar; 93 to 557 alarms are expected, so that chance alone moves it by 10% at most.
    assert 30 * flagged / total == pytest.approx(rate, rel=0.3)


def test_p_values_and_limits_are_those_of_their_definition() -> None:
    """Slowly, by weights of all points before, where the tail is not yet spoken of."""
    rng = np.random.default_rng(3)
    p_value = 0.1
    score = np.round(rng.exponential(size=700), 2)  # with ties
    known = rng.random(700) > 0.1
    p, limits = points.calibrate(score, known, points.Season(24, 168), p_value=p_value)
    assert np.isnan(p[~known]).all()
    checked = 0
    for t in np.flatnonzero(known)[60:]:
        earlier = np.flatnonzero(known[:t])
        earlier = earlier[earlier >= (168 if t >= 168 + points.ENOUGH else 24)]
        weight = 0.5 ** ((t - earlier) / (14 * 24))

        def p_of(s: float, earlier: np.ndarray = earlier, weight: np.ndarray = weight) -> float:
            return float((points.ITSELF + weight[score[earlier] >= s].sum()) / (1 + weight.sum()))

        if p_of(score[t]) > 0.05:
            assert p[t] == pytest.approx(p_of(score[t]))
            checked += 1
        assert p_of(limits[t] + 1e-9) <= p_value < p_of(limits[t])
    assert checked > 400


def test_a_score_beyond_all_before_has_a_p_value_without_an_end() -> None:
    """Once a month is once in 720 hours; after 30 days no share of the points before is that small."""
    score = np.random.default_rng(0).exponential(size=720)
    score[-1] = 40.0
    p, limits = points.calibrate(score, np.ones(720, dtype=bool), points.Season(24, 168), p_value=1 / 720)
    assert p[-1] < 1e-4
    assert score[-2] < limits[-1] < score[-1]


def test_a_spike_at_night_is_found_though_it_would_be_ordinary_at_noon() -> None:
    seconds, values = hourly(30)
    at = 24 * 25 + 18  # the season's trough
    values[at] = values[24 * 25 + 6]  # its crest
    found = points.assess_points(
        "cpc", seconds, values, season_length=None, threshold=Threshold(0.1), anomalous_only=False
    )
    day = found.days[at]
    assert day.anomalous
    assert day.direction is Direction.UP
    one = day.metrics[0]
    assert one.upper is not None
    assert one.observed is not None
    assert one.observed > one.upper
    assert any(incident.first == day.date for incident in found.incidents)


def test_gaps_keep_the_time_of_day() -> None:
    seconds, values = hourly(40, noise=0.02)
    keep = np.ones(seconds.size, dtype=bool)
    keep[500:510] = False
    position, step = points.positions(seconds[keep])
    assert step == HOUR
    score = points.judge(values[keep], position, points.season_of(step)).score
    assert score[500:].max() < 8


@pytest.mark.parametrize(
    ("step", "given", "expected"),
    [
        (3600, None, points.Season(24, 168)),
        (3600, 168, points.Season(24, 168)),
        (3600, 24, points.Season(24)),
        (86400, None, points.Season(7)),
        (604800, None, points.Season(1)),
        (1800, None, points.Season(48, 336)),
    ],
)
def test_the_season_is_found_from_the_spacing(
    step: float, given: int | None, expected: points.Season
) -> None:
    assert points.season_of(step, given) == expected


def test_constant_and_unknown_values_are_survived() -> None:
    seconds = np.arange(200) * HOUR
    flat = points.assess_points(
        "flat", seconds, np.zeros(200), season_length=1, threshold=Threshold(1.0), anomalous_only=True
    )
    assert len(flat.days) in (0, 190)
    values = np.full(200, np.nan)
    values[::2] = 5.0
    gaps = points.assess_points(
        "gaps", seconds, values, season_length=1, threshold=Threshold(1.0), anomalous_only=False
    )
    assert [day.p_value is None for day in gaps.days[51::2]] == [True] * 75
