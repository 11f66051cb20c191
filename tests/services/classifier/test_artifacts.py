"""Bundles: what goes in comes out, and nothing else is taken."""

import json
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from adsml_classifier import artifacts as model_files
from adsml_classifier.artifacts import StoredModel, from_files, to_files
from adsml_classifier.models import features
from adsml_classifier.models.labels import LabelMode
from adsml_classifier.models.transfer import LevelStatistics, LevelTransfer
from adsml_classifier.training import fitting
from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import ArtifactCorrupt
from adsml_common.registry.bundle import Bundle, pack, unpack

from .training.test_fitting import QUICK, made


@pytest.fixture(scope="module")
def stored() -> StoredModel:
    samples = made(30, 20)
    levels = {name: LevelStatistics.of(np.abs(samples.x)) for name in ("campaign", "ad")}
    model = fitting.fit(samples, QUICK).model
    early = fitting.refit(samples.where(samples.day < 26), QUICK.shapes[0], 10, QUICK)
    holdout_model = replace(model, booster=early)
    return StoredModel(
        model, holdout_model, date(2026, 2, 1), LabelMode.OUTCOME, (EntityType.CAMPAIGN,), levels
    )


def test_a_model_answers_the_same_after_a_round_trip(stored: StoredModel) -> None:
    files = unpack(pack(Bundle.of(model_type=model_files.MODEL_TYPE, files=to_files(stored)))).files
    again = from_files(files)
    x = np.abs(made(3, 20, seed=4).x)
    np.testing.assert_array_equal(again.model.probabilities(x), stored.model.probabilities(x))
    np.testing.assert_array_equal(again.holdout_model.probabilities(x), stored.holdout_model.probabilities(x))
    np.testing.assert_array_equal(
        again.for_level(EntityType.AD).probabilities(x), stored.for_level(EntityType.AD).probabilities(x)
    )
    assert (again.twin_until, again.mode, again.trained_on) == (
        stored.twin_until,
        stored.mode,
        stored.trained_on,
    )


def test_only_levels_with_statistics_are_rescaled(stored: StoredModel) -> None:
    assert isinstance(stored.for_level(EntityType.AD), LevelTransfer)
    assert stored.for_level(EntityType.CAMPAIGN) is stored.model
    assert stored.for_level(EntityType.ADSET) is stored.model


def test_files_are_boosters_as_ubjson_and_json_and_no_pickle(stored: StoredModel) -> None:
    files = to_files(stored)
    assert set(files) == {"model.ubj", "twin.ubj", "facts.json"}
    # UBJSON's object marker; a pickle of protocol 2 or later begins with 0x80.
    assert files["model.ubj"][:1] == b"{"
    assert json.loads(files["facts.json"])["features"] == list(features.NAMES)


@pytest.mark.parametrize("name", ["model.ubj", "twin.ubj", "facts.json"])
@pytest.mark.parametrize("how", ["missing", "empty", "cut", "noise"])
def test_damaged_files_are_refused(stored: StoredModel, name: str, how: str) -> None:
    files = dict(to_files(stored))
    whole = files.pop(name)
    noise = np.random.default_rng(0).bytes(len(whole))
    damaged = {"empty": b"", "cut": whole[: len(whole) // 2], "noise": noise}
    if how in damaged:
        files[name] = damaged[how]
    with pytest.raises(ArtifactCorrupt):
        from_files(files)


def test_a_model_of_other_features_is_refused_with_the_cure(stored: StoredModel) -> None:
    files = dict(to_files(stored))
    facts = json.loads(files["facts.json"])
    facts["features"][0] = "phase_of_the_moon"
    files["facts.json"] = json.dumps(facts).encode()
    with pytest.raises(ArtifactCorrupt, match="retrain it"):
        from_files(files)


@pytest.mark.parametrize("written", [1, 2, 4])
def test_another_format_is_refused_by_number_with_the_cure(stored: StoredModel, written: int) -> None:
    files = dict(to_files(stored))
    facts = json.loads(files["facts.json"]) | {"format": written}
    if written == 1:
        del facts["format"]
    files["facts.json"] = json.dumps(facts).encode()
    with pytest.raises(ArtifactCorrupt, match=f"format {written}; this version reads format 3: retrain it"):
        from_files(files)
