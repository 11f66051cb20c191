"""Values on their way into JSON."""

import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from adsml_common.cli.output import plain
from adsml_common.domain.tiers import Tier


@dataclass(frozen=True)
class Row:
    """A value with what JSON does not know."""

    day: date
    cpl: float
    tier: Tier
    path: Path


def test_what_json_does_not_know_becomes_what_it_does() -> None:
    row = Row(date(2026, 3, 1), float("nan"), Tier.LOW, Path("a/b"))
    assert plain(row) == {"day": "2026-03-01", "cpl": None, "tier": "low", "path": "a/b"}
    assert plain({"x": np.array([1.0, np.inf]), "n": np.int64(3), 7: {1}}) == {
        "x": [1.0, None],
        "n": 3,
        "7": [1],
    }
    assert json.dumps(plain(np.float64(0.5)), allow_nan=False) == "0.5"


def test_a_value_without_a_json_form_is_refused() -> None:
    with pytest.raises(TypeError, match="object"):
        plain(object())
