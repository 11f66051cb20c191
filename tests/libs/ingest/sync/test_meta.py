"""The Marketing API, over HTTP against a server that answers as it does."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

import pytest
import sqlalchemy as sa
from adsml_common.database import Database
from adsml_common.domain.changes import ChangeType
from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.store.accounts import AccountStore
from adsml_common.store.changes import ChangeStore
from adsml_common.store.entities import EntityStore
from adsml_common.store.metrics import MetricStore
from adsml_ingest.sync.config import AccountSource
from adsml_ingest.sync.meta import MetaSource
from adsml_ingest.sync.run import AccountResult, Syncer
from support.graph import TOKEN, GraphAccount, GraphServer, error, serve_graph

NOW = datetime(2024, 10, 8, 1, tzinfo=UTC)
YESTERDAY = date(2024, 10, 7)


@dataclass
class Waits:
    """A clock that sleeping moves on."""

    seconds: list[float] = field(default_factory=list)

    def source(self, token: str) -> MetaSource:
        return MetaSource(token, sleep=self.seconds.append, clock=lambda: sum(self.seconds), attempts=4)


@pytest.fixture
def graph() -> Iterator[GraphServer]:
    with serve_graph() as server:
        server.accounts["555"] = GraphAccount()
        yield server


@pytest.fixture
def waits() -> Waits:
    return Waits()


def sync(
    database: Database,
    graph: GraphServer,
    waits: Waits,
    *,
    token: str = TOKEN,
    force: bool = True,
    number: str = "555",
) -> AccountResult:
    source = AccountSource(1, f"meta://act_{number}?graph={graph.url}", look_back_days=14)
    syncer = Syncer(database, {"meta": waits.source(token)}, now=lambda: NOW, force=force)
    [result] = list(syncer.run([source]))
    return result


def test_an_account_comes_with_structure_changes_and_what_it_is(
    graph: GraphServer, waits: Waits, database: Database
) -> None:
    graph.accounts["555"].fill(date(2024, 9, 20), YESTERDAY)
    graph.accounts["555"].activities = [
        {"event_time": "2024-10-01T22:30:00+0000", "event_type": "update_ad_set_budget", "object_id": "20",
         "extra_data": '{"old_value": 5000, "new_value": 10000, "currency": "EUR"}'},
        {"event_time": "2024-10-03T10:00:00+0000", "event_type": "update_ad_run_status", "object_id": "2",
         "extra_data": '{"old_value": "Active", "new_value": "Inactive"}'},
        {"event_time": "2024-10-03T10:00:00+0000", "event_type": "ad_review_approved", "object_id": "2"},
    ]  # fmt: skip
    result = sync(database, graph, waits)
    assert (result.error, result.fresh, result.through) == (None, True, YESTERDAY)
    rows = MetricStore(database).daily(1)
    assert rows.groupby("entity_type")["spend"].sum().to_dict() == dict.fromkeys(
        ("ad", "adset", "campaign"), 420.0
    )
    assert (rows["date"].min().date(), rows["date"].max().date()) == (date(2024, 9, 24), YESTERDAY)
    account = AccountStore(database).get(1)
    assert (account.account_id, account.currency_code, account.time_zone) == ("555", "EUR", "Europe/Berlin")
    adset = EntityStore(database).get(EntityRef(1, EntityType.ADSET, "21"))
    assert (adset.name, adset.status, adset.parent_id, adset.shares_budget) == (
        "Set 21",
        "PAUSED",
        "10",
        True,
    )
    changes = {event.change_type: event for event in ChangeStore(database).list(1)}
    budget = changes[ChangeType.BUDGET_CHANGE]
    # Half past ten in the evening UTC is the next day in Berlin; budgets come in cents.
    assert (budget.date, budget.detail["budget_before"], budget.detail["budget_after"]) == (
        date(2024, 10, 2),
        50,
        100,
    )
    assert changes[ChangeType.PAUSE].entity.entity_id == "2"


def test_twice_is_the_same_and_what_is_restated_or_gone_follows(
    graph: GraphServer, waits: Waits, database: Database
) -> None:
    account = graph.accounts["555"]
    account.fill(date(2024, 9, 24), YESTERDAY)
    sync(database, graph, waits)
    version = MetricStore(database).data_version(1)
    assert sync(database, graph, waits).loaded.changed == 0
    assert MetricStore(database).data_version(1) == version
    account.rows["1", "2024-10-07"] = (10.0, 5.0)
    del account.rows["3", "2024-10-06"]
    loaded = sync(database, graph, waits).loaded
    # The ad's row with its two sums, and the ad's with its ad set's; the campaign's of that day changes.
    assert (loaded.updated, loaded.deleted) == (4, 2)
    store = MetricStore(database)
    leads = store.daily(1, start=YESTERDAY).set_index(["entity_type", "entity_id"])["leads"]
    assert leads.to_dict() == {
        ("ad", "1"): 5, ("ad", "2"): 2, ("ad", "3"): 2, ("adset", "20"): 7, ("adset", "21"): 2, ("campaign", "10"): 9,
    }  # fmt: skip
    with database.read() as connection:
        restated = connection.execute(
            sa.text(
                "SELECT entity_id, leads FROM restated_metrics JOIN entities USING (entity_key) "
                "WHERE entity_type = 'ad' ORDER BY entity_id"
            )
        ).all()
    assert [tuple(row) for row in restated] == [("1", 2.0), ("3", 2.0)]


def test_what_was_brought_up_to_yesterday_is_not_asked_again(
    graph: GraphServer, waits: Waits, database: Database
) -> None:
    graph.accounts["555"].fill(date(2024, 9, 24), YESTERDAY)
    assert not sync(database, graph, waits, force=False).skipped
    asked = len(graph.requests)
    again = sync(database, graph, waits, force=False)
    assert (again.skipped, again.fresh, len(graph.requests)) == (True, True, asked)


def test_rate_limits_are_waited_out_as_long_as_the_api_says(
    graph: GraphServer, waits: Waits, database: Database
) -> None:
    graph.accounts["555"].fill(date(2024, 9, 24), YESTERDAY)
    usage = '{"555": [{"type": "ads_insights", "call_count": 100, "estimated_time_to_regain_access": 7}]}'
    graph.failures = [
        (
            400,
            error(80000, "There have been too many calls from this ad-account."),
            {"X-Business-Use-Case-Usage": usage},
        ),
        (400, error(17, "User request limit reached", subcode=2446079), {}),
        (500, error(2, "Service temporarily unavailable"), {}),
    ]
    assert sync(database, graph, waits).error is None
    assert waits.seconds[:3] == [420.0, 10.0, 20.0]


def test_an_expired_token_is_said_and_nothing_is_stored(
    graph: GraphServer, waits: Waits, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    result = sync(database, graph, waits, token="an-expired-token")
    assert "Session has expired; the access token is no longer good" in result.error
    assert not result.fresh
    assert MetricStore(database).daily(1).empty
    assert "an-expired-token" not in result.error
    [status] = AccountStore(database).list()
    assert "Session has expired" in (status.sync_error or "")


def test_without_the_right_to_the_log_rows_come_all_the_same(
    graph: GraphServer, waits: Waits, database: Database
) -> None:
    graph.accounts["555"].fill(date(2024, 9, 24), YESTERDAY)
    graph.denied = {"activities"}
    result = sync(database, graph, waits)
    assert result.error is None
    assert "give the token's user ads_read on act_555" in result.notes[0]
    graph.denied = {"ads"}
    assert "(#200)" in sync(database, graph, waits).error


def test_too_much_data_is_asked_for_in_smaller_pieces(
    graph: GraphServer, waits: Waits, database: Database
) -> None:
    graph.accounts["555"].fill(date(2024, 9, 24), YESTERDAY)
    graph.too_many_days = 2
    assert sync(database, graph, waits).error is None
    assert len(MetricStore(database).daily(1, entity_type=EntityType.AD)) == 14 * 3
    graph.too_many_days = 0
    assert "gives up on a single day" in sync(database, graph, waits).error


def test_an_empty_answer_deletes_nothing(graph: GraphServer, waits: Waits, database: Database) -> None:
    graph.accounts["555"].fill(date(2024, 9, 24), YESTERDAY)
    sync(database, graph, waits)
    graph.accounts["555"].rows.clear()
    assert "nothing was deleted" in sync(database, graph, waits).error
    assert len(MetricStore(database).daily(1, entity_type=EntityType.AD)) == 14 * 3


def test_another_account_is_refused(graph: GraphServer, waits: Waits, database: Database) -> None:
    graph.accounts["555"].fill(date(2024, 9, 24), YESTERDAY)
    graph.accounts["666"] = GraphAccount(number="666")
    graph.accounts["666"].fill(date(2024, 9, 24), YESTERDAY)
    sync(database, graph, waits)
    refused = sync(database, graph, waits, number="666")
    assert "666" in refused.error
