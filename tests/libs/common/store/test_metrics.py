"""Daily metrics: what goes in comes out; twice is once; all or nothing."""

import threading
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from adsml_common.database import Database
from adsml_common.domain import daily
from adsml_common.domain.changes import ChangeEvent, ChangeType
from adsml_common.domain.entities import Entity, EntityRef, EntityType
from adsml_common.domain.errors import InvalidInput
from adsml_common.domain.metrics import STORED
from adsml_common.store.changes import ChangeStore
from adsml_common.store.counts import UpsertCounts
from adsml_common.store.entities import EntityStore
from adsml_common.store.metrics import MetricStore
from adsml_common.store.sums import SumReport
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.daily import daily_frame


@pytest.fixture
def store(database: Database) -> MetricStore:
    return MetricStore(database)


def test_what_goes_in_comes_out_sorted(store: MetricStore) -> None:
    parts = [
        daily_frame(entity_type="campaign", ids=("é", "9", "10", "a b", "B", "b"), seed=1),
        daily_frame(entity_type="ad", ids=("9",), days=5, seed=2),
    ]
    frame = pd.concat(parts)
    counts = store.upsert_daily(1, frame.sample(frac=1, random_state=0), source="test")
    assert counts == UpsertCounts(inserted=23)
    # `normalise` sorts as Python does; so must both databases.
    pd.testing.assert_frame_equal(store.daily(1), daily.normalise(frame))


def test_the_same_rows_again_change_nothing(store: MetricStore, database: Database) -> None:
    frame = daily_frame(ids=("1", "2"), days=10)
    store.upsert_daily(1, frame, source="first")
    version = store.data_version(1)
    assert store.upsert_daily(1, frame, source="second") == UpsertCounts(unchanged=20)
    assert store.data_version(1) == version
    with database.read() as connection:
        sources = connection.execute(sa.text("SELECT DISTINCT source FROM daily_metrics")).scalars().all()
    assert sources == ["first"]


def test_rows_that_differ_are_updated_and_say_from_where(store: MetricStore, database: Database) -> None:
    frame = daily_frame(ids=("1", "2"), days=10)
    store.upsert_daily(1, frame, source="first")
    changed = frame.copy()
    changed.loc[3, "spend"] += 1
    changed.loc[4, "reach"] = np.nan
    changed.loc[5, "reach"] = 77.0
    stored = changed.fillna({"reach": frame["reach"]})
    extra = daily_frame(ids=("3",), days=2)
    counts = store.upsert_daily(1, pd.concat([changed, extra]), source="second")
    assert counts == UpsertCounts(inserted=2, updated=2, unchanged=18)  # an untold reach replaces none
    pd.testing.assert_frame_equal(store.daily(1), daily.normalise(pd.concat([stored, extra])))
    with database.read() as connection:
        query = sa.text(
            "SELECT source, count(*), min(loaded_at) <= max(loaded_at) FROM daily_metrics GROUP BY 1"
        )
        assert {row[0]: row[1] for row in connection.execute(query)} == {"first": 18, "second": 4}


def _tree(store: MetricStore, frame: pd.DataFrame, **parents: str) -> SumReport:
    """Load rows of ads, with the ad sets that they belong to."""
    ads = [
        Entity(EntityRef(1, EntityType.AD, ad.removeprefix("ad")), parent_id=parent)
        for ad, parent in parents.items()
    ]
    with store.load(1, source="export.csv") as load:
        load.entities([Entity(EntityRef(1, EntityType.ADSET, parent)) for parent in set(parents.values())])
        load.entities(ads)
        load.add(frame)
        return load.build_sums()[1]


def _ads(day: str, leads: dict[str, float]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "entity_type": "ad", "entity_id": list(leads), "date": pd.Timestamp(day), "spend": 10.0,
            "impressions": 1000.0, "clicks": 20.0, "leads": list(leads.values()),
        }
    )  # fmt: skip


def _leads(store: MetricStore, entity_type: EntityType) -> dict[str, float]:
    rows = store.daily(1, entity_type=entity_type)
    return dict(zip(rows["entity_id"], rows["leads"], strict=True))


def test_parents_are_sums_of_what_is_stored_not_of_what_one_load_brought(store: MetricStore) -> None:
    _tree(store, _ads("2024-10-07", {"1": 4}), ad1="20")
    _tree(store, _ads("2024-10-07", {"2": 3}), ad2="20")
    assert _leads(store, EntityType.ADSET) == {"20": 7}
    _tree(store, _ads("2024-10-07", {"2": 5}), ad2="20")
    assert _leads(store, EntityType.ADSET) == {"20": 9}


def test_sums_never_replace_what_was_reported_and_say_where_it_contradicts_them(store: MetricStore) -> None:
    reported = _ads("2024-10-07", {"20": 7}).assign(
        entity_type="adset", spend=20.0, impressions=2e3, clicks=40.0
    )
    store.upsert_daily(1, reported, source="export.csv")
    assert _tree(store, _ads("2024-10-07", {"1": 4, "2": 3}), ad1="20", ad2="20").contradictions == 0
    report = _tree(store, _ads("2024-10-07", {"1": 9, "2": 3}), ad1="20", ad2="20")
    assert report.contradictions == 1
    assert (report.examples[0].reported["leads"], report.examples[0].below["leads"]) == (7, 12)
    assert _leads(store, EntityType.ADSET) == {"20": 7}


def test_a_window_is_replaced_and_sums_follow(store: MetricStore) -> None:
    _tree(store, _ads("2024-10-07", {"1": 4, "2": 3}), ad1="20", ad2="21")
    before = store.revisions(1, entity_type=EntityType.ADSET, entity_ids=["21"])
    with store.load(1, source="sync") as load:
        load.replace_window(date(2024, 10, 7), date(2024, 10, 7))
        load.add(_ads("2024-10-07", {"1": 4}))
        assert load.delete_missing([EntityType.AD]) == UpsertCounts(deleted=1)
        load.build_sums()
    assert _leads(store, EntityType.AD) == {"1": 4}
    assert _leads(store, EntityType.ADSET) == {"20": 4}
    assert store.revisions(1, entity_type=EntityType.ADSET, entity_ids=["21"]) != before


def test_rows_fetched_earlier_do_not_replace_later_ones(store: MetricStore) -> None:
    def add(leads: float, fetched_at: float, *, older_file: bool = False) -> UpsertCounts:
        with store.load(1, source="test") as load:
            stamps = np.array([fetched_at])
            return load.add(_ads("2024-10-07", {"1": leads}), fetched_at=stamps, older_file=older_file)

    assert add(6, 200.0) == UpsertCounts(inserted=1)
    assert add(4, 100.0) == UpsertCounts(older=1)
    assert add(6, 400.0) == UpsertCounts(unchanged=1)
    assert add(5, 300.0) == UpsertCounts(older=1)  # the same was said again after it
    assert add(7, 0.0, older_file=True) == UpsertCounts(older=1)
    assert add(8, 0.0) == UpsertCounts(updated=1)
    assert _leads(store, EntityType.AD) == {"1": 8}


def test_leads_that_are_not_told_leave_what_is_stored(store: MetricStore) -> None:
    untold = _ads("2024-10-07", {"1": np.nan, "2": np.nan}).assign(spend=11.0)
    store.upsert_daily(1, _ads("2024-10-07", {"1": 4}), source="test")
    store.upsert_daily(1, untold, source="test")
    assert _leads(store, EntityType.AD) == {"1": 4, "2": 0}
    assert store.daily(1)["spend"].tolist() == [11.0, 11.0]


def test_restated_values_are_kept_with_their_time(store: MetricStore) -> None:
    for leads in (2.0, 5.0, 6.0):
        store.upsert_daily(1, _ads("2024-10-07", {"1": leads}), source="test")
    versions = store.versions(1, entity_type=EntityType.AD, start=date(2024, 10, 7))
    assert versions["leads"].tolist() == [2.0, 5.0, 6.0]
    assert versions["loaded_at"].is_monotonic_increasing
    assert store.versions(1, entity_type=EntityType.AD, start=date(2024, 10, 8)).empty
    assert store.versions(1, entity_type=EntityType.ADSET, start=date(2024, 10, 7)).empty


def test_a_correction_is_stored_and_read_as_no_spend(store: MetricStore, database: Database) -> None:
    with store.load(1, source="test") as load:
        load.add(_ads("2024-10-07", {"1": 0}).assign(spend=-1.5), corrections=True)
    assert store.daily(1)["spend"].tolist() == [0.0]
    with database.read() as connection:
        assert connection.execute(sa.text("SELECT spend FROM daily_metrics")).scalar() == -1.5


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
def test_an_unchanged_row_is_not_written(store: MetricStore, database: Database) -> None:
    store.upsert_daily(1, daily_frame(days=50), source="test")
    place = sa.text("SELECT date, ctid::text, xmax::text FROM daily_metrics ORDER BY date")
    with database.read() as connection:
        before = connection.execute(place).all()
    store.upsert_daily(1, daily_frame(days=50), source="test")
    with database.read() as connection:
        assert connection.execute(place).all() == before


def test_accounts_and_levels_do_not_mix(store: MetricStore) -> None:
    store.upsert_daily(1, daily_frame(entity_type="ad", ids=("7",), seed=1), source="test")
    store.upsert_daily(1, daily_frame(entity_type="adset", ids=("7",), seed=2), source="test")
    store.upsert_daily(2, daily_frame(entity_type="adset", ids=("7",), seed=3), source="test")
    assert store.config_ids() == [1, 2]
    pd.testing.assert_frame_equal(store.daily(2), daily_frame(entity_type="adset", ids=("7",), seed=3))
    only = store.daily(1, entity_type=EntityType.AD)
    pd.testing.assert_frame_equal(only, daily_frame(entity_type="ad", ids=("7",), seed=1))


def test_daily_filters(store: MetricStore) -> None:
    frame = daily_frame(ids=("1", "2", "3"), days=10)
    store.upsert_daily(1, frame, source="test")
    found = store.daily(
        1,
        entity_type=EntityType.ADSET,
        entity_ids=["3", "1", "nobody"],
        start=date(2024, 1, 4),
        end=date(2024, 1, 5),
    )
    days = frame["date"].between("2024-01-04", "2024-01-05")
    wanted = frame[days & frame["entity_id"].isin(["1", "3"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(found, wanted)


@pytest.mark.parametrize("ids", [[], ["nobody"]])
def test_nothing_found_is_an_empty_daily_frame(store: MetricStore, ids: list[str]) -> None:
    store.upsert_daily(1, daily_frame(), source="test")
    pd.testing.assert_frame_equal(store.daily(1, entity_ids=ids), daily.empty())
    pd.testing.assert_frame_equal(store.daily(99), daily.empty())
    pd.testing.assert_frame_equal(store.daily(1, start=date(2030, 1, 1)), daily.empty())


def test_a_thousand_entities_take_one_statement_for_their_rows(
    store: MetricStore, database: Database
) -> None:
    ids = [f"{i:04d}" for i in range(1000)]
    store.upsert_daily(1, daily_frame(ids=ids, days=2), source="test")
    asked: list[str] = []
    listener = lambda *args: asked.append(args[2])  # noqa: E731
    sa.event.listen(database.engine, "before_cursor_execute", listener)
    found = store.daily(1, entity_type=EntityType.ADSET, entity_ids=ids)
    sa.event.remove(database.engine, "before_cursor_execute", listener)
    assert len(found) == 2000
    # One for the entities; their rows come by a second (COPY on PostgreSQL, which the listener does not see).
    assert len([statement for statement in asked if "SELECT" in statement]) <= 2


def test_entity_by_entity_the_rows_are_those_of_the_frame(store: MetricStore) -> None:
    for level, ids, days in (("campaign", ("9", "10", "é"), 3), ("ad", ("9",), 5)):
        store.upsert_daily(1, daily_frame(entity_type=level, ids=ids, days=days, seed=1), source="test")
    for filters in (
        {},
        {"entity_ids": ["9"]},
        {"entity_type": EntityType.CAMPAIGN, "start": date(2024, 1, 2)},
    ):
        frame = store.daily(1, **filters)
        told = {
            (ref.entity_type.value, ref.entity_id): (days, rows)
            for ref, days, rows in store.each(1, **filters)
        }
        groups = dict(iter(frame.groupby(["entity_type", "entity_id"])))
        assert told.keys() == groups.keys()
        for key, group in groups.items():
            np.testing.assert_array_equal(told[key][0], group["date"].to_numpy(dtype="datetime64[D]"))
            np.testing.assert_array_equal(told[key][1], group[list(STORED)].to_numpy(dtype=float))
    assert list(store.each(99)) == []
    assert list(store.each(1, start=date(2030, 1, 1))) == []


def test_revisions_grow_with_an_entity_s_own_rows_only(store: MetricStore) -> None:
    store.upsert_daily(1, daily_frame(entity_type="ad", ids=("1", "2")), source="test")
    before = store.revisions(1)
    assert {str(ref.entity_id) for ref in before} == {"1", "2"}
    more = daily_frame(entity_type="ad", ids=("1", "2"))
    more.loc[0, "leads"] += 1
    store.upsert_daily(1, more, source="test")
    after = store.revisions(1, entity_type=EntityType.AD, entity_ids=["1", "2", "nobody"])
    assert [ref.entity_id for ref in before if after[ref] > before[ref]] == ["1"]
    assert store.revisions(2) == {}


def test_last_date(store: MetricStore) -> None:
    assert store.last_date(1) is None
    store.upsert_daily(1, daily_frame(entity_type="ad", days=5), source="test")
    store.upsert_daily(1, daily_frame(entity_type="adset", days=3), source="test")
    assert store.last_date(1) == date(2024, 1, 5)
    assert store.last_date(2) is None


def test_data_version_changes_with_the_rows_it_covers_only(store: MetricStore) -> None:
    store.upsert_daily(1, daily_frame(entity_type="ad", ids=("1", "2")), source="test")
    store.upsert_daily(1, daily_frame(entity_type="adset", ids=("1",)), source="test")

    def versions() -> dict[str, object]:
        ads = store.revisions(1, entity_type=EntityType.AD)
        return {
            "account": store.data_version(1),
            "ads": store.data_version(1, EntityType.AD),
            "ad sets": store.data_version(1, EntityType.ADSET),
            "ad 1": ads[EntityRef(1, EntityType.AD, "1")],
            "ad 2": ads[EntityRef(1, EntityType.AD, "2")],
            "other account": store.data_version(2),
        }

    before = versions()
    more = daily_frame(entity_type="ad", ids=("1", "2"))
    more.loc[0, "leads"] += 1
    store.upsert_daily(1, more, source="test")
    after = versions()
    assert {name for name in before if before[name] != after[name]} == {"account", "ads", "ad 1"}


def test_entities_are_created(store: MetricStore, database: Database) -> None:
    store.upsert_daily(5, daily_frame(entity_type="ad", ids=("x",)), source="test")
    assert EntityStore(database).get(EntityRef(5, EntityType.AD, "x")).name is None


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"spend": -1.0}, "spend"),
        ({"leads": np.inf}, "leads"),
        ({"clicks": np.nan}, "clicks"),
        ({"date": pd.NaT}, "date"),
        ({"entity_type": "account"}, "entity_type"),
        ({"entity_id": ""}, "entity_id"),
        ({"entity_id": "x" * 65}, "entity_id"),
        ({"entity_id": "a\0b"}, "entity_id"),
        ({"entity_id": None}, "entity_id"),
        ({"entity_type": None}, "entity_type"),
        ({"entity_id": 12}, "entity_id"),
        ({"date": pd.Timestamp("2024-01-02")}, "date"),
    ],
)
def test_a_bad_row_is_refused_and_nothing_is_written(
    store: MetricStore, change: dict[str, object], place: str
) -> None:
    frame = daily_frame(days=3)
    for name, value in change.items():
        frame.loc[2, name] = value
    with pytest.raises(InvalidInput) as error:
        store.upsert_daily(1, frame, source="test")
    assert any(violation.path == f"rows[2].{place}" for violation in error.value.violations)
    assert store.config_ids() == []


@pytest.mark.parametrize("config_id", [0, -1, 2**63])
def test_an_impossible_account_is_refused(store: MetricStore, config_id: int) -> None:
    with pytest.raises(InvalidInput, match="config_id"):
        store.upsert_daily(config_id, daily_frame(), source="test")


def test_an_empty_frame_is_fine(store: MetricStore) -> None:
    assert store.upsert_daily(1, daily.empty(), source="test") == UpsertCounts()


def test_extreme_days_and_values_survive(store: MetricStore) -> None:
    frame = daily_frame(days=4)
    frame["date"] = pd.to_datetime(["1970-01-01", "1999-12-31", "2000-02-29", "2199-12-31"])
    frame["spend"] = [0.0, 1e-300, 1.7e308, 0.1 + 0.2]
    frame["impressions"] = [0.0, 2.0**53, 1e18, 1.0]
    store.upsert_daily(1, frame, source="test")
    pd.testing.assert_frame_equal(store.daily(1), daily.normalise(frame), check_exact=True)


def test_a_load_is_all_or_nothing(store: MetricStore, database: Database) -> None:
    ref = EntityRef(1, EntityType.ADSET, "1")

    def half() -> None:
        with store.load(1, source="test") as load:
            load.entities([Entity(ref, name="first")])
            load.changes([ChangeEvent(ref, ChangeType.PAUSE, date(2024, 1, 1))])
            assert load.add(daily_frame()).inserted == 3
            load.add(daily_frame(ids=("2",)).assign(spend=-1.0))

    with pytest.raises(InvalidInput):
        half()
    assert store.config_ids() == []
    assert EntityStore(database).list(1) == []
    assert ChangeStore(database).list(1) == []


def test_a_load_of_many_frames(store: MetricStore, database: Database) -> None:
    ref = EntityRef(1, EntityType.ADSET, "1")
    with store.load(1, source="test") as load:
        load.add(daily_frame(days=3))
        counts = load.add(daily_frame(days=3, start=date(2024, 1, 3), seed=9))
        load.entities([Entity(ref, name="first")])
        load.changes([ChangeEvent(ref, ChangeType.PAUSE, date(2024, 1, 1))])
    assert (counts.inserted, counts.changed + counts.unchanged) == (2, 3)
    found = store.daily(1)
    assert len(found) == 5
    # The later frame stays.
    pd.testing.assert_frame_equal(
        found.tail(3).reset_index(drop=True), daily_frame(days=3, start=date(2024, 1, 3), seed=9)
    )
    assert EntityStore(database).get(ref).name == "first"
    assert len(ChangeStore(database).list(1)) == 1


def test_a_load_refuses_what_belongs_to_another_account(store: MetricStore) -> None:
    other = EntityRef(2, EntityType.ADSET, "1")
    with store.load(1, source="test") as load:
        with pytest.raises(InvalidInput, match="does not belong to account 1"):
            load.entities([Entity(other)])
        with pytest.raises(InvalidInput, match="does not belong to account 1"):
            load.changes([ChangeEvent(other, ChangeType.PAUSE, date(2024, 1, 1))])


def test_many_writers_of_one_account_lose_nothing(store: MetricStore, database: Database) -> None:
    """Overlapping rows in opposite orders: what deadlocks where writers do not queue."""
    frames = [daily_frame(ids=("1", "2", "3"), days=20, seed=seed) for seed in range(4)]
    errors: list[BaseException] = []

    def write(frame: pd.DataFrame) -> None:
        try:
            with store.load(1, source="test") as load:
                for part in np.array_split(np.arange(len(frame)), 4):
                    load.add(frame.iloc[part])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(f.iloc[:: (-1) ** i],)) for i, f in enumerate(frames)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    found = store.daily(1)
    # Whoever came last has all of it: no writer's rows among another's.
    assert any(found.equals(frame) for frame in frames)
    assert store.data_version(1) == "adset:16"


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.dictionaries(st.tuples(st.sampled_from("abc"), st.integers(0, 3)), st.integers(0, 3), max_size=8),
        max_size=4,
    ),
    st.integers(1, 2**62),
)
def test_upserts_are_as_a_dictionary_is_updated(
    database: Database, steps: list[dict[tuple[str, int], int]], config_id: int
) -> None:
    store = MetricStore(database)
    while config_id in store.config_ids():
        config_id += 1
    model: dict[tuple[str, int], int] = {}
    for step in steps:
        frame = pd.DataFrame(
            {
                "entity_type": ["ad"] * len(step),
                "entity_id": [entity for entity, _ in step],
                "date": [pd.Timestamp(date(2024, 1, 1) + timedelta(days=day)) for _, day in step],
                **{name: [float(v) for v in step.values()] for name in ("spend", "impressions", "clicks")},
                "leads": [0.0] * len(step),
            }
        )
        counts = store.upsert_daily(config_id, daily.normalise(frame), source="test")
        assert counts == UpsertCounts(
            inserted=len(step.keys() - model.keys()),
            updated=sum(key in model and model[key] != value for key, value in step.items()),
            unchanged=sum(key in model and model[key] == value for key, value in step.items()),
            fallen=sum(key in model and value < model[key] for key, value in step.items()),
        )
        model |= step
    found = store.daily(config_id)
    start = pd.Timestamp(date(2024, 1, 1))
    assert {(row.entity_id, (row.date - start).days): int(row.spend) for row in found.itertuples()} == model
