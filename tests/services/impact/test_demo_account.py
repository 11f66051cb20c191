"""The demo's account: what the service says of its changes, held against what they truly did."""

from datetime import date, timedelta

import pytest
from adsml.common.v1 import change_pb2, entity_pb2
from adsml.impact.v1 import impact_service_pb2 as pb
from adsml_common.database import Database
from adsml_common.serving.context import CallContext
from adsml_impact.account_data import StoredAccounts
from adsml_impact.encoding import change_message
from adsml_impact.service import ImpactService
from adsml_simulate import SimulatedAccount, demo, simulate_account
from adsml_simulate.presets import with_clear_changes
from adsml_simulate.storing import write_to_store

LAST = date(2026, 6, 30)
DEMO_SEED = 13
"""As in examples/demo.py."""


@pytest.fixture(scope="module")
def account() -> SimulatedAccount:
    return with_clear_changes(simulate_account(demo(last_day=LAST), seed=DEMO_SEED))


@pytest.fixture(scope="module")
def service(account: SimulatedAccount, tmp_path_factory: pytest.TempPathFactory) -> ImpactService:
    database = Database.open(f"sqlite:///{tmp_path_factory.mktemp('demo') / 'adsml.db'}")
    database.migrate()
    write_to_store(account, database)
    return ImpactService(StoredAccounts(database, today=lambda: LAST + timedelta(days=1)))


def _truth(account: SimulatedAccount, number: int, metric: str) -> float:
    effects = account.truth.effects
    chosen = (effects["change"] == number) & (effects["scope"] == "entity") & (effects["days"] == 7)
    return float(effects[chosen & (effects["metric"] == metric)]["relative"].item())


def _report(service: ImpactService, account: SimulatedAccount, number: int) -> pb.ImpactReport:
    event = account.changes[number]
    treated = entity_pb2.EntityRef(
        config_id=1,
        entity_type=f"ENTITY_TYPE_{event.entity.entity_type.name}",
        entity_id=event.entity.entity_id,
    )
    request = pb.AnalyzeImpactRequest(
        panel=pb.Panel(stored=pb.StoredPanel(treated=[treated])), change=change_message(event)
    )
    return service.AnalyzeImpact(request, CallContext()).report


def _number(account: SimulatedAccount, back: int) -> int:
    planned = account.planned[back]
    return next(
        number
        for number, event in enumerate(account.changes)
        if (event.entity.entity_id, event.date) == (planned.entity_id, planned.date)
    )


@pytest.mark.parametrize(
    ("back", "metric", "verdict"),
    [(-2, "ctr", change_pb2.VERDICT_POSITIVE), (-1, "cpl", change_pb2.VERDICT_NEGATIVE)],
)
def test_two_changes_are_conclusive_by_truth_and_by_answer(
    account: SimulatedAccount, service: ImpactService, back: int, metric: str, verdict: int
) -> None:
    number = _number(account, back)
    report = _report(service, account, number)
    truth = _truth(account, number, metric)
    assert report.verdict == verdict
    assert truth > 0.4
    effect = report.effects[0]
    assert effect.relative_interval.lower <= truth <= effect.relative_interval.upper


def test_one_that_does_little_is_not(account: SimulatedAccount, service: ImpactService) -> None:
    small = [
        number
        for number, event in enumerate(account.changes)
        if event.change_type == "budget_change" and abs(_truth(account, number, "cpl")) < 0.25
    ]
    verdicts = {_report(service, account, number).verdict for number in small}
    assert change_pb2.VERDICT_INCONCLUSIVE in verdicts
    assert not verdicts & {change_pb2.VERDICT_POSITIVE, change_pb2.VERDICT_NEGATIVE}


def test_and_changes_of_a_kind_are_pooled(service: ImpactService) -> None:
    request = pb.SummarizeChangesRequest(config_ids=[1], change_type=change_pb2.CHANGE_TYPE_CREATIVE_CHANGE)
    summary = service.SummarizeChanges(request, CallContext())
    assert summary.pooled.changes >= 2
    assert summary.pooled.interval.lower < summary.pooled.relative < summary.pooled.interval.upper
    assert summary.recommendation.startswith(f"Over {summary.pooled.changes} creative changes")
