"""Names of models and what can be stored with them."""

import json
from datetime import date

import numpy as np
import pytest
from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import InvalidInput
from adsml_common.registry.models import Candidate, jsonable, model_name
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (("classifier", 1, EntityType.ADSET), "classifier/1/adset"),
        (("anomaly", 1, EntityType.ADSET, "42"), "anomaly/1/adset/42"),
        (("prophet", 1, EntityType.CAMPAIGN, "7", "cpl"), "prophet/1/campaign/7/cpl"),
        (("classifier", 12), "classifier/12"),
    ],
)
def test_model_name(arguments: tuple[object, ...], name: str) -> None:
    assert model_name(*arguments) == name  # type: ignore[arg-type]


@given(st.lists(st.text(min_size=1, max_size=64), min_size=2, max_size=2, unique=True))
def test_any_id_makes_a_name_of_its_own(ids: list[str]) -> None:
    names = []
    for entity_id in ids:
        try:
            entity_id.encode()
        except UnicodeEncodeError:
            return
        name = model_name("anomaly", 1, EntityType.AD, entity_id, "cpl")
        Candidate(name, "t", 1, {"a": b""}).check()
        assert name.split("/")[3] not in ("", ".", "..")
        names.append(name)
    assert names[0] != names[1]


def test_an_id_needs_its_level() -> None:
    with pytest.raises(ValueError, match="entity_type"):
        model_name("anomaly", 1, entity_id="42")


def test_everything_wrong_with_a_candidate_is_told_at_once() -> None:
    bad = Candidate(
        "No Such Name",
        "",
        0,
        {},
        entity_id="1",
        samples_count=-1,
        window_start=date(2024, 2, 1),
        window_end=date(2024, 1, 1),
    )
    with pytest.raises(InvalidInput) as error:
        bad.check()
    assert {violation.path for violation in error.value.violations} == {
        "name",
        "model_type",
        "config_id",
        "entity_type",
        "files",
        "samples_count",
        "window_end",
    }


def test_jsonable() -> None:
    value = {
        "nan": float("nan"),
        "inf": np.float64("inf"),
        "number": np.float32(0.5),
        "count": np.int64(2**40),
        "flag": np.bool_(True),
        "array": np.array([[1.0, np.nan]]),
        "day": date(2024, 1, 1),
        "level": EntityType.AD,
        3: (1, None),
    }
    found = json.loads(json.dumps(jsonable(value), allow_nan=False))
    assert found == {
        "nan": None,
        "inf": None,
        "number": 0.5,
        "count": 2**40,
        "flag": True,
        "array": [[1.0, None]],
        "day": "2024-01-01",
        "level": "ad",
        "3": [1, None],
    }
    with pytest.raises(TypeError, match="bytes"):
        jsonable({"a": b"1"})
