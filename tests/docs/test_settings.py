"""docs/settings.md is what the settings classes say."""

from pathlib import Path

from adsml_common.cli.main import build
from adsml_common.cli.settings import described, installed
from typer.testing import CliRunner

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


def test_the_page_is_as_make_reference_writes_it() -> None:
    ran = CliRunner().invoke(build(), ["settings", "--markdown"])
    assert ran.stdout == PAGE.read_text(encoding="utf-8")


def test_every_variable_says_what_it_does() -> None:
    rows = [(name, row) for name, cls in installed().items() for row in described(cls)]
    assert {name for name, _ in rows} == {
        "common", "serving", "classifier", "forecasting", "anomaly", "impact"
    }  # fmt: skip
    assert [
        row["variable"] for _, row in rows if not row["meaning"] and not row["variable"].endswith("_PORT")
    ] == []
