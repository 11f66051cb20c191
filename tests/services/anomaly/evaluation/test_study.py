"""`adsml evaluate anomaly` on good files and on odd ones."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from adsml_anomaly.cli import evaluate_anomaly
from adsml_anomaly.evaluation.study import evaluate
from adsml_common.domain.errors import InvalidInput, NotFound

WINDOW = ["2024-01-20 00:00:00.000000", "2024-01-21 00:00:00.000000"]


def spiked(rows: int = 1000) -> pd.DataFrame:
    """Ordinary hours, but for ten in the labelled window."""
    values = np.exp(0.1 * np.random.default_rng(0).standard_normal(rows))
    values[460:470] = 5.0
    return pd.DataFrame({"timestamp": pd.date_range("2024-01-01", periods=rows, freq="1h"), "value": values})


def write(folder: Path, windows: object, **files: pd.DataFrame | str) -> Path:
    for name, content in files.items():
        text = content if isinstance(content, str) else content.to_csv(index=False)
        (folder / f"{name}.csv").write_text(text)
    path = folder / "windows.json"
    path.write_text(json.dumps(windows))
    return path


def test_the_command_prints_one_object_with_the_agreed_keys(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    windows = write(tmp_path, {"kind/a.csv": [WINDOW]}, a=spiked(), other=spiked(50))
    evaluate_anomaly(tmp_path, windows, json_output=True)
    found = json.loads(capsys.readouterr().out)
    assert found["nab_standard"] > 90
    assert set(found["per_file"]) == {"kind/a.csv"}
    assert found["per_file"]["kind/a.csv"]["hit"] == 1
    assert found["unlabelled"] == ["other.csv"]
    evaluate_anomaly(tmp_path, windows)
    assert "other.csv has no windows" in capsys.readouterr().out


@pytest.mark.parametrize(
    "change",
    [
        lambda frame: frame.sample(frac=1, random_state=0),
        lambda frame: frame.drop(index=range(100, 150)),
        lambda frame: frame.assign(value=frame["value"].mask(frame.index.isin(range(50, 60)))),
        lambda frame: pd.concat([frame, frame.iloc[10:12]]),
        lambda frame: frame.assign(value=-frame["value"]),
    ],
    ids=["unsorted", "gaps", "missing values", "a time twice", "negative"],
)
def test_files_that_are_odd_but_tell_the_same(
    tmp_path: Path, change: Callable[[pd.DataFrame], pd.DataFrame]
) -> None:
    windows = write(tmp_path, {"a.csv": [WINDOW]}, a=change(spiked()))
    found = evaluate(tmp_path, windows)
    assert found["per_file"]["a.csv"]["hit"] == 1
    assert found["nab_standard"] > 90


def test_files_that_tell_nothing(tmp_path: Path) -> None:
    ordinary = spiked()
    windows = write(
        tmp_path,
        {
            "a.csv": [WINDOW], "flat.csv": [WINDOW], "unknown.csv": [WINDOW], "free.csv": [], "empty.csv": [WINDOW],
            "header.csv": [], "gone.csv": [WINDOW],
        },
        a=ordinary, flat=ordinary.assign(value=7.0), unknown=ordinary.assign(value=np.nan), free=ordinary,
        empty="", header="timestamp,value\n",
    )  # fmt: skip
    found = evaluate(tmp_path, windows)
    assert set(found["per_file"]) == {"a.csv", "flat.csv", "unknown.csv", "free.csv"}
    assert [found["per_file"][name]["hit"] for name in ("a.csv", "flat.csv", "unknown.csv")] == [1, 0, 0]
    assert found["per_file"]["free.csv"]["windows"] == 0
    assert set(found["skipped"]) == {"empty.csv", "header.csv"}
    assert found["not_found"] == ["gone.csv"]


@pytest.mark.parametrize(
    ("windows", "content", "told"),
    [
        ({"a.csv": [WINDOW]}, "timestamp,value\n2024-01-01,1\n2024-01-02,abc\n", r"a.csv:3: value 'abc'"),
        (
            {"a.csv": [WINDOW]},
            "timestamp,value\nyesterday,1\n2024-01-02,2\n",
            r"a.csv:2: timestamp 'yesterday'",
        ),
        ({"a.csv": [WINDOW]}, "timestamp,x\n2024-01-01,1\n", "has no column value"),
        ({"a.csv": [["2030-01-01", "2030-01-02"]]}, None, "has no row in the window"),
        ({"a.csv": [WINDOW, ["2024-01-20 12:00:00", "2024-01-22"]]}, None, "overlap"),
        ([1, 2], None, "windows JSON"),
    ],
)
def test_what_can_t_be_read_is_said_with_its_place(
    tmp_path: Path, windows: object, content: str | None, told: str
) -> None:
    path = write(tmp_path, windows, a=spiked() if content is None else content)
    with pytest.raises(InvalidInput, match=told):
        evaluate(tmp_path, path)


def test_nothing_to_score_at_all(tmp_path: Path) -> None:
    windows = write(tmp_path, {"a.csv": [WINDOW]}, a="timestamp,value\n2024-01-01,1\n2024-01-01,2\n")
    with pytest.raises(NotFound, match="has 1 points"):
        evaluate(tmp_path, windows)
    with pytest.raises(NotFound, match="can't read"):
        evaluate(tmp_path, tmp_path / "no.json")
