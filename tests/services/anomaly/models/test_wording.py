"""What is printed agrees with what was decided."""

import re
from dataclasses import replace
from datetime import date

import pytest
from adsml_anomaly.models.results import DayAssessment, MetricAssessment
from adsml_anomaly.models.wording import against_range, sentence
from adsml_common.domain.metrics import Metric
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("metric", "observed", "lower", "upper", "text"),
    [
        (Metric.LEADS, 6.0, 6.3, 37.9, "leads 6, expected 7 to 37"),
        (Metric.LEADS, 38.0, 6.3, 37.9, "leads 38, expected 7 to 37"),
        (Metric.SPEND, 17.434, 17.4351, 35.5, "spend 17.43, expected 17.44 to 35.50"),
        (Metric.CTR, 2.3049, 1.0, 2.3042, "CTR 2.305%, expected 1.000% to 2.304%"),
        (Metric.CPL, 84.1, 31.2, float("inf"), "CPL 84.10, expected 31.20 or more"),
        (Metric.LEADS, 0.4, 0.2, 0.8, "leads 0.4, expected 0.2 to 0.8"),
    ],
)
def test_bounds_are_rounded_inward_and_get_digits_where_they_tie(
    metric: Metric, observed: float, lower: float, upper: float, text: str
) -> None:
    assert against_range(metric, observed, lower, upper) == text


@given(
    metric=st.sampled_from(list(Metric)),
    lower=st.floats(0.01, 1e4),
    width=st.floats(0.01, 1e4),
    outside=st.floats(1e-3, 1e3),
    above=st.booleans(),
)
def test_what_lies_outside_is_printed_outside(
    metric: Metric, lower: float, width: float, outside: float, above: bool
) -> None:
    upper = lower + width
    observed = upper + outside if above else lower - outside
    said = against_range(metric, observed, lower, upper)
    seen, low, high = (float(one.replace(",", "")) for one in re.findall(r"-?\d[\d,]*\.?\d*", said))
    assert not low <= seen <= high, said


def test_metrics_that_part_from_each_other_are_named_with_their_figures() -> None:
    def metric(
        metric: Metric, observed: float, expected: float, z: float, gated: bool = False
    ) -> MetricAssessment:
        return MetricAssessment(metric, observed, 0.97, 0.2, gated, expected, robust_z=z)

    every = [
        metric(Metric.SPEND, 101.0, 100.0, 0.1),
        metric(Metric.LEADS, 3.0, 8.0, -1.9),
        metric(Metric.CLICKS, 260.0, 210.0, 1.5),
        metric(Metric.CPL, 34.0, 12.0, 4.0, True),
    ]
    day = DayAssessment(date(2026, 3, 10), None, None, tuple(every))
    said = sentence(day, every[0], ())
    assert said == "Metrics out of step with each other: leads 3 (usual 8) with clicks 260 (usual 210)"
    assert (
        sentence(replace(day, metrics=tuple(every[3:])), every[3], ())
        == "Metrics out of step with each other"
    )
