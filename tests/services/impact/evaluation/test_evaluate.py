"""`adsml evaluate impact` on files: shapes of input, keys of output, errors with their place."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from adsml_common.cli.main import build
from adsml_common.domain.errors import FailedPrecondition, InsufficientHistory, InvalidInput, NotFound
from adsml_impact.evaluation.evaluate import evaluate_file
from adsml_impact.evaluation.long_panel import read_long_panel
from support.impact import make_panel
from typer.testing import CliRunner

UNITS = [f"unit {k}" for k in range(10)]


def _write(path: Path, *, sep: str = ",", times: list[str] | None = None, days: int = 70) -> Path:
    Y = make_panel(1, units=10, days=days)
    labels = times or [f"{day:%Y-%m-%d}" for day in pd.date_range("2024-01-01", periods=days)]
    frame = pd.DataFrame({"unit": np.repeat(UNITS, days), "time": labels * 10, "y": Y.ravel()})
    frame.to_csv(path, sep=sep, index=False)
    return path


def _read(path: Path, *, treated: tuple[str, ...] = ("unit 0",), start: str = "2024-03-04") -> object:
    return read_long_panel(
        path, unit_column="unit", time_column="time", outcome_column="y", treated=treated, start=start
    )


def test_the_command_prints_one_object_with_the_documented_keys(tmp_path: Path) -> None:
    path = _write(tmp_path / "panel.csv")
    arguments = [
        "evaluate", "impact", "--data", str(path), "--unit-column", "unit", "--time-column", "time",
        "--outcome-column", "y", "--treated", "unit 0,unit 3", "--start", "2024-03-04", "--json",
    ]  # fmt: skip

    result = CliRunner().invoke(build(), arguments)

    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    for method in ("did", "synthetic_control", "sdid", "adsml"):
        assert {"att", "percent", "p_value", "interval"} <= set(found["methods"][method])
        low, high = found["methods"][method]["interval"]
        assert low <= found["methods"][method]["att"] <= high
        assert (found["methods"][method]["p_value"] < 0.05) == (not low <= 0 <= high)
    assert set(found["weights"]) <= set(UNITS) - {"unit 0", "unit 3"}
    assert sum(found["weights"].values()) == pytest.approx(1)


def test_the_placebo_study_adds_its_figures(tmp_path: Path) -> None:
    found = evaluate_file(
        _write(tmp_path / "panel.csv"),
        unit_column="unit",
        time_column="time",
        outcome_column="y",
        treated=("unit 0",),
        start="2024-03-04",
        placebo_study=True,
    )
    assert 0 <= found["false_positive_rate"] <= 0.2
    assert 0 <= found["power_1sd"] <= 1
    assert found["placebo_study"]["naive_t_test"]["analyses"] == found["placebo_study"]["adsml"]["analyses"]


@pytest.mark.parametrize("sep", [",", ";", "\t"])
def test_delimiters_are_found_out(tmp_path: Path, sep: str) -> None:
    assert _read(_write(tmp_path / "panel.csv", sep=sep)).panel.N_co == 9  # type: ignore[attr-defined]


def test_whole_numbers_are_times_in_their_order(tmp_path: Path) -> None:
    times = [str(year) for year in range(1950, 2020)]
    data = _read(_write(tmp_path / "panel.csv", times=times), start="2010")
    assert data.panel.T_pre == 60  # type: ignore[attr-defined]
    assert not data.daily  # type: ignore[attr-defined]


def test_controls_with_gaps_are_left_out_and_named(tmp_path: Path) -> None:
    path = _write(tmp_path / "panel.csv")
    frame = pd.read_csv(path)
    frame[~((frame["unit"] == "unit 4") & (frame["time"] == "2024-01-09"))].to_csv(path, index=False)
    assert _read(path).dropped == ("unit 4",)  # type: ignore[attr-defined]


def test_a_treated_unit_with_gaps_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path / "panel.csv")
    frame = pd.read_csv(path)
    frame.loc[(frame["unit"] == "unit 0") & (frame["time"] == "2024-01-09"), "y"] = None
    frame.to_csv(path, index=False)
    with pytest.raises(FailedPrecondition, match="unit 0 at 1 times"):
        _read(path)


def test_errors_name_their_place(tmp_path: Path) -> None:
    path = _write(tmp_path / "panel.csv")
    with pytest.raises(NotFound, match="no file"):
        _read(tmp_path / "other.csv")
    with pytest.raises(InvalidInput, match=r"treated: 'nobody' is not among the 10 units") as caught:
        _read(path, treated=("nobody",), start="2030-01-01")
    assert {violation.path for violation in caught.value.violations} == {"treated", "start"}
    with pytest.raises(InsufficientHistory, match="has 2 times"):
        _read(path, start="2024-01-03")

    text = path.read_text().splitlines()
    text[5] = "unit 0,2024-01-05,a lot"
    text[7] = "unit 0,someday,3"
    (tmp_path / "broken.csv").write_text("\n".join(text))
    with pytest.raises(InvalidInput) as caught:
        _read(tmp_path / "broken.csv")
    assert [violation.path for violation in caught.value.violations] == ["row 8.time", "row 6.y"]

    text[7] = text[6]
    (tmp_path / "broken.csv").write_text("\n".join(text))
    with pytest.raises(InvalidInput, match=r"row 6\.y: is 'a lot'; expected a number"):
        _read(tmp_path / "broken.csv")

    text[5] = text[4]
    (tmp_path / "broken.csv").write_text("\n".join(text))
    with pytest.raises(InvalidInput, match="second one for unit 0"):
        _read(tmp_path / "broken.csv")

    text[5] = "unit 0,2024-01-05,inf"
    (tmp_path / "broken.csv").write_text("\n".join(text))
    with pytest.raises(InvalidInput, match=r"row 6\.y: is 'inf'"):
        _read(tmp_path / "broken.csv")

    with pytest.raises(InvalidInput, match="'unit 0' is given twice"):
        _read(path, treated=("unit 0", "unit 0"))

    (tmp_path / "binary.csv").write_bytes(bytes(range(256)))
    with pytest.raises(InvalidInput, match="is not text in UTF-8"):
        _read(tmp_path / "binary.csv")

    frame = pd.read_csv(path)
    frame[frame["unit"] == "unit 0"].to_csv(tmp_path / "alone.csv", index=False)
    with pytest.raises(FailedPrecondition, match="the only units"):
        _read(tmp_path / "alone.csv")

    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InvalidInput, match="has no column unit, time, y; its columns are a, b"):
        _read(tmp_path / "other.csv")
