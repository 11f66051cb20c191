"""The family of errors."""

import copy
import pickle

import pytest
from adsml_common.domain.errors import (
    AdsmlError,
    FieldViolation,
    InsufficientHistory,
    InvalidInput,
    NotFound,
    Overloaded,
    Violations,
)


@pytest.mark.parametrize(
    "error",
    [
        NotFound("no such adset", metadata={"entity_id": "7"}),
        InsufficientHistory("adset 7", had=3, needed=14),
        InvalidInput([FieldViolation("rows[0].spend", "is -1; expected 0 or more")]),
        Overloaded("the queue is full", retry_after_seconds=1.5),
    ],
)
def test_an_error_survives_its_way_out_of_a_process_pool(error: AdsmlError) -> None:
    for revived in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(revived) is type(error)
        assert str(revived) == str(error)
        assert vars(revived) == vars(error)


def test_all_violations_are_told_at_once() -> None:
    found = Violations()
    found.raise_if_any()
    found.add("horizon_days", "is 0; expected 1 to 90")
    found.add("metric", "is not set")
    with pytest.raises(InvalidInput, match=r"horizon_days: .*; metric: is not set") as raised:
        found.raise_if_any()
    assert [one.path for one in raised.value.violations] == ["horizon_days", "metric"]
