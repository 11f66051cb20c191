"""GeoLift's walk-through: chicago and portland from day 91 on, 15 days.

Meta Incubator's GeoLift package, "GeoLift Walkthrough": average estimated treatment effect 155.556, percent
lift 5.4%, incremental Y 4667; the fixed effects model is demeaned synthetic control.
"""

from pathlib import Path

import pytest
from adsml_impact.evaluation.evaluate import evaluate_file


@pytest.fixture(scope="module")
def found(public_data: Path) -> dict[str, object]:
    return evaluate_file(
        public_data / "geolift_test.csv",
        unit_column="location",
        time_column="date",
        outcome_column="Y",
        treated=("chicago", "portland"),
        start="2021-04-01",
    )


def test_effect(found: dict[str, dict[str, dict[str, float]]]) -> None:
    lift = found["methods"]["synthetic_control"]

    assert lift["att"] == pytest.approx(155.556, abs=0.001)
    assert lift["percent"] == pytest.approx(5.4, abs=0.05)
    assert lift["incremental"] == pytest.approx(4667, abs=1)


def test_weights(found: dict[str, dict[str, float]]) -> None:
    weights = found["weights"]

    assert weights["cincinnati"] == pytest.approx(0.2272, abs=5e-5)
    assert weights["miami"] == pytest.approx(0.2028, abs=5e-5)
    assert sum(weights.values()) == pytest.approx(1)


def test_levels_of_days_are_demeaned_and_the_other_form_is_beside_it(found: dict[str, object]) -> None:
    assert found["synthetic_control_demeaned"] is True
    assert "synthetic_control_plain" in found["methods"]  # type: ignore[operator]
