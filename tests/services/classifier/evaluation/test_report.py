"""`adsml evaluate classifier`: the honest report on a file."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from adsml_simulate import AccountSettings, simulate_account
from adsml_simulate.export import write_tidy

from ..conftest import LAST_DAY

SHARED = Path(os.environ.get("ADSML_SHARED_DATA", Path(__file__).parents[5] / "shared" / "data"))
REAL = SHARED / "ads" / "display_2020_apr_may.csv"


def evaluate(path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a person would, in a folder without settings."""
    return subprocess.run(
        [sys.executable, "-m", "adsml_common.cli", "evaluate", "classifier", "--data", str(path), *options],
        capture_output=True,
        text=True,
        check=False,
        cwd=path.parent,
    )


def report(path: Path, *options: str) -> dict[str, Any]:
    ran = evaluate(path, "--json", *options)
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


@pytest.fixture(scope="module")
def tidy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The export of a small account."""
    settings = AccountSettings(last_day=LAST_DAY, days=60, campaigns=2, adsets=6, ads=12)
    path = tmp_path_factory.mktemp("tidy") / "account.csv"
    write_tidy(simulate_account(settings, seed=3), path)
    return path


@pytest.fixture(scope="module")
def found(tidy: Path) -> dict[str, Any]:
    """Its report over two weeks."""
    return report(tidy, "--weeks", "2")


def test_the_report_holds_model_baselines_and_how_they_were_found(found: dict[str, Any]) -> None:
    for name in ("weighted_f1", "macro_f1", "ece"):
        assert 0 <= found[name] <= 1
    for name in ("persistence", "rule"):
        assert set(found[name]) >= {"weighted_f1", "macro_f1", "rps"}
        assert found["worth"][name].keys() == found["worth"]["model"].keys()
    assert found["rps_skill"] == pytest.approx(1 - found["rps"] / found["persistence"]["rps"])
    assert found["verdict"]["use"] in ("model", "last_week_tier")
    assert found["samples_test"] == sum(one["samples_test"] for one in found["by_origin"])
    assert found["samples_train"] == found["by_origin"][-1]["samples_train"]
    assert sum(map(sum, found["confusion"]["truth_by_prediction"])) == found["samples_test"]
    assert set(found["by_entity_type"]) == {"campaign", "adset", "ad"}
    assert sum(one["count"] for one in found["reliability"]) == found["samples_test"]


def test_twice_the_same_figures(tidy: Path, found: dict[str, Any]) -> None:
    assert report(tidy, "--weeks", "2") == found


def test_people_get_tables_and_a_plot(tidy: Path, tmp_path: Path) -> None:
    plot = tmp_path / "calibration.svg"
    ran = evaluate(tidy, "--weeks", "1", "--plot", str(plot))
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("Verdict: use ")
    assert "leads gained" in ran.stdout
    assert "last week's tier" in ran.stdout
    assert plot.read_text().startswith("<svg")


def test_a_file_with_too_few_days_says_what_there_is(tidy: Path, tmp_path: Path) -> None:
    lines = tidy.read_text().splitlines()
    days = sorted({line.split(",")[lines[0].split(",").index("date")] for line in lines[1:]})[:10]
    short = tmp_path / "short.csv"
    short.write_text(
        "\n".join([lines[0], *(line for line in lines[1:] if any(day in line for day in days))]) + "\n"
    )
    ran = evaluate(short, "--json")
    assert ran.returncode == 4
    error = json.loads(ran.stderr)["error"]
    assert error["reason"] == "INSUFFICIENT_HISTORY"
    assert "samples" in error["message"]


def test_a_file_that_is_none_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "none.csv"
    path.write_text("hello\nworld\n")
    ran = evaluate(path, "--json")
    assert ran.returncode == 42
    assert "none.csv" in json.loads(ran.stderr)["error"]["message"]


@pytest.mark.skipif(not REAL.exists(), reason=f"{REAL} is not here")
def test_bars_on_real_ads() -> None:
    """DESIGN section 9: weighted F1 above 0.75, calibration error at most 0.05, above persistence out of time.

    In money: more leads than by last week's tier, and a ranked probability score 15% better.
    """
    found = report(REAL)
    assert found["weighted_f1"] > 0.75
    assert found["ece"] <= 0.05
    assert found["weighted_f1"] > found["persistence"]["weighted_f1"]
    assert found["macro_f1"] > found["persistence"]["macro_f1"]
    worth = found["worth"]
    assert worth["model"]["leads_gained_share"] > worth["persistence"]["leads_gained_share"]
    assert worth["persistence"]["leads_gained_share"] > worth["rule"]["leads_gained_share"]
    assert found["rps_skill"] >= 0.15
    assert found["verdict"]["use"] == "model"
