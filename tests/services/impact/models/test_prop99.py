"""California's Proposition 99 (cigarette packs per head): the published estimates.

Arkhangelsky, Athey, Hirshberg, Imbens and Wager (2021), AER 111(12), Table 1: synthetic DiD -15.6 (8.4),
synthetic control -19.6 (9.9), DiD -27.3 (17.7), DIFP (demeaned synthetic control with ridge) -11.1.
"""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from adsml_impact.models.difference_in_differences import difference_in_differences
from adsml_impact.models.panel import Panel
from adsml_impact.models.placebo_variance import placebo_test
from adsml_impact.models.synthetic_control import synthetic_control
from adsml_impact.models.synthetic_did import noise_level, synthetic_did


@pytest.fixture(scope="module")
def california(public_data: Path) -> Panel:
    frame = pd.read_csv(public_data / "california_prop99.csv", sep=";")
    wide = frame.pivot(index="State", columns="Year", values="PacksPerCapita")
    others = wide.drop("California")
    return Panel(
        Y=np.vstack([wide.loc[["California"]], others]),
        N_tr=1,
        T_pre=list(wide.columns).index(1989),
        units=("California", *others.index),
        times=tuple(wide.columns),
    )


def test_synthetic_did(california: Panel) -> None:
    assert synthetic_did(california).tau == pytest.approx(-15.60, abs=0.01)


def test_synthetic_control_on_outcomes_only(california: Panel) -> None:
    found = synthetic_control(california)

    assert found.tau == pytest.approx(-19.514, abs=0.001)
    assert found.tau == pytest.approx(-19.6, abs=0.1)  # Table 1
    # Abadie, Diamond and Hainmueller (2010), Table 2 gives these states all the weight that matters.
    heaviest = {california.units[1 + i] for i in np.argsort(-found.omega)[:5]}
    assert heaviest == {"Utah", "Montana", "Nevada", "Connecticut", "New Hampshire"}


def test_demeaned_synthetic_control(california: Panel) -> None:
    assert synthetic_control(california, demeaned=True).tau == pytest.approx(-11.1, abs=0.05)


def test_difference_in_differences(california: Panel) -> None:
    assert difference_in_differences(california).tau == pytest.approx(-27.349, abs=0.001)


def test_noise_level_of_the_controls(california: Panel) -> None:
    # R package synthdid, vignette: noise.level of the California panel.
    assert noise_level(california.controls[:, : california.T_pre]) == pytest.approx(5.494, abs=0.001)


@pytest.mark.parametrize(
    ("estimate", "published"),
    [
        (synthetic_did, 8.4),
        (synthetic_control, 9.9),
        (difference_in_differences, 17.7),
    ],
)
def test_placebo_standard_errors(california: Panel, estimate: object, published: float) -> None:
    # Theirs come from 200 draws among 38 controls, ours from every control once: within the draws' own error.
    assert placebo_test(california, estimate).se == pytest.approx(published, rel=0.15)  # type: ignore[arg-type]


def test_weights_are_a_convex_combination(california: Panel) -> None:
    for estimate in (synthetic_control, partial(synthetic_control, demeaned=True), synthetic_did):
        found = estimate(california)
        assert found.omega.min() >= 0
        assert found.omega.sum() == pytest.approx(1)
