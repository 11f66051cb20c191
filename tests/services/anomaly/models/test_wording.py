"""What is printed agrees with what was decided."""

import re

import pytest
from adsml_anomaly.models.wording import against_range
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
