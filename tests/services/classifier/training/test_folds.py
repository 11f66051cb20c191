"""Rolling origins inside the samples: what they may know, and that what is kept is what would be learnt anew."""

import numpy as np
from adsml_classifier.training import fitting, sampling
from adsml_classifier.training.fitting import Folds
from adsml_classifier.training.recipe import FitSettings, SampleSettings
from adsml_simulate import SimulatedAccount

from ..accounts import panel_of
from .test_fitting import QUICK, made


def test_folds_do_not_overlap_and_keep_the_gap(account: SimulatedAccount) -> None:
    samples = sampling.build(panel_of(account), SampleSettings())
    folds = Folds(FitSettings(folds=3), lag_days=2).of(samples)
    assert len(folds) == 3
    taken: set[int] = set()
    for fold in folds:
        days = set(fold.held.day.tolist())
        assert fold.train.day.max() + sampling.HORIZON_DAYS + 2 <= min(days)
        assert not days & taken
        taken |= days
    assert max(taken) == samples.day.max()


def test_what_was_learnt_for_an_earlier_week_serves_the_next_and_changes_nothing() -> None:
    samples = made(60, 12, noise=0.4)
    earlier = samples.where(samples.day <= 58)
    folds = Folds(QUICK)
    before = folds.of(earlier)
    fitting.fit(earlier, QUICK, folds)
    after = folds.of(samples)
    assert after[1] is before[0]
    again, anew = (fitting.fit(samples, QUICK, one) for one in (folds, None))
    assert again.rounds == anew.rounds
    assert again.calibration == anew.calibration
    np.testing.assert_array_equal(again.model.probabilities(samples.x), anew.model.probabilities(samples.x))


def test_thinned_days_are_not_mistaken_for_those_of_another_count() -> None:
    """Beyond the bound every second day is taken, counted from the last: other days a day later."""
    samples = made(40, 10)
    folds = Folds(FitSettings(tuning_samples=250, folds=1))
    first, second = (folds.of(samples.where(samples.day <= last))[0] for last in (44, 45))
    assert set(first.train.day.tolist()) & set(second.train.day.tolist()) == set()
