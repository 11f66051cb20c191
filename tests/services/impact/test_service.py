"""The service through a real server and stub, from the store and from rows sent along."""

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import grpc
import pytest
import sqlalchemy as sa
from adsml.common.v1 import answer_pb2, change_pb2, entity_pb2, metrics_pb2, warning_pb2
from adsml.impact.v1 import impact_service_pb2 as pb
from adsml.impact.v1 import impact_service_pb2_grpc as impact_grpc
from adsml.registry.v1 import registry_service_pb2 as registry_pb2
from adsml.registry.v1 import registry_service_pb2_grpc as registry_grpc
from adsml.training.v1 import training_service_pb2 as training_pb2
from adsml.training.v1 import training_service_pb2_grpc as training_grpc
from adsml_client import ImpactClient, connect
from adsml_common.database import Database
from adsml_common.domain.changes import ChangeEvent, ChangeType
from adsml_common.domain.entities import Entity, EntityRef, EntityType
from adsml_common.store.changes import ChangeStore
from adsml_common.store.entities import EntityStore
from adsml_common.store.metrics import MetricStore
from adsml_impact import cli
from adsml_impact.account_data import utc_today
from adsml_impact.server import build
from adsml_impact.settings import ImpactSettings
from google.rpc import code_pb2
from google.type import date_pb2
from support.impact import FIRST, Account, make_account
from support.serving import SECONDS, refusal
from typer.testing import CliRunner

DAY = FIRST + timedelta(days=77)


def _day(value: date) -> date_pb2.Date:
    return date_pb2.Date(year=value.year, month=value.month, day=value.day)


CHANGE = change_pb2.ChangeEvent(date=_day(DAY), change_type=change_pb2.CHANGE_TYPE_AUDIENCE_CHANGE)


def _lifted() -> Account:
    """An account whose first ad set gets half as many leads again from the change on."""
    account = make_account()
    account.leads[0, 77:] = (account.leads[0, 77:] * 1.5).round()
    return account


def _ref(name: str, config_id: int = 1) -> entity_pb2.EntityRef:
    return entity_pb2.EntityRef(config_id=config_id, entity_type=entity_pb2.ENTITY_TYPE_ADSET, entity_id=name)


def _series(account: Account, unit: int) -> entity_pb2.InlineSeries:
    rows = [
        metrics_pb2.DailyMetrics(
            date=_day(FIRST + timedelta(days=t)),
            spend=account.spend[unit, t],
            impressions=int(account.impressions[unit, t]),
            clicks=int(account.clicks[unit, t]),
            leads=account.leads[unit, t],
        )
        for t in range(account.days)
    ]
    return entity_pb2.InlineSeries(
        entity_type=entity_pb2.ENTITY_TYPE_ADSET, entity_id=account.names[unit], rows=rows
    )


def _stored(*names: str, **more: object) -> pb.Panel:
    return pb.Panel(stored=pb.StoredPanel(treated=[_ref(name) for name in names], **more))  # type: ignore[arg-type]


def _inline(account: Account, **more: object) -> pb.Panel:
    controls = [_series(account, k) for k in range(1, 12)]
    return pb.Panel(inline=pb.InlinePanel(treated=[_series(account, 0)], controls=controls, **more))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def database_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store with the account, its tree, and the change."""
    url = f"sqlite:///{tmp_path_factory.mktemp('impact') / 'adsml.db'}"
    database = Database.open(url)
    database.migrate()
    account = _lifted()
    MetricStore(database).upsert_daily(1, account.rows(), source="test")
    EntityStore(database).upsert(
        Entity(
            EntityRef(1, EntityType.ADSET, name),
            parent_id=f"C{k // 4}",
            shares_budget=k in (10, 11),
            name="Lookalike" if name == "005" else None,
        )
        for k, name in enumerate(account.names)
    )
    EntityStore(database).upsert([Entity(EntityRef(1, EntityType.ADSET, "empty"))])
    ChangeStore(database).upsert(
        [
            ChangeEvent(EntityRef(1, EntityType.ADSET, "000"), ChangeType.AUDIENCE_CHANGE, DAY),
            ChangeEvent(EntityRef(1, EntityType.ADSET, "005"), ChangeType.BUDGET_CHANGE, DAY),
        ]
    )
    database.close()
    return url


@pytest.fixture(scope="module")
def service(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the service listens."""
    folder = tmp_path_factory.mktemp("service")
    settings = ImpactSettings(
        database_url=database_url, artifact_url=str(folder / "artifacts"), cache_dir=folder / "cache", port=0,
        metrics_port=None, drain_wait_seconds=0, attribution_lag_days=0,
    )  # fmt: skip
    with build(settings).start() as server:
        yield server.target


@pytest.fixture(scope="module")
def stub(service: str) -> Iterator[impact_grpc.ImpactServiceStub]:
    with grpc.insecure_channel(service) as channel:
        yield impact_grpc.ImpactServiceStub(channel)


def _analyze(stub: impact_grpc.ImpactServiceStub, panel: pb.Panel, **options: object) -> pb.ImpactReport:
    request = pb.AnalyzeImpactRequest(panel=panel, change=CHANGE, options=pb.ImpactOptions(**options))  # type: ignore[arg-type]
    return stub.AnalyzeImpact(request, timeout=SECONDS).report


def test_a_stored_change(stub: impact_grpc.ImpactServiceStub) -> None:
    report = _analyze(stub, _stored("000"))

    assert report.verdict == change_pb2.VERDICT_POSITIVE
    assert report.primary_metric == metrics_pb2.METRIC_CPL
    assert report.answered_by.source == answer_pb2.ANSWER_SOURCE_METHOD
    assert report.answered_by.method == "pooled_placebo"
    effect = report.effects[0]
    assert effect.relative == pytest.approx(1 / 1.5 - 1, abs=0.08)
    assert effect.relative_interval.level == pytest.approx(0.95)
    assert effect.p_value < 0.05
    assert effect.HasField("naive")
    assert effect.verdict == report.verdict
    days = {(one.date.year, one.date.month, one.date.day) for one in effect.series}
    assert (DAY.year, DAY.month, DAY.day) in days
    assert len(days) == 63
    assert effect.series[-1].cumulative_effect == pytest.approx(effect.absolute)
    used = {control.entity.entity_id for control in report.controls}
    assert "005" not in used  # changed on the same day
    assert sum(control.weight for control in report.controls) == pytest.approx(1)
    assert report.false_positive_rate.analyses > 50
    assert 0 <= report.false_positive_rate.rate <= 0.2
    assert report.recommendation
    assert any('"Lookalike" was changed itself' in warning.message for warning in report.warnings)


def test_stored_and_inline_give_the_same_answer(stub: impact_grpc.ImpactServiceStub) -> None:
    controls = [_ref(f"{k:03d}") for k in range(1, 10)]
    stored = _analyze(stub, _stored("000", controls=controls), omit_series=True)
    sent = _inline(_lifted())
    del sent.inline.controls[9:]
    change = change_pb2.ChangeEvent(date=_day(DAY), change_type=change_pb2.CHANGE_TYPE_BUDGET_CHANGE)
    sent.inline.changes.add(entity_id="005", change=change)
    inline = _analyze(stub, sent, omit_series=True)

    assert not stored.effects[0].series
    for one, other in zip(stored.effects, inline.effects, strict=True):
        assert one.metric == other.metric
        assert one.relative == pytest.approx(other.relative)
        assert one.p_value == pytest.approx(other.p_value)
    for report in (stored, inline):
        assert [one.entity.entity_id for one in report.excluded_controls] == ["005"]
    assert stored.probability_helped == pytest.approx(inline.probability_helped)
    assert stored.weekly_gain == inline.weekly_gain


def test_the_window_is_read_by_one_query(database_url: str) -> None:
    from adsml_impact.account_data import StoredAccounts

    database = Database.open(database_url)
    statements: list[str] = []
    sa.event.listen(
        database.engine, "before_cursor_execute", lambda *args: statements.append(str(args[2]).lower())
    )
    data = StoredAccounts(database).read(1, EntityType.ADSET, since=FIRST)
    database.close()

    assert data.rows["entity_id"].nunique() == 12
    assert sum("daily_metrics" in statement for statement in statements) == 1


def test_a_batch_fails_one_by_one(stub: impact_grpc.ImpactServiceStub) -> None:
    items = [
        pb.AnalyzeImpactItem(panel=_stored("000"), change=CHANGE),
        pb.AnalyzeImpactItem(panel=_stored("nobody"), change=CHANGE),
        pb.AnalyzeImpactItem(panel=_stored("empty"), change=CHANGE),
        pb.AnalyzeImpactItem(panel=_inline(_lifted()), change=CHANGE),
        pb.AnalyzeImpactItem(
            panel=_inline(_lifted()), change=change_pb2.ChangeEvent(change_type=CHANGE.change_type)
        ),
        pb.AnalyzeImpactItem(panel=_stored("001", controls=[_ref("001")]), change=CHANGE),
    ]
    results = stub.BatchAnalyzeImpact(pb.BatchAnalyzeImpactRequest(items=items), timeout=SECONDS).results

    assert [one.WhichOneof("result") for one in results] == [
        "report",
        "error",
        "error",
        "report",
        "error",
        "error",
    ]
    assert [one.error.code for one in results if one.HasField("error")] == [
        code_pb2.NOT_FOUND,
        code_pb2.FAILED_PRECONDITION,
        code_pb2.INVALID_ARGUMENT,
        code_pb2.INVALID_ARGUMENT,
    ]
    assert not results[0].report.effects[0].series  # batches leave series out unless asked
    assert results[1].treated[0].entity_id == "nobody"
    alone = _analyze(stub, _stored("000"))
    assert results[0].report.effects[0].p_value == pytest.approx(alone.effects[0].p_value)


def test_detectable_effect_of_a_planned_change(stub: impact_grpc.ImpactServiceStub) -> None:
    request = pb.EstimateDetectableEffectRequest(
        panel=_stored("001"),
        change=change_pb2.ChangeEvent(change_type=change_pb2.CHANGE_TYPE_CREATIVE_CHANGE),
        target_relative=-0.05,
    )
    answer = stub.EstimateDetectableEffect(request, timeout=SECONDS)

    first = answer.effects[0]
    assert first.metric == metrics_pb2.METRIC_CTR
    assert 0 < first.relative_up < 0.5
    assert -0.5 < first.relative_down < 0
    assert len(first.power_curve) == 32
    assert first.power == pytest.approx(0.8)
    assert first.target_relative == pytest.approx(-0.05)
    assert answer.placebos > 50


def test_pause_from_rows_without_the_account_says_so(stub: impact_grpc.ImpactServiceStub) -> None:
    account = make_account()
    for values in (account.spend, account.impressions, account.clicks, account.leads):
        values[0, 77:] = 0
    request = pb.AnalyzeImpactRequest(
        panel=_inline(account),
        change=change_pb2.ChangeEvent(date=_day(DAY), change_type=change_pb2.CHANGE_TYPE_PAUSE),
    )
    report = stub.AnalyzeImpact(request, timeout=SECONDS).report

    assert warning_pb2.WARNING_TYPE_ACCOUNT_UNKNOWN in {warning.type for warning in report.warnings}
    assert report.manipulation_check.passed
    assert report.effects[0].scope == pb.EFFECT_SCOPE_ACCOUNT
    assert report.answered_by.method == "structural"
    assert report.answered_by.reason


def test_errors_are_statuses_with_their_place(stub: impact_grpc.ImpactServiceStub) -> None:
    unknown = refusal(lambda: _analyze(stub, _stored("nobody")))
    assert unknown.code is grpc.StatusCode.NOT_FOUND

    future = change_pb2.ChangeEvent(
        date=_day(utc_today() + timedelta(days=30)), change_type=change_pb2.CHANGE_TYPE_AUDIENCE_CHANGE
    )
    late = refusal(
        lambda: stub.AnalyzeImpact(
            pb.AnalyzeImpactRequest(panel=_stored("000"), change=future), timeout=SECONDS
        )
    )
    assert late.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "change.date" in late.violations

    early = change_pb2.ChangeEvent(date=_day(FIRST), change_type=change_pb2.CHANGE_TYPE_AUDIENCE_CHANGE)
    first = refusal(
        lambda: stub.AnalyzeImpact(
            pb.AnalyzeImpactRequest(panel=_stored("000"), change=early), timeout=SECONDS
        )
    )
    assert first.code is grpc.StatusCode.FAILED_PRECONDITION
    assert first.info.metadata == {"days_had": "0", "days_needed": "3"}

    mixed = pb.Panel(
        stored=pb.StoredPanel(
            treated=[_ref("000"), _ref("001", config_id=2)],
        )
    )
    assert "panel.stored.treated[1]" in refusal(lambda: _analyze(stub, mixed)).violations

    empty = refusal(lambda: stub.AnalyzeImpact(pb.AnalyzeImpactRequest(), timeout=SECONDS))
    assert "panel" in empty.violations
    undated = pb.AnalyzeImpactRequest(panel=_inline(_lifted()))
    assert "change.date" in refusal(lambda: stub.AnalyzeImpact(undated, timeout=SECONDS)).violations
    unrecorded = pb.AnalyzeImpactRequest(panel=_stored("001"))
    nothing = refusal(lambda: stub.AnalyzeImpact(unrecorded, timeout=SECONDS))
    assert nothing.code is grpc.StatusCode.NOT_FOUND
    assert "no change of adset 001" in nothing.message


def test_rows_that_no_model_may_see_are_named(stub: impact_grpc.ImpactServiceStub) -> None:
    panel = _inline(_lifted())
    panel.inline.controls[2].rows[5].spend = -1.0
    panel.inline.controls[3].entity_id = panel.inline.controls[2].entity_id

    found = refusal(lambda: _analyze(stub, panel)).violations

    assert "panel.inline.controls[2].rows[5].spend" in found


def test_the_command_answers_from_the_store(
    database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    from adsml_common.cli.main import build as build_command

    monkeypatch.setenv("ADSML_DATABASE_URL", database_url)
    drawn = f"{tmp_path}/effect.svg"
    arguments = [
        "impact", "--config-id", "1", "--entity-id", "000", "--attribution-lag-days", "0", "--plot", drawn, "--json",
    ]  # fmt: skip

    result = CliRunner().invoke(build_command(), arguments)

    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    report = found["report"]
    assert report["verdict"] == "VERDICT_POSITIVE"
    assert report["change"]["date"] == {"year": DAY.year, "month": DAY.month, "day": DAY.day}
    assert report["effects"][0]["relative_interval"]["upper"] < 0
    assert open(drawn).read().startswith("<svg")  # noqa: PTH123, SIM115
    people = CliRunner().invoke(build_command(), arguments[:-1])
    assert "POSITIVE" in people.stdout


@pytest.mark.parametrize(
    ("arguments", "begins"),
    [
        (["impact", "--entity-id", "000", "--attribution-lag-days", "0"], "It helped (POSITIVE). Cost per lead fell"),
        (["detectable", "--entity-id", "001", "--change-type", "creative_change", "--target", "-0.05"],
         "With 7 days after the change, click-through rate of 001 must fall by"),
        (["summarize-changes", "--change-type", "audience_change", "--attribution-lag-days", "0"],
         "It helped (POSITIVE). Only one audience change"),
    ],
)  # fmt: skip
def test_answers_begin_with_their_sentence_and_fit_a_terminal(
    database_url: str, monkeypatch: pytest.MonkeyPatch, arguments: list[str], begins: str
) -> None:
    from adsml_common.cli.main import build as build_command

    monkeypatch.setenv("ADSML_DATABASE_URL", database_url)
    monkeypatch.setenv("COLUMNS", "80")
    printed = CliRunner().invoke(build_command(), [arguments[0], "--config-id", "1", *arguments[1:]])
    assert printed.exit_code == 0, printed.output
    assert " ".join(printed.stdout.split()).startswith(begins)
    assert max(map(len, printed.stdout.splitlines())) <= 80
    assert "nan" not in printed.stdout


def test_nothing_heavy_is_imported_for_the_commands_help() -> None:
    code = "import sys; import adsml_impact.cli; print([m for m in ('numpy', 'pandas', 'grpc') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert cli.family.name == "impact"


def test_a_client_nobody_here_wrote_finds_its_way_by_reflection(service: str) -> None:
    buf = Path(sys.executable).parent / "buf"
    treated = {"configId": "1", "entityType": "ENTITY_TYPE_ADSET", "entityId": "000"}
    body = {
        "panel": {"stored": {"treated": [treated]}},
        "change": {
            "date": {"year": DAY.year, "month": DAY.month, "day": DAY.day},
            "changeType": "CHANGE_TYPE_AUDIENCE_CHANGE",
        },
    }
    ran = subprocess.run(
        [str(buf), "curl", "--protocol", "grpc", "--http2-prior-knowledge", "--reflect", "--data", json.dumps(body),
         f"http://{service}/adsml.impact.v1.ImpactService/AnalyzeImpact"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    report = json.loads(ran.stdout)["report"]
    assert report["verdict"] == "VERDICT_POSITIVE"
    assert report["effects"][0]["series"]
    assert report["answeredBy"]["method"] == "pooled_placebo"


def test_the_client_library_reads_the_answer(service: str) -> None:
    with connect(service) as connection:
        report = ImpactClient(connection).analyze_impact(panel=_stored("000"), change=CHANGE).report
    assert report.verdict == change_pb2.VERDICT_POSITIVE
    assert report.effects[0].relative_interval.upper < 0


def test_it_trains_nothing_and_says_so(service: str) -> None:
    with grpc.insecure_channel(service) as channel:
        listed = registry_grpc.ModelRegistryServiceStub(channel).ListModels(
            registry_pb2.ListModelsRequest(family=answer_pb2.FAMILY_IMPACT)
        )
        started = refusal(
            lambda: training_grpc.TrainingServiceStub(channel).StartTraining(
                training_pb2.StartTrainingRequest(
                    family=answer_pb2.FAMILY_IMPACT, request_id="r", job=training_pb2.TRAINING_JOB_PROPHET,
                    scope=training_pb2.TrainingScope(config_ids=[1]),
                )
            )
        )  # fmt: skip
    assert not listed.models
    assert started.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "trains nothing" in started.message
