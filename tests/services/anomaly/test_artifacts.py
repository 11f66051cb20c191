"""Artifacts: what is written is read; what is damaged is refused, never half believed."""

import json

import numpy as np
import pytest
from adsml_anomaly import artifacts
from adsml_anomaly.models.channels import Days
from adsml_anomaly.models.completeness import Completeness
from adsml_anomaly.models.fitting import AccountPool, fit_entity
from adsml_anomaly.models.series_model import Scores, SeriesModel, score
from adsml_common.domain.entities import EntityRef
from adsml_common.domain.errors import ArtifactCorrupt
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


@pytest.fixture(scope="module")
def trained(histories: dict[EntityRef, Days], pool: AccountPool) -> tuple[SeriesModel, Days]:
    ref, days = next(iter(histories.items()))
    return fit_entity(days, pool, ref.entity_type, what=str(ref)).model, days


def scored(model: SeriesModel, days: Days, *, start: int = 0) -> Scores:
    none, complete = np.zeros(len(days.rows), dtype=bool), Completeness.whole(len(days.rows))
    return score(model, days, start=start, barred=none, changed=none, complete=complete)


def test_scores_survive_the_files(trained: tuple[SeriesModel, Days]) -> None:
    model, days = trained
    again = artifacts.from_files(artifacts.to_files(model))
    np.testing.assert_array_equal(scored(again, days).log_p, scored(model, days).log_p)


def test_files_are_small_and_hold_no_pickle(trained: tuple[SeriesModel, Days]) -> None:
    files = artifacts.to_files(trained[0])
    assert sum(map(len, files.values())) < 40_000
    assert not any(data.startswith(b"\x80") for data in files.values())


def test_a_pooled_profile_has_no_forest(pool: AccountPool) -> None:
    files = artifacts.to_files(pool.account.pooled)
    assert "forest.bin" not in files
    assert artifacts.from_files(files).forest is None


def test_other_features_are_said(trained: tuple[SeriesModel, Days]) -> None:
    files = artifacts.to_files(trained[0])
    facts = json.loads(files["model.json"])
    facts["features"][0] = "likes"
    with pytest.raises(ArtifactCorrupt, match="retrain"):
        artifacts.from_files({**files, "model.json": json.dumps(facts).encode()})


@pytest.mark.parametrize("name", ["model.json", "numbers.bin", "forest.bin"])
def test_a_missing_or_cut_file_is_refused(trained: tuple[SeriesModel, Days], name: str) -> None:
    files = artifacts.to_files(trained[0])
    with pytest.raises(ArtifactCorrupt):
        artifacts.from_files({key: data for key, data in files.items() if key != name})
    with pytest.raises(ArtifactCorrupt):
        artifacts.from_files({**files, name: files[name][:-3]})


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_leads_the_scorer_astray(trained: tuple[SeriesModel, Days], data: st.DataObject) -> None:
    model, days = trained
    files = artifacts.to_files(model)
    forest = bytearray(files["forest.bin"])
    at = data.draw(st.integers(0, len(forest) - 1))
    forest[at] ^= data.draw(st.integers(1, 255))
    try:
        damaged = artifacts.from_files({**files, "forest.bin": bytes(forest)})
    except ArtifactCorrupt:
        return
    # What passes (a threshold is another, a leaf counts otherwise) still ends in every leaf.
    assert np.isfinite(scored(damaged, days, start=len(days.rows) - 3).components[-1, -1])
