"""The study finds what is known of its methods."""

import numpy as np
import pytest
from adsml_impact.evaluation.study import (
    DID_SHORT,
    METHODS,
    NAIVE,
    OURS,
    cells_of,
    run_study,
    worst_week_cells,
)
from support.impact import make_panel


def test_naive_rejects_too_often_on_autocorrelated_days_and_ours_does_not() -> None:
    panels = [make_panel(seed, units=12, days=100, memory=0.8) for seed in range(6)]
    cells = cells_of(panels, horizon=7, baseline=56, stride=14, most=120, seed=0)

    found = run_study(panels, cells, horizon=7, methods=(OURS, DID_SHORT, NAIVE))

    assert found[OURS].analyses == 120
    # Three standard errors of a share of 120 at .05 are .06.
    assert found[OURS].false_positive_rate < 0.05 + 0.06
    assert found[NAIVE].false_positive_rate > found[OURS].false_positive_rate + 0.05
    assert found[OURS].power_1sd >= found[DID_SHORT].power_1sd


def test_edits_that_follow_the_worst_week_fool_the_short_window() -> None:
    panels = [make_panel(seed, units=12, days=100) for seed in range(8)]
    cells = worst_week_cells(panels, horizon=7, baseline=56)

    found = run_study(panels, cells, horizon=7, methods=(OURS, DID_SHORT))

    assert len(cells) == 96
    for cell in cells[:5]:
        Y = panels[cell.panel][cell.unit]
        weeks = [Y[day - 7 : day].mean() / Y[max(0, day - 56) : day].mean() for day in range(56, 94)]
        assert weeks[cell.date - 56] == min(weeks)
    assert found[OURS].false_positive_rate < found[DID_SHORT].false_positive_rate


def test_published_methods_answer_too() -> None:
    panels = [make_panel(0, units=8, days=70)]
    cells = cells_of(panels, horizon=7, baseline=56, stride=7, most=10, seed=0)
    found = run_study(panels, cells, horizon=7, methods=tuple(METHODS))
    assert all(
        rate.analyses == len(cells) and rate.power_1sd >= rate.false_positive_rate for rate in found.values()
    )


def test_units_without_any_value_are_not_asked_about() -> None:
    Y = make_panel(0, units=4, days=70)
    Y[2] = 0.0
    cells = cells_of([Y], horizon=7, baseline=56, stride=1, most=1000, seed=0)
    assert {cell.unit for cell in cells} == {0, 1, 3}


@pytest.mark.parametrize("seed", [0, 1])
def test_the_same_seed_asks_about_the_same_cells(seed: int) -> None:
    panels = [make_panel(0)]
    one, other = (cells_of(panels, horizon=7, baseline=56, stride=1, most=30, seed=seed) for _ in range(2))
    assert one == other
    assert len({(cell.unit, cell.date) for cell in one}) == 30
    assert np.all([cell.date + 7 <= 90 for cell in one])
