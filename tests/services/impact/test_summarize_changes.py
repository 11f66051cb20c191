"""What changes of one kind do together, asked of the service."""

import json
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from adsml.common.v1 import change_pb2, metrics_pb2
from adsml.impact.v1 import impact_service_pb2 as pb
from adsml_common.cli.main import build as build_command
from adsml_common.database import Database
from adsml_common.domain.changes import ChangeEvent, ChangeType
from adsml_common.domain.entities import Entity, EntityRef, EntityType
from adsml_common.domain.errors import FailedPrecondition, PermissionDenied
from adsml_common.serving.context import CallContext, Caller
from adsml_common.store.changes import ChangeStore
from adsml_common.store.entities import EntityStore
from adsml_common.store.metrics import MetricStore
from adsml_impact.account_data import StoredAccounts
from adsml_impact.service import ImpactService
from support.impact import FIRST, make_account
from typer.testing import CliRunner

RAISED, CUT, NEW_AUDIENCE = (0, 1, 2), (3,), (4, 5)
DAYS = {0: 70, 1: 75, 2: 70, 3: 78, 4: 72, 5: 74}


def _event(unit: int, kind: ChangeType, **detail: float) -> ChangeEvent:
    return ChangeEvent(
        EntityRef(1, EntityType.ADSET, f"{unit:03d}"), kind, FIRST + timedelta(days=DAYS[unit]), dict(detail)
    )


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """Three raised budgets and a cut, each of which makes leads dearer or cheaper by a third; two new audiences."""
    folder: Path = tmp_path_factory.mktemp("impact")
    opened = Database.open(f"sqlite:///{folder / 'adsml.db'}")
    opened.migrate()
    account = make_account(units=14, daily_leads=40, noise=0.1)
    for unit in RAISED:
        account.leads[unit, DAYS[unit] :] = np.rint(account.leads[unit, DAYS[unit] :] * 2 / 3)
    for unit in (*CUT, *NEW_AUDIENCE):
        account.leads[unit, DAYS[unit] :] = np.rint(account.leads[unit, DAYS[unit] :] * 3 / 2)
    MetricStore(opened).upsert_daily(1, account.rows(), source="test")
    EntityStore(opened).upsert(Entity(EntityRef(1, EntityType.ADSET, name)) for name in account.names)
    ChangeStore(opened).upsert(
        [
            *(_event(unit, ChangeType.BUDGET_CHANGE, budget_before=50, budget_after=75) for unit in RAISED),
            *(_event(unit, ChangeType.BUDGET_CHANGE, budget_before=75, budget_after=50) for unit in CUT),
            *(_event(unit, ChangeType.AUDIENCE_CHANGE) for unit in NEW_AUDIENCE),
            ChangeEvent(
                EntityRef(1, EntityType.ADSET, "009"), ChangeType.BUDGET_CHANGE, FIRST + timedelta(days=40)
            ),
            ChangeEvent(EntityRef(1, EntityType.ADSET, "010"), ChangeType.AUDIENCE_CHANGE, FIRST),
        ]
    )
    yield opened
    opened.close()


@pytest.fixture
def service(database: Database) -> ImpactService:
    return ImpactService(
        StoredAccounts(database, today=lambda: FIRST + timedelta(days=90)), attribution_lag_days=0
    )


def _ask(service: ImpactService, kind: int, **fields: object) -> pb.SummarizeChangesResponse:
    request = pb.SummarizeChangesRequest(config_ids=[1], change_type=kind, **fields)  # type: ignore[arg-type]
    return service.SummarizeChanges(request, CallContext())


BUDGET = change_pb2.CHANGE_TYPE_BUDGET_CHANGE
AUDIENCE = change_pb2.CHANGE_TYPE_AUDIENCE_CHANGE


def test_raised_budgets_make_leads_dearer_here(service: ImpactService) -> None:
    answer = _ask(service, BUDGET, budget_direction=pb.BUDGET_DIRECTION_RAISE)

    assert answer.primary_metric == metrics_pb2.METRIC_CPL
    assert answer.verdict == change_pb2.VERDICT_NEGATIVE
    pooled = answer.pooled
    assert pooled.changes == 3
    assert pooled.interval.lower < 0.5 < pooled.interval.upper
    assert pooled.prediction_interval.lower <= pooled.interval.lower
    assert pooled.p_value < 0.05
    assert pooled.probability_helps < 0.05
    assert {one.entity.entity_id for one in answer.changes} == {"000", "001", "002"}
    for one in answer.changes:
        low, high = sorted((one.relative, pooled.relative))
        assert low - 0.05 <= one.shrunk_relative <= high + 0.05
        assert one.probability_improved < 0.2
        assert one.change.value_after == 75
    assert "3 budget changes" in answer.recommendation


def test_cuts_count_as_raises_turned_round(service: ImpactService) -> None:
    both = _ask(service, BUDGET)

    assert both.pooled.changes == 4
    assert both.pooled.relative == pytest.approx(0.5, abs=0.2)
    assert "cuts turned" in both.recommendation
    cut = next(one for one in both.changes if one.entity.entity_id == "003")
    assert cut.relative < 0  # its own effect stays as it was
    assert cut.probability_improved > 0.5
    [skipped] = both.skipped
    assert (skipped.entity.entity_id, "budgets" in skipped.reason) == ("009", True)


def test_one_change_is_not_pooled(service: ImpactService) -> None:
    answer = _ask(service, BUDGET, budget_direction=pb.BUDGET_DIRECTION_CUT)

    assert not answer.HasField("pooled")
    assert [one.entity.entity_id for one in answer.changes] == ["003"]
    assert "nothing to pool" in answer.recommendation


def test_changes_are_chosen_by_day_and_those_that_can_not_be_analysed_say_why(service: ImpactService) -> None:
    answer = _ask(service, AUDIENCE)
    assert answer.verdict == change_pb2.VERDICT_POSITIVE
    assert [one.entity.entity_id for one in answer.changes] == ["005", "004"]
    assert "before the change" in answer.skipped[0].reason

    since: date = FIRST + timedelta(days=73)
    later = pb.SummarizeChangesRequest(config_ids=[1], change_type=AUDIENCE)
    later.first_date.year, later.first_date.month, later.first_date.day = since.year, since.month, since.day
    only = service.SummarizeChanges(later, CallContext())
    assert [one.entity.entity_id for one in only.changes] == ["005"]


def test_nothing_to_summarise_says_so(service: ImpactService) -> None:
    with pytest.raises(FailedPrecondition, match="no pause is recorded"):
        _ask(service, change_pb2.CHANGE_TYPE_PAUSE)


def test_other_accounts_are_not_looked_at(service: ImpactService) -> None:
    context = CallContext(caller=Caller("someone", frozenset({2})))
    with pytest.raises(PermissionDenied):
        service.SummarizeChanges(pb.SummarizeChangesRequest(config_ids=[1], change_type=BUDGET), context)


def test_the_command_sends_the_same_request(
    database: Database, service: ImpactService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADSML_DATABASE_URL", str(database.engine.url))
    arguments = ["summarize-changes", "--config-id", "1", "--change-type", "budget_change", "--raises"]
    arguments += ["--attribution-lag-days", "0"]

    printed = CliRunner().invoke(build_command(), [*arguments, "--json"])
    people = CliRunner().invoke(build_command(), arguments)

    assert printed.exit_code == 0, printed.output
    answer = _ask(service, BUDGET, budget_direction=pb.BUDGET_DIRECTION_RAISE)
    assert json.loads(printed.stdout)["pooled"]["relative"] == pytest.approx(answer.pooled.relative)
    assert "NEGATIVE" in people.stdout
    assert "50 to 75" in people.stdout
