"""What is written from the contracts is as they are, and is what tools take."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from openapi_spec_validator import validate

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("page", ["reference.py", "openapi.py"])
def test_a_page_is_as_make_reference_writes_it(page: str) -> None:
    ran = subprocess.run(
        [sys.executable, ROOT / "protos" / page, "check"], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr


def test_the_openapi_document_is_one() -> None:
    """By the specification's own schema and rules: references that lead somewhere, parameters that stand in paths."""
    validate(json.loads((ROOT / "docs" / "openapi.json").read_text(encoding="utf-8")))
