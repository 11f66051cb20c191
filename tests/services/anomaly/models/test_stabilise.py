import numpy as np
import pytest
from adsml_anomaly.models.stabilise import difference, invert
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.mark.parametrize(("mean", "phi"), [(5.0, 0.0), (50.0, 0.01), (2000.0, 0.04), (1e6, 0.01)])
def test_uneven_counts_have_unit_variance(mean: float, phi: float) -> None:
    rng = np.random.default_rng(0)
    rate = rng.gamma(1 / phi, mean * phi, 40_000) if phi else np.full(40_000, mean)
    z = np.array([difference(float(y), mean, phi) for y in rng.poisson(rate)])
    # Anscombe's transform is within a few percent at 5; 40,000 draws tell 1% apart.
    assert z.std() == pytest.approx(1.0, abs=0.06)
    assert abs(z.mean()) < 0.15


@settings(deadline=None)  # the first call compiles
@given(mean=st.floats(0.01, 1e7), phi=st.floats(0.0, 1.0), deviations=st.floats(-8, 8))
def test_invert_undoes_difference(mean: float, phi: float, deviations: float) -> None:
    count = invert(mean, phi, deviations)
    back = difference(count, mean, phi)
    # No count lies below 0.
    assert back == pytest.approx(deviations, abs=1e-6) or (count == 0.0 and back >= deviations - 1e-9)
