"""Reasons in words."""

import numpy as np
from adsml_classifier.models import features
from adsml_classifier.models import reasons as explanation


def test_every_feature_has_words_for_a_value_and_for_its_absence() -> None:
    for name in features.NAMES:
        said, missing = explanation.words(name, 1.25), explanation.words(name, None)
        assert said
        assert missing
        assert name not in said


def test_the_strongest_come_first_and_what_did_nothing_is_left_out() -> None:
    values = np.ones(len(features.NAMES), dtype=np.float32)
    contributions = np.zeros(len(features.NAMES))
    contributions[[2, 5, 7]] = [0.1, -0.9, 0.4]
    told = explanation.strongest(values, contributions, most=2)
    assert [one.feature for one in told] == [features.NAMES[5], features.NAMES[7]]
    assert [one.contribution for one in told] == [-0.9, 0.4]
