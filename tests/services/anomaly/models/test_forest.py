"""Scorer and growth against scikit-learn."""

import numpy as np
import pytest
from adsml_anomaly.models import forest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from support import sklearn_forest


@pytest.mark.parametrize(("rows", "features", "subsample"), [(2, 1, 2), (60, 10, 32), (500, 4, 256)])
def test_scores_are_scikit_learns_on_the_same_trees(rows: int, features: int, subsample: int) -> None:
    rng = np.random.default_rng(rows)
    X, new = rng.normal(size=(rows, features)), rng.normal(size=(300, features)) * 3
    fitted = IsolationForest(n_estimators=40, max_samples=min(subsample, rows), random_state=1).fit(X)
    ours = sklearn_forest.from_sklearn(fitted).score(new)
    np.testing.assert_allclose(ours, -fitted.score_samples(new), rtol=0, atol=1e-9)


def test_scores_on_a_threshold_are_scikit_learns() -> None:
    # Values exactly at, just below and just above every split, where rounding would show.
    rng = np.random.default_rng(3)
    fitted = IsolationForest(n_estimators=20, max_samples=32, random_state=1).fit(rng.normal(size=(50, 1)))
    cuts = np.concatenate([tree.tree_.threshold[tree.tree_.feature >= 0] for tree in fitted.estimators_])
    single = cuts.astype(np.float32)
    at = np.concatenate([single, np.nextafter(single, -9), np.nextafter(single, 9)]).astype(float)[:, None]
    ours = sklearn_forest.from_sklearn(fitted).score(at)
    np.testing.assert_allclose(ours, -fitted.score_samples(at), rtol=0, atol=1e-9)


def test_ranks_as_well_as_scikit_learn_on_labelled_points() -> None:
    ours, theirs = [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        X, new = rng.normal(size=(150, 8)), rng.normal(size=(200, 8))
        truth = np.arange(200) < 20
        new[truth] += rng.normal(size=8) * 2.5
        reference = IsolationForest(n_estimators=50, max_samples=32, random_state=seed).fit(X)
        ours.append(roc_auc_score(truth, forest.grow(X, seed=seed).score(new)))
        theirs.append(roc_auc_score(truth, -reference.score_samples(new)))
    difference = np.array(ours) - np.array(theirs)
    assert difference.mean() > -2 * difference.std(ddof=1) / np.sqrt(len(difference))


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(2, 70),
    features=st.integers(1, 6),
    seed=st.integers(0, 2**32),
    distinct=st.integers(1, 5),
)
def test_every_training_point_has_a_leaf(rows: int, features: int, seed: int, distinct: int) -> None:
    # Few distinct values: many ties, constant columns, points that no split can part.
    X = np.random.default_rng(seed % 1000).integers(0, distinct, size=(rows, features)).astype(float)
    grown = forest.grow(X, seed=seed, trees=5)
    leaves = grown.feature < 0
    for first, last in zip(grown.starts, [*grown.starts[1:], len(grown.feature)], strict=True):
        assert grown.right[first:last][leaves[first:last]].sum() == min(32, rows)
    score = grown.score(X)
    assert ((score > 0) & (score <= 1)).all()


def test_the_same_seed_grows_the_same_forest() -> None:
    X = np.random.default_rng(0).normal(size=(40, 3))
    one, again, other = (forest.grow(X, seed=seed) for seed in (7, 7, 8))
    assert np.array_equal(one.threshold, again.threshold)
    assert not np.array_equal(one.threshold[:20], other.threshold[:20])
