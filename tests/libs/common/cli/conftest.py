"""The command run in this process, as a person would run it."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from adsml_common.cli.main import main


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    status: int
    out: str
    err: str

    def json(self) -> dict[str, Any]:
        """Its standard output as one JSON object."""
        found: dict[str, Any] = json.loads(self.out)
        return found

    @property
    def said(self) -> str:
        """Standard error as one line, however wide the terminal."""
        return " ".join(self.err.split())


Adsml = Callable[..., Ran]


@pytest.fixture
def adsml(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Adsml:
    """``adsml(...)`` on a migrated database and artifact store of its own."""
    monkeypatch.setenv("ADSML_DATABASE_URL", database_url)
    monkeypatch.setenv("ADSML_ARTIFACT_URL", str(tmp_path / "artifacts"))
    monkeypatch.setenv("ADSML_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> Ran:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["adsml", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capsys.readouterr()
        return Ran(int(left.value.code or 0), out, err)

    return run
