"""Rescaling between levels, and what a campaigns' model is checked by."""

import numpy as np
import pytest
from adsml_classifier.models import features, transfer
from adsml_classifier.models.transfer import LevelStatistics, rescale

SIZED = [features.NAMES.index(name) for name in transfer.SIZED]


def rows(count: int, *, size: float, seed: int) -> np.ndarray:
    """Feature rows whose sized columns are log-normal around a size."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((count, len(features.NAMES)))
    x[:, SIZED] = np.expm1(np.abs(np.log1p(size) + 0.4 * rng.standard_normal((count, len(SIZED)))))
    return x.astype(np.float32)


def test_ordinary_stays_ordinary() -> None:
    """The middle of the ads becomes the middle of the campaigns, and the quartiles the quartiles."""
    ads, campaigns = rows(2000, size=3, seed=0), rows(2000, size=40, seed=1)
    moved = rescale(ads, source=LevelStatistics.of(ads), target=LevelStatistics.of(campaigns))
    for quantile in (25, 50, 75):
        found = np.percentile(moved[:, SIZED], quantile, axis=0)
        np.testing.assert_allclose(found, np.percentile(campaigns[:, SIZED], quantile, axis=0), rtol=0.12)


def test_what_is_relative_to_the_account_already_stays_and_missing_stays_missing() -> None:
    ads, campaigns = rows(100, size=3, seed=0), rows(100, size=40, seed=1)
    ads[:5, SIZED[0]] = np.nan
    moved = rescale(ads, source=LevelStatistics.of(ads), target=LevelStatistics.of(campaigns))
    others = np.setdiff1d(np.arange(len(features.NAMES)), SIZED)
    np.testing.assert_array_equal(moved[:, others], ads[:, others])
    assert np.isnan(moved[:5, SIZED[0]]).all()
    assert not np.isnan(moved[5:, SIZED[0]]).any()


def test_a_level_against_itself_changes_nothing() -> None:
    ads = rows(100, size=3, seed=0)
    own = LevelStatistics.of(ads)
    np.testing.assert_allclose(rescale(ads, source=own, target=own), ads, rtol=1e-5, atol=1e-5)


def test_nothing_becomes_negative_or_infinite() -> None:
    ads, campaigns = rows(100, size=50, seed=0), rows(100, size=1, seed=1)
    ads[0, SIZED] = 0.0
    ads[1, SIZED] = 1e6
    constant = campaigns.copy()
    constant[:, SIZED] = 2.0
    moved = rescale(ads, source=LevelStatistics.of(constant), target=LevelStatistics.of(campaigns))
    assert (moved[:, SIZED] >= 0).all()
    assert np.isfinite(moved[:, SIZED]).all()


def test_statistics_survive_json_and_nonsense_does_not() -> None:
    own = LevelStatistics.of(rows(100, size=3, seed=0))
    again = LevelStatistics.from_dict(own.as_dict())
    np.testing.assert_array_equal(again.middle, own.middle)
    np.testing.assert_array_equal(again.spread, own.spread)
    with pytest.raises(ValueError, match="statistics of a level"):
        LevelStatistics.from_dict({"middle": [1.0], "spread": [1.0], "samples": 3})


def test_a_column_that_is_missing_everywhere_is_no_obstacle() -> None:
    ads = rows(50, size=3, seed=0)
    ads[:, SIZED[2]] = np.nan
    own = LevelStatistics.of(ads)
    assert np.isfinite(own.middle).all()
    assert (own.spread > 0).all()
