"""Where the public data are."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def public_data() -> Path:
    """The public impact data, outside the tree; tests that need them are skipped where they are not."""
    path = Path(os.environ.get("ADSML_SHARED_DATA", ROOT / ".." / "shared" / "data")) / "impact"
    if not path.is_dir():
        pytest.skip(f"the public impact data are not at {path}; set ADSML_SHARED_DATA to where they are")
    return path
