"""Fitting: what it learns, what it refuses, and that it does the same twice."""

from dataclasses import replace

import numpy as np
import pytest
from adsml_classifier.models import calibration, features, scores
from adsml_classifier.models.panel import IntArray
from adsml_classifier.training import fitting
from adsml_classifier.training.recipe import FitSettings, Shape
from adsml_classifier.training.sampling import Excluded, Samples
from adsml_common.domain.errors import FailedPrecondition
from adsml_common.domain.tiers import Tier

QUICK = FitSettings(shapes=(Shape(2, 5.0),), max_rounds=60, folds=2, threads=1)


def made(days: int, entities: int, *, seed: int = 0, noise: float = 0.1, tiers: int = 4) -> Samples:
    """Samples whose tier is told by one feature, but for a share of noise."""
    rng = np.random.default_rng(seed)
    count = days * entities
    label: IntArray = rng.integers(0, tiers, count)
    x = rng.standard_normal((count, len(features.NAMES))).astype(np.float32)
    x[:, 3] = label + 0.1 * rng.standard_normal(count)
    label = np.where(rng.random(count) < noise, rng.integers(0, tiers, count), label)
    zeros = np.zeros(count, dtype=np.int64)
    return Samples(
        x=x,
        label=label,
        day=np.repeat(np.arange(6, 6 + days), entities),
        entity=np.tile(np.arange(entities), days),
        level=zeros + 1,
        persistence=zeros,
        rule=zeros,
        next_spend=np.ones(count),
        next_leads=np.ones(count),
        by_person=zeros.astype(bool),
        weight=np.ones(count),
        excluded=Excluded(0, 0, 0),
    )


def test_it_finds_the_feature_that_tells_the_tier() -> None:
    """A tenth of the labels are noise, of which a quarter hits the truth: at best 92.5% are right."""
    fitted = fitting.fit(made(40, 20), QUICK)
    later = made(100, 20, seed=1)
    found = scores.of_probabilities(later.label, fitted.model.probabilities(later.x))
    assert found.accuracy == pytest.approx(0.925, abs=0.03)
    assert found.ece < 0.06
    assert fitted.validated is not None
    assert fitted.validated.accuracy == pytest.approx(found.accuracy, abs=0.05)
    strongest = np.abs(fitted.model.contributions(later.x)[:, :, :-1]).mean(axis=(0, 1)).argmax()
    assert strongest == 3


def test_contributions_sum_to_the_margins() -> None:
    """Exactness of TreeSHAP (Lundberg et al. 2020, property 1)."""
    samples = made(30, 20)
    model = fitting.fit(samples, QUICK).model
    x = samples.x[:50]
    np.testing.assert_allclose(model.contributions(x).sum(axis=2), model.margins(x), atol=1e-4)


def test_the_same_samples_give_the_same_model() -> None:
    samples = made(30, 20)
    first, second = (fitting.fit(samples, QUICK).model.booster.save_raw("ubj") for _ in range(2))
    assert first == second


def test_one_tier_only_is_refused_with_counts() -> None:
    samples = made(30, 20)
    one = replace(samples, label=np.full(len(samples), Tier.LOW.rank))
    with pytest.raises(FailedPrecondition, match="all 600 samples are low") as refused:
        fitting.fit(one, QUICK)
    assert refused.value.metadata == {"samples": "600", "tiers": "1"}


def test_a_tier_that_never_occurs_is_never_answered_and_said() -> None:
    samples = made(30, 20)
    kept = samples.where(samples.label != Tier.MODERATE.rank)
    fitted = fitting.fit(kept, QUICK)
    probabilities = fitted.model.probabilities(samples.x)
    assert (probabilities[:, Tier.MODERATE.rank] == 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0)
    assert fitted.notes == ("no sample is moderate; this model never answers it",)


def test_too_few_days_to_validate_are_said_and_nothing_is_calibrated() -> None:
    fitted = fitting.fit(made(5, 20), QUICK)
    assert fitted.validated is None
    assert fitted.model.calibration is calibration.IDENTITY
    assert "too few days to validate on" in fitted.notes[0]


def test_class_weights_help_a_rare_tier_to_be_found() -> None:
    """A tier of 3% hidden in noise: with equal weight of tiers it is answered more often."""
    samples = made(40, 30, noise=0.5)
    rare = (samples.label == 0) & (np.random.default_rng(5).random(len(samples)) > 0.12)
    samples = samples.where(~rare)
    answers = []
    for power in (0.0, 1.0):
        booster = fitting.refit(samples, Shape(2, 5.0), 40, replace(QUICK, class_weight_power=power))
        answers.append(booster.inplace_predict(samples.x)[:, 0].mean())
    assert answers[1] > 1.5 * answers[0]


def test_a_weight_counts_like_repeated_samples() -> None:
    samples = made(20, 10)
    heavy = replace(samples, weight=np.where(samples.day < 10, 3.0, 1.0))
    again = samples.where(samples.day < 10)
    repeated = samples.join([again, again])
    settings = replace(QUICK, subsample=1.0, columns_per_split=1.0)
    first, second = (fitting.refit(one, Shape(2, 1.0), 20, settings) for one in (heavy, repeated))
    np.testing.assert_allclose(first.inplace_predict(samples.x), second.inplace_predict(samples.x), atol=0.02)
    lines = [fitting.fit_linear(one, settings).margins(samples.x) for one in (heavy, repeated)]
    np.testing.assert_allclose(calibration.softmax(lines[0]), calibration.softmax(lines[1]), atol=0.15)


def test_rare_tiers_are_raised_and_the_less_the_more_samples_there_are() -> None:
    samples = made(30, 20)
    rare = samples.where((samples.label != Tier.LOW.rank) | (np.arange(len(samples)) % 5 == 0))
    plain = fitting.fit(rare, replace(QUICK, rarity_power=0.0)).model
    raised = fitting.fit(rare, QUICK).model
    x = samples.x[:50]
    odds = np.log(raised.probabilities(x)) - np.log(plain.probabilities(x))
    share = np.bincount(rare.label) / len(rare)
    power = 0.3 * 1000 / (1000 + len(rare))
    expected = -power * np.log(share)
    np.testing.assert_allclose(odds - odds[:, :1], np.tile(expected - expected[0], (50, 1)), atol=1e-6)
    assert (raised.probabilities(x)[:, Tier.LOW.rank] > plain.probabilities(x)[:, Tier.LOW.rank]).all()
    many = replace(QUICK, rarity_samples=1.0)
    assert np.abs(fitting.rarity(rare, many)).max() < 0.01 * np.abs(fitting.rarity(rare, QUICK)).max()
