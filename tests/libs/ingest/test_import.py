"""The import into a real database, SQLite and PostgreSQL alike."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from adsml_common.database import Database
from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import InvalidInput, Unavailable
from adsml_common.store.entities import EntityStore
from adsml_common.store.metrics import MetricStore
from adsml_ingest import ImportOptions, OnError, import_files, read_frame
from pandas.testing import assert_frame_equal
from support.exports import as_json, insights_rows, make_account, tidy_csv

ACCOUNT = make_account()
HEADER = "entity_type,entity_id,parent_id,date,spend,impressions,clicks,leads,reach\n"


@pytest.fixture
def store(database: Database) -> MetricStore:
    return MetricStore(database)


def test_what_is_imported_is_stored_and_importing_again_changes_nothing(
    store: MetricStore, database: Database, tmp_path: Path
) -> None:
    path = as_json(tmp_path / "insights.json", insights_rows(ACCOUNT))
    first = import_files([path], config_id=1, store=store)
    rows = store.daily(1)
    assert_frame_equal(rows, ACCOUNT.summed())
    assert first.loaded.inserted == len(rows) == sum(first.rows.values())
    entities = EntityStore(database).frame(1)
    assert dict(zip(entities["entity_id"], entities["name"], strict=True)) == dict(ACCOUNT.name)
    version = store.data_version(1)

    second = import_files([path], config_id=1, store=store)
    assert (second.loaded.inserted, second.loaded.updated, second.loaded.unchanged) == (
        0,
        0,
        second.rows_read,
    )
    assert second.entities.changed == 0
    assert_frame_equal(store.daily(1), rows)
    assert store.data_version(1) == version


def test_a_corrected_day_is_updated_and_the_rest_stays(store: MetricStore, tmp_path: Path) -> None:
    path = tidy_csv(tmp_path / "a.csv", ACCOUNT.ads)
    import_files([path], config_id=1, store=store)
    changed = ACCOUNT.ads.copy()
    changed.loc[3, "leads"] += 1
    summary = import_files([tidy_csv(path, changed)], config_id=1, store=store)
    assert (summary.loaded.inserted, summary.loaded.updated) == (0, 1)
    assert_frame_equal(store.daily(1), changed)


def test_accounts_are_kept_apart(store: MetricStore, tmp_path: Path) -> None:
    path = tidy_csv(tmp_path / "a.csv", ACCOUNT.ads)
    import_files([path], config_id=1, store=store)
    import_files([path], config_id=2, store=store)
    assert store.config_ids() == [1, 2]
    assert_frame_equal(store.daily(2), store.daily(1))


def test_stop_loads_nothing_if_any_row_is_bad(store: MetricStore, database: Database, tmp_path: Path) -> None:
    good = tidy_csv(tmp_path / "good.csv", ACCOUNT.ads)
    bad = tmp_path / "bad.csv"
    bad.write_text(HEADER + "ad,1,,2026-03-01,x,9,2,1,\n")
    with pytest.raises(InvalidInput, match="line 2: spend 'x' is not a number"):
        import_files([good, bad], config_id=1, store=store)
    assert store.daily(1).empty
    assert EntityStore(database).list(1) == []


def test_skip_loads_all_good_rows_and_writes_out_the_others(store: MetricStore, tmp_path: Path) -> None:
    path = tidy_csv(tmp_path / "mixed.csv", ACCOUNT.ads)
    lines = path.read_text().splitlines()
    broken = {
        4: lines[4].replace(lines[4].split(",")[4], "many", 1),
        7: lines[7] + ",extra",
        9: lines[9].rsplit(",", 3)[0],
    }
    for at, line in broken.items():
        lines[at] = line
    conflict = lines[12].split(",")
    conflict[4] = "0.01"
    lines.append(",".join(conflict))
    path.write_text("\n".join(lines) + "\n")
    options = ImportOptions(on_error=OnError.SKIP, rejects=tmp_path / "rejects")
    summary = import_files([path], config_id=1, store=store, options=options)

    kept = ACCOUNT.ads.drop(index=[at - 1 for at in (*broken, 12)]).reset_index(drop=True)
    assert_frame_equal(store.daily(1), kept)
    assert summary.rows_rejected == 5
    assert summary.rows_read == len(lines) - 1
    assert summary.conflicts == 1
    (rejected,) = summary.reject_files
    header, *rest = rejected.read_text().splitlines()
    assert header == lines[0] + ",reject_reason"
    # The lines are as they were, in front of the reason.
    originals = [broken[4], broken[7], broken[9], lines[12], lines[-1]]
    assert sorted(line.split(',"line ')[0] for line in rest) == sorted(originals)
    assert "line 5: spend 'many' is not a number" in rejected.read_text()


def test_mended_rejects_can_be_imported(store: MetricStore, tmp_path: Path) -> None:
    path = tidy_csv(tmp_path / "mixed.csv", ACCOUNT.ads)
    lines = path.read_text().splitlines()
    spend = lines[3].split(",")[4]
    lines[3] = lines[3].replace(f",{spend},", ",oops,", 1)
    path.write_text("\n".join(lines))
    options = ImportOptions(on_error=OnError.SKIP, rejects=tmp_path)
    (rejected,) = import_files([path], config_id=1, store=store, options=options).reject_files
    rejected.write_text(rejected.read_text().replace("oops", spend, 1))
    import_files([rejected], config_id=1, store=store)
    assert_frame_equal(store.daily(1), ACCOUNT.ads)


def test_mended_rejects_of_json_can_be_imported(store: MetricStore, tmp_path: Path) -> None:
    rows = insights_rows(ACCOUNT)
    spend, rows[2]["spend"] = rows[2]["spend"], "oops"
    path = as_json(tmp_path / "x.json", {"data": rows})
    options = ImportOptions(on_error=OnError.SKIP, rejects=tmp_path)
    (rejected,) = import_files([path], config_id=1, store=store, options=options).reject_files
    value = json.loads(rejected.read_text())
    assert value["reject_reason"].startswith("line 1: spend 'oops' is not a number")
    rejected.write_text(json.dumps({**value, "spend": spend}))
    import_files([rejected], config_id=1, store=store)
    ads = store.daily(1, entity_type=EntityType.AD)
    assert_frame_equal(ads, ACCOUNT.ads)


def test_skip_loads_what_comes_before_a_cut(store: MetricStore, tmp_path: Path) -> None:
    text = json.dumps({"data": insights_rows(ACCOUNT)}, indent=1)
    path = tmp_path / "cut.json"
    path.write_text(text[: len(text) * 2 // 3])
    summary = import_files([path], config_id=1, store=store, options=ImportOptions(on_error=OnError.SKIP))
    assert "is cut off in the middle" in summary.files[0].refused
    rows = store.daily(1, entity_type=EntityType.AD)
    assert 0 < len(rows) < len(ACCOUNT.ads)


def test_skip_refuses_a_file_without_any_good_row(store: MetricStore, tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(HEADER + "ad,1,,2026-03-01,x,9,2,1,\n")
    with pytest.raises(InvalidInput, match="line 2"):
        import_files([path], config_id=1, store=store, options=ImportOptions(on_error=OnError.SKIP))
    assert store.config_ids() == []


def test_sums_never_replace_what_was_reported(store: MetricStore, tmp_path: Path) -> None:
    campaigns = tmp_path / "campaigns.csv"
    campaigns.write_text(HEADER + "campaign,c,,2026-03-01,9,90,9,4,55\n")
    import_files([campaigns], config_id=1, store=store)
    adsets = tmp_path / "adsets.csv"
    adsets.write_text(HEADER + "adset,s,c,2026-03-01,1,10,1,1,5\nadset,s,c,2026-03-02,2,20,2,2,6\n")
    import_files([adsets], config_id=1, store=store)
    found = store.daily(1, entity_type=EntityType.CAMPAIGN)
    assert found[["spend", "reach"]].to_numpy().tolist()[0] == [9.0, 55.0]
    assert found["spend"].tolist()[1] == 2.0
    # Sums replace sums, and reports replace sums.
    adsets.write_text(HEADER + "adset,s,c,2026-03-02,3,20,2,2,6\n")
    import_files([adsets], config_id=1, store=store)
    assert store.daily(1, entity_type=EntityType.CAMPAIGN)["spend"].tolist() == [9.0, 3.0]
    campaigns.write_text(HEADER + "campaign,c,,2026-03-02,4,90,9,4,55\n")
    import_files([campaigns], config_id=1, store=store)
    assert store.daily(1, entity_type=EntityType.CAMPAIGN)["spend"].tolist() == [9.0, 4.0]


def test_without_sums_only_what_is_there_is_loaded(store: MetricStore, tmp_path: Path) -> None:
    path = as_json(tmp_path / "insights.json", insights_rows(ACCOUNT))
    import_files([path], config_id=1, store=store, options=ImportOptions(sum_levels=False))
    assert_frame_equal(store.daily(1), ACCOUNT.ads)


def test_many_chunks_are_one_transaction(
    store: MetricStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adsml_ingest.importer.CHUNK_ROWS", 5)
    path = tidy_csv(tmp_path / "a.csv", ACCOUNT.summed(), ACCOUNT.parent)
    steps: list[tuple[str, int, int]] = []

    def progress(step: str, done: int, total: int) -> None:
        steps.append((step, done, total))
        # What is on its way is not there for anyone else.
        assert MetricStore(other).config_ids() == []

    other = Database.open(store._database.engine.url.render_as_string(hide_password=False))
    try:
        import_files([path], config_id=1, store=store, progress=progress)
    finally:
        other.close()
    assert_frame_equal(store.daily(1), ACCOUNT.summed())
    size = path.stat().st_size
    assert [step for step in steps if step[0] == "reading"][-1] == ("reading", size, size)
    assert len([step for step in steps if step[0] == "loading"]) > 5
    assert steps[-1] == ("loading", len(ACCOUNT.summed()), len(ACCOUNT.summed()))


KILLED = """
import sys, time
from adsml_common.database import Database
from adsml_ingest import import_files, importer
from adsml_common.store.metrics import MetricStore

importer.CHUNK_ROWS = 5

def stop(step, done, total):
    if step == "loading":
        print("loading", done, flush=True)
        sys.stdin.read()  # wait to be killed in the middle of the transaction

import_files([sys.argv[2]], config_id=1, store=MetricStore(Database.open(sys.argv[1])), progress=stop)
"""


def test_killed_in_the_middle_nothing_is_half_loaded(
    database_url: str, store: MetricStore, tmp_path: Path
) -> None:
    path = tidy_csv(tmp_path / "a.csv", ACCOUNT.summed(), ACCOUNT.parent)
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, database_url, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("loading")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert store.daily(1).empty
    assert store.config_ids() == []
    # And the way is free for the next try.
    import_files([path], config_id=1, store=store)
    assert_frame_equal(store.daily(1), ACCOUNT.summed())


def test_a_database_that_is_gone_is_said(tmp_path: Path) -> None:
    path = tidy_csv(tmp_path / "a.csv", ACCOUNT.ads)
    gone = Database.open("postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(Unavailable):
        import_files([path], config_id=1, store=MetricStore(gone))


def test_nothing_is_left_in_the_temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "t"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "t").mkdir()
    path = tidy_csv(tmp_path / "a.csv", ACCOUNT.ads)
    import_files([path], config_id=1, store=None)
    path.write_text(HEADER + "x\n")
    with pytest.raises(InvalidInput):
        import_files([path], config_id=1, store=None)
    assert list((tmp_path / "t").iterdir()) == []


def test_order_of_rows_and_files_does_not_matter(tmp_path: Path) -> None:
    rows = insights_rows(ACCOUNT)
    order = np.random.default_rng(3).permutation(len(rows))
    shuffled = as_json(tmp_path / "s.json", [rows[i] for i in order])
    straight = as_json(tmp_path / "a.json", rows)
    assert_frame_equal(read_frame(shuffled)[0], read_frame(straight)[0])
    assert_frame_equal(read_frame([shuffled, straight])[0], pd.DataFrame(read_frame(straight)[0]))
