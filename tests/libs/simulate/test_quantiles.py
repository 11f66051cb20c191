"""Quantiles against SciPy's and the standard library's, and the property that shared chance rests on."""

import numpy as np
import pytest
from adsml_simulate.chance import binomial_quantile
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom


def test_binomial_quantile_is_scipys_for_small_means_and_one_off_at_most_for_large() -> None:
    rng = np.random.default_rng(0)
    u = rng.uniform(1e-9, 1 - 1e-9, 40_000)
    n = np.floor(np.exp(rng.uniform(0, 11, u.size)))
    p = np.exp(rng.uniform(np.log(1e-5), np.log(0.95), u.size))
    off = binomial_quantile(u, n, p) - binom.ppf(u, n, p)
    small = n * p <= 20
    assert small.sum() > 10_000
    assert not off[small].any()
    assert np.abs(off).max() <= 1
    assert (off[~small] != 0).mean() < 0.01


@given(
    u=st.floats(1e-6, 1 - 1e-6),
    n=st.integers(0, 5000),
    p=st.floats(0, 0.9),
    more_n=st.integers(0, 500),
    more_p=st.floats(0, 0.05),
)
def test_a_count_does_not_fall_when_its_mean_rises(
    u: float, n: int, p: float, more_n: int, more_p: float
) -> None:
    low = int(binomial_quantile(u, n, p))
    high = int(binomial_quantile(u, n + more_n, p + more_p))
    # One count of slack where the expansion is off by one.
    slack = 0 if (n + more_n) * (p + more_p) <= 20 else 1
    assert high >= low - slack
    assert 0 <= low <= n


def test_binomial_quantile_refuses_impossible_input() -> None:
    with pytest.raises(ValueError, match="n >= 0"):
        binomial_quantile(0.5, -1, 0.5)
    with pytest.raises(ValueError, match=r"0\.95"):
        binomial_quantile(0.5, 10, 0.99)
