"""Exports in object stores, and the tables that connectors fill in a real PostgreSQL."""

import gzip
import json
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pandas as pd
import pytest
import sqlalchemy as sa
from adsml_common.database import Database
from adsml_common.domain.entities import EntityType
from adsml_common.store.accounts import AccountStore
from adsml_common.store.metrics import MetricStore
from adsml_ingest.options import ImportOptions
from adsml_ingest.sync.config import AccountSource
from adsml_ingest.sync.run import AccountResult, Syncer
from moto.server import ThreadedMotoServer
from support.databases import postgresql_database

NOW = datetime(2024, 10, 8, 1, tzinfo=UTC)
YESTERDAY = date(2024, 10, 7)


def sync(database: Database, *accounts: AccountSource, force: bool = True) -> dict[int, AccountResult]:
    results = Syncer(database, {}, now=lambda: NOW, force=force).run(accounts)
    return {one.config_id: one for one in results}


def insights(day: str, *, ad: str = "1", leads: int = 4) -> dict[str, Any]:
    return {
        "account_id": "555", "campaign_id": "10", "adset_id": "20", "ad_id": ad, "date_start": day, "date_stop": day,
        "spend": "10", "impressions": "1000", "clicks": "20", "actions": [{"action_type": "lead", "value": str(leads)}],
    }  # fmt: skip


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, value in {
        "AWS_ENDPOINT_URL": s3_server, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    bucket = boto3.resource("s3").Bucket(f"adsml-{uuid.uuid4().hex}")
    bucket.create()
    return bucket


def test_a_prefix_of_partitions_gz_and_parquet(bucket: Any, database: Database, tmp_path: Path) -> None:
    frame = pd.DataFrame([insights("2024-10-06", ad="2")])
    frame.to_parquet(tmp_path / "x.parquet")
    bucket.put_object(Key="in/date=2024-10-06/part-0.parquet", Body=(tmp_path / "x.parquet").read_bytes())
    lines = gzip.compress((json.dumps(insights("2024-10-07")) + "\n").encode())
    bucket.put_object(Key="in/date=2024-10-07/part-0.jsonl.gz", Body=lines)
    bucket.put_object(Key="in/date=2024-01-01/old.jsonl", Body=b"never read: of another day")
    bucket.put_object(Key="in/_SUCCESS", Body=b"x")
    account = AccountSource(1, f"s3://{bucket.name}/in")
    result = sync(database, account)[1]
    assert (result.error, result.fresh, result.through) == (None, True, YESTERDAY)
    store = MetricStore(database)
    ads = store.daily(1, entity_type=EntityType.AD)
    assert ads[["entity_id", "leads"]].to_numpy().tolist() == [["1", 4.0], ["2", 4.0]]
    assert sync(database, account)[1].loaded.changed == 0
    globbed = AccountSource(2, f"s3://{bucket.name}/in/date=2024-10-0*/*.gz")
    assert sync(database, globbed)[2].through == YESTERDAY
    absent = AccountSource(3, f"s3://{bucket.name}/nowhere/")
    assert "holds no file" in sync(database, absent)[3].error


def test_one_bad_account_stops_no_other_and_old_data_are_no_success(
    database: Database, tmp_path: Path
) -> None:
    for name, day in (("good", "2024-10-07"), ("late", "2024-10-05")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.jsonl").write_text(json.dumps(insights(day)) + "\n")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.csv").write_text("no,table\n1,2\n")
    results = sync(
        database,
        *(
            AccountSource(i, f"file://{tmp_path / name}")
            for i, name in enumerate(("bad", "late", "good"), start=1)
        ),
        AccountSource(4, "nonsense://x", tables=("a.b",)),
    )
    assert "is of no kind that is known" in results[1].error
    assert "ends on 2024-10-05" in results[2].error
    assert (results[3].error, results[3].fresh) == (None, True)
    assert "can't be read" in results[4].error
    kept = {one.config_id: one.sync_error for one in AccountStore(database).list()}
    assert kept[3] is None
    assert "ends on 2024-10-05" in str(kept[2])


def test_a_newer_file_of_a_day_wins_and_days_beyond_the_source_stay(
    database: Database, tmp_path: Path
) -> None:
    import os

    for number, (leads, day) in enumerate(((4, "2024-10-06"), (6, "2024-10-06"), (1, "2024-10-07"))):
        path = tmp_path / f"{9 - number}.jsonl"  # the name tells nothing
        path.write_text(json.dumps(insights(day, leads=leads)) + "\n")
        os.utime(path, (1_728_000_000 + 86_400 * number,) * 2)
    store = MetricStore(database)
    (tmp_path / "old.csv").write_text(
        "entity_type,entity_id,parent_id,date,spend,impressions,clicks,leads\nad,1,20,2024-09-20,1,10,1,1\n"
    )
    account = AccountSource(1, f"file://{tmp_path}/*.jsonl")
    from adsml_ingest import import_files

    import_files([tmp_path / "old.csv"], config_id=1, store=store)
    assert sync(database, account)[1].error is None
    ads = store.daily(1, entity_type=EntityType.AD)
    assert ads["leads"].tolist() == [1.0, 6.0, 1.0]  # before the source's first day nothing is deleted


@pytest.fixture
def warehouse(postgresql: str) -> Iterator[tuple[str, sa.Engine]]:
    with postgresql_database(postgresql) as url:
        engine = sa.create_engine(sa.make_url(url).set(drivername="postgresql+psycopg"))
        yield url, engine
        engine.dispose()


def _run(engine: sa.Engine, *statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def test_airbytes_table(warehouse: tuple[str, sa.Engine], database: Database) -> None:
    url, engine = warehouse
    _run(
        engine,
        "CREATE SCHEMA airbyte",
        "CREATE TABLE airbyte.ads_insights (_airbyte_raw_id text, _airbyte_extracted_at timestamptz, account_id text,"
        " campaign_id text, adset_id text, ad_id text, date_start date, date_stop date, spend numeric, impressions bigint,"
        " clicks bigint, reach bigint, actions jsonb)",
    )
    insert = (
        "INSERT INTO airbyte.ads_insights VALUES ('x', '{at}', '555', '10', '20', '1', '{day}', '{day}', {spend}, 1000, 20,"
        ' 800, \'[{{"action_type": "lead", "value": {leads}}}]\')'
    )
    for day, at, spend, leads in (
        ("2024-10-06", "2024-10-07 03:00+00", 10, 4), ("2024-10-06", "2024-10-08 03:00+00", 12.5, 6),
        ("2024-10-07", "2024-10-08 03:00+00", 1, 0), ("2024-08-01", "2024-08-02 03:00+00", 9, 9),
    ):  # fmt: skip
        _run(engine, insert.format(day=day, at=at, spend=spend, leads=leads))
    account = AccountSource(1, url, tables=("airbyte.ads_insights",))
    result = sync(database, account)[1]
    assert (result.error, result.fresh) == (None, True)
    ads = MetricStore(database).daily(1, entity_type=EntityType.AD)
    assert ads[["spend", "leads", "reach"]].to_numpy().tolist() == [[12.5, 6.0, 800.0], [1.0, 0.0, 800.0]]
    assert sync(database, account)[1].loaded.changed == 0


def test_dlts_parent_and_child(warehouse: tuple[str, sa.Engine], database: Database) -> None:
    url, engine = warehouse
    _run(
        engine,
        "CREATE SCHEMA dlt",
        "CREATE TABLE dlt.facebook_insights (campaign_id text, adset_id text, ad_id text, date_start timestamptz,"
        " date_stop timestamptz, reach bigint, impressions bigint, clicks bigint, spend double precision, _dlt_id text)",
        "CREATE TABLE dlt.facebook_insights__actions (action_type text, value double precision, _dlt_parent_id text)",
        "INSERT INTO dlt.facebook_insights VALUES"
        " ('10', '20', '1', '2024-10-07 00:00+00', '2024-10-07 00:00+00', 700, 1000, 20, 10, 'a'),"
        " ('10', '20', '2', '2024-10-07 00:00+00', '2024-10-07 00:00+00', 700, 1000, 20, 10, 'b')",
        "INSERT INTO dlt.facebook_insights__actions VALUES ('lead', 4, 'a'), ('link_click', 9, 'a'), ('lead', 1, 'gone')",
    )
    tables = ("dlt.facebook_insights", "dlt.facebook_insights__actions")
    result = sync(database, AccountSource(1, url, tables=tables))[1]
    assert result.error is None
    ads = MetricStore(database).daily(1, entity_type=EntityType.AD)
    assert ads[["entity_id", "leads"]].to_numpy().tolist() == [["1", 4.0], ["2", 0.0]]


def test_fivetrans_tables(warehouse: tuple[str, sa.Engine], database: Database) -> None:
    url, engine = warehouse
    _run(
        engine,
        "CREATE SCHEMA facebook_ads",
        "CREATE TABLE facebook_ads.basic_ad (account_id bigint, ad_id text, date date, spend double precision,"
        " impressions bigint, clicks bigint, reach bigint, _fivetran_synced timestamptz)",
        "CREATE TABLE facebook_ads.basic_ad_actions (ad_id text, date date, index int, action_type text, value double"
        " precision, _fivetran_id text, _fivetran_synced timestamptz)",
        "CREATE TABLE facebook_ads.ad_history (id bigint, account_id bigint, ad_set_id bigint, campaign_id bigint,"
        " name text, status text, updated_time timestamptz, _fivetran_synced timestamptz)",
        "INSERT INTO facebook_ads.basic_ad VALUES (555, '1', '2024-10-07', 10, 1000, 20, 700, now())",
        "INSERT INTO facebook_ads.basic_ad_actions VALUES ('1', '2024-10-07', 0, 'lead', 4, 'k', now())",
        "INSERT INTO facebook_ads.ad_history VALUES (1, 555, 20, 10, 'Video', 'ACTIVE', now(), now())",
    )
    tables = tuple(f"facebook_ads.{name}" for name in ("basic_ad", "basic_ad_actions", "ad_history"))
    result = sync(database, AccountSource(1, url, tables=tables))[1]
    assert result.error is None
    rows = MetricStore(database).daily(1)
    assert rows.set_index("entity_type")["leads"].to_dict() == {"ad": 4.0, "adset": 4.0, "campaign": 4.0}
    wrong = AccountSource(2, url, tables=("facebook_ads.none",), options=ImportOptions())
    assert "none" in sync(database, wrong)[2].error
    down = AccountSource(3, "postgresql://127.0.0.1:1/x", tables=("a.b",))
    assert "can't be read" in sync(database, down)[3].error


def test_the_window_is_the_accounts_own_days(database: Database, tmp_path: Path) -> None:
    """At one in the morning UTC it is still the evening of the seventh in New York: yesterday is the sixth."""
    row = insights("2024-10-06") | {"account_timezone": "America/New_York"}
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.jsonl").write_text(json.dumps(row) + "\n")
    account = AccountSource(1, f"file://{tmp_path / 'in'}")
    sync(database, account)
    result = sync(database, account)[1]
    assert (result.fresh, result.through) == (True, YESTERDAY - timedelta(days=1))


def test_a_warehouse_in_sqlite_whose_days_are_text(database: Database, tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'w.db'}")
    days = [(YESTERDAY - timedelta(days=back)).isoformat() for back in (0, 1, 60)]
    _run(
        engine,
        "CREATE TABLE insights (date_start text, date_stop text, ad_id text, spend real, impressions int, clicks int,"
        " _dlt_id text, _dlt_load_id text)",
        "CREATE TABLE insights__actions (action_type text, value real, _dlt_parent_id text)",
        "CREATE TABLE insights__action_values (action_type text, value real, _dlt_parent_id text)",
    )
    rows = [{"day": day} for day in days]
    with engine.begin() as connection:
        for statement in (
            "INSERT INTO insights VALUES (:day, :day, '1', 5, 50, 3, :day, '1')",
            "INSERT INTO insights__actions VALUES ('lead', 2, :day)",
            "INSERT INTO insights__action_values VALUES ('lead', 70, :day)",
        ):
            connection.execute(sa.text(statement), rows)
    engine.dispose()
    tables = ("insights", "insights__actions", "insights__action_values")
    source = AccountSource(1, f"sqlite:///{tmp_path / 'w.db'}", look_back_days=7, tables=tables)
    assert sync(database, source)[1].error is None
    assert MetricStore(database).daily(1, entity_type=EntityType.AD)["leads"].tolist() == [2.0, 2.0]
    absent = replace(source, tables=("insights", "nothing"))
    assert "has no table nothing" in sync(database, absent)[1].error
