"""Whatever tidy table is written, the same daily frame is read."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from adsml_common.domain import daily
from adsml_common.domain.errors import InvalidInput
from adsml_ingest import read_frame
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal
from support.exports import tidy_csv

IDS = st.text(
    st.characters(codec="utf-8", exclude_categories=["C", "Z"])
    | st.sampled_from([" ", ",", '"', ";", "'", "-"]),
    min_size=1,
    max_size=64,
).filter(lambda text: text == text.strip() and text.isprintable())
AMOUNTS = st.floats(0, 1e12) | st.integers(0, 10**9).map(float)


@st.composite
def frames(draw: st.DrawFn) -> pd.DataFrame:
    """Daily frames of some entities; values as odd as numbers get."""
    keys = st.tuples(
        st.sampled_from(["campaign", "adset", "ad"]), IDS, st.dates(pd.Timestamp("2000-01-01").date(),
                                                                 pd.Timestamp("2026-03-01").date())
    )  # fmt: skip
    rows = [
        (
            *key,
            *(draw(AMOUNTS) for _ in range(4)),
            draw(st.none() | AMOUNTS),
        )
        for key in draw(st.lists(keys, min_size=1, max_size=12, unique=True))
    ]
    frame = pd.DataFrame(rows, columns=list(daily.COLUMNS))
    return daily.normalise(
        frame.assign(date=pd.to_datetime(frame["date"]), reach=frame["reach"].astype(float))
    )


def _parquet(path: Path, frame: pd.DataFrame) -> Path:
    frame.to_parquet(path)
    return path


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(frame=frames(), write=st.sampled_from([tidy_csv, _parquet]))
def test_what_is_written_is_read(
    frame: pd.DataFrame, write: Callable[[Path, pd.DataFrame], Path], tmp_path: Path
) -> None:
    # An id such as 1.5E+17 is refused: it is what a spreadsheet makes of a longer one.
    assume(not frame["entity_id"].str.fullmatch(r"\d[.,]\d+[eE]\+\d+").any())
    found, entities = read_frame(write(tmp_path / "tidy", frame))
    assert_frame_equal(found, frame)
    assert set(zip(entities["entity_type"], entities["entity_id"], strict=True)) == set(
        zip(frame["entity_type"], frame["entity_id"], strict=True)
    )


def test_columns_in_any_order_and_case(tmp_path: Path) -> None:
    path = tmp_path / "tidy.csv"
    path.write_text(
        "Leads,CLICKS,impressions,Spend,Date,Entity ID,entity-type,note\n"
        "1,2,3,4.5,2026-03-01,7,Ad Set,x\n\n,,,,,,,\n2,2,3,4.5,2026-03-02,7,ADSET,y\n"
    )
    found, _ = read_frame(path)
    expected = {
        "entity_type": ["adset"] * 2, "entity_id": ["7"] * 2,
        "date": pd.to_datetime(["2026-03-01", "2026-03-02"]),
        "spend": [4.5] * 2, "impressions": [3.0] * 2, "clicks": [2.0] * 2, "leads": [1.0, 2.0],
        "reach": [np.nan] * 2,
    }  # fmt: skip
    assert_frame_equal(found, daily.normalise(pd.DataFrame(expected)))


def test_the_same_row_twice_is_one(tmp_path: Path) -> None:
    path = tmp_path / "tidy.csv"
    row = "ad,1,,2026-03-01,4.5,3,2,1,{}\n"
    path.write_text(
        "entity_type,entity_id,parent_id,date,spend,impressions,clicks,leads,reach\n"
        + row.format("") + row.format(2) + row.format(2)
    )  # fmt: skip
    found, _ = read_frame(path)
    assert found["reach"].tolist() == [2.0]  # an unknown reach contradicts nothing


def test_names_of_the_last_day_stand(tmp_path: Path) -> None:
    path = tmp_path / "tidy.csv"
    path.write_text(
        "entity_type,entity_id,date,spend,impressions,clicks,leads,name,status\n"
        "ad,1,2026-03-03,1,9,2,1,new,PAUSED\nad,1,2026-03-01,1,9,2,1,old,ACTIVE\nad,1,2026-03-04,1,9,2,1,,\n"
    )
    _, entities = read_frame(path)
    assert entities[["name", "status"]].to_numpy().tolist() == [["new", "PAUSED"]]


def test_levels_that_are_absent_are_sums(tmp_path: Path) -> None:
    path = tmp_path / "tidy.csv"
    path.write_text(
        "entity_type,entity_id,parent_id,date,spend,impressions,clicks,leads,reach\n"
        "adset,s,c,2026-03-01,0.1,10,1,0,5\nadset,t,c,2026-03-01,0.2,20,2,1,6\n"
        "adset,u,,2026-03-01,9,90,9,9,9\n"
    )
    found, _ = read_frame(path)
    built = found[found["entity_type"] == "campaign"]
    assert built[["entity_id", "spend", "impressions", "clicks", "leads"]].to_numpy().tolist() == [
        ["c", 0.3, 30.0, 3.0, 1.0]
    ]
    assert built["reach"].isna().all()


def test_what_is_reported_is_not_built(tmp_path: Path) -> None:
    path = tmp_path / "tidy.csv"
    path.write_text(
        "entity_type,entity_id,parent_id,date,spend,impressions,clicks,leads\n"
        "ad,a,s,2026-03-01,1,10,1,0\ncampaign,c,,2026-03-01,5,50,5,5\nadset,s,c,2026-03-02,1,1,1,1\n"
    )
    found, _ = read_frame(path)
    assert found[["entity_type", "spend"]].to_numpy().tolist() == [
        ["ad", 1.0],
        ["adset", 1.0],  # of the ad's day: built
        ["adset", 1.0],
        ["campaign", 5.0],  # reported
        ["campaign", 1.0],  # of the ad set's day: built
    ]


def test_a_directory_without_exports_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("none")
    with pytest.raises(InvalidInput, match="is a directory without exports"):
        read_frame(tmp_path)
