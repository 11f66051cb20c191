"""The anomaly service through a real server: answers, batches, feedback, bad input."""

import math
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import fields
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import grpc
import numpy as np
import pytest
from adsml.anomaly.v1 import anomaly_service_pb2 as pb
from adsml.anomaly.v1 import anomaly_service_pb2_grpc as pb_grpc
from adsml.common.v1 import answer_pb2, entity_pb2, feedback_pb2, metrics_pb2
from adsml.registry.v1 import registry_service_pb2 as registry_pb2
from adsml.registry.v1 import registry_service_pb2_grpc as registry_grpc
from adsml.training.v1 import training_service_pb2 as training_pb2
from adsml.training.v1 import training_service_pb2_grpc as training_grpc
from adsml_anomaly.server import build
from adsml_anomaly.settings import AnomalySettings
from adsml_common.database import Database
from adsml_common.domain.entities import EntityType
from adsml_common.registry.artifacts import ArtifactStore
from adsml_common.registry.models import Candidate, ModelStatus, ModelVersion
from adsml_common.registry.registry import ModelRegistry
from adsml_simulate import SimulatedAccount
from adsml_simulate.storing import write_to_store
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2
from google.type import date_pb2
from support.databases import postgresql_database
from support.serving import eventually, refusal

from .conftest import LAST_DAY

CAMPAIGN, ADSET = entity_pb2.ENTITY_TYPE_CAMPAIGN, entity_pb2.ENTITY_TYPE_ADSET
INVALID = grpc.StatusCode.INVALID_ARGUMENT.value[0]
TOO_LITTLE = grpc.StatusCode.FAILED_PRECONDITION.value[0]
UNKNOWN = grpc.StatusCode.NOT_FOUND.value[0]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def settings(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    trained_folder: Path,
    account: SimulatedAccount,
) -> Iterator[AnomalySettings]:
    """Settings of a service on a stored account with trained models, on either database."""
    folder = tmp_path_factory.mktemp("anomaly") / "shop"
    with ExitStack() as stack:
        if request.param == "sqlite":
            shutil.copytree(trained_folder, folder)
            url = f"sqlite:///{folder / 'adsml.db'}"
        else:
            server, template = map(request.getfixturevalue, ("postgresql", "postgresql_template"))
            url = stack.enter_context(postgresql_database(server, template=template))
            move(account, trained_folder, url, folder)
        yield AnomalySettings(
            ADSML_DATABASE_URL=url,
            ADSML_ARTIFACT_URL=str(folder / "artifacts"),
            ADSML_CACHE_DIR=folder / "cache",
            port=0,
            drain_wait_seconds=0,
            poll_seconds=0.2,
        )


def move(account: SimulatedAccount, trained: Path, url: str, folder: Path) -> None:
    """The stored account and its models to another database, by the registry's own doors."""
    old, new = Database.open(f"sqlite:///{trained / 'adsml.db'}"), Database.open(url)
    write_to_store(account, new)
    source = ModelRegistry(old, ArtifactStore(str(trained / "artifacts"), cache_dir=folder / "mover"))
    target = ModelRegistry(new, ArtifactStore(str(folder / "artifacts"), cache_dir=folder / "mover"))
    shared = {one.name for one in fields(Candidate)} & set(ModelVersion.__slots__)
    for version in source.iterate(status=ModelStatus.ACTIVE):
        kept = {name: getattr(version, name) for name in shared}
        made = target.register(Candidate(**kept, files=source.read(version).files))
        target.activate(made.name, made.version, actor="test", reason="moved")
    old.close()
    new.close()


@pytest.fixture(scope="module")
def channel(settings: AnomalySettings) -> Iterator[grpc.Channel]:
    with build(settings).start() as server, grpc.insecure_channel(server.target) as opened:
        yield opened


@pytest.fixture(scope="module")
def stub(channel: grpc.Channel) -> pb_grpc.AnomalyServiceStub:
    return pb_grpc.AnomalyServiceStub(channel)


def ids(account: SimulatedAccount, level: EntityType = EntityType.ADSET) -> list[str]:
    return [one.ref.entity_id for one in account.entities if one.ref.entity_type is level]


def stored(entity_id: str, *, config_id: int = 1, level: int = ADSET) -> pb.DetectionSubject:
    ref = entity_pb2.EntityRef(config_id=config_id, entity_type=level, entity_id=entity_id)
    return pb.DetectionSubject(entity=ref)


def day(one: date) -> date_pb2.Date:
    return date_pb2.Date(year=one.year, month=one.month, day=one.day)


def row(back: int, **given: float) -> metrics_pb2.DailyMetrics:
    values = {"spend": 50.0, "impressions": 5000, "clicks": 80, "leads": 8, **given}
    return metrics_pb2.DailyMetrics(date=day(LAST_DAY - timedelta(days=back)), **values)


def weeks(days: int, *, seed: int = 0) -> list[metrics_pb2.DailyMetrics]:
    """Ordinary days, oldest first."""
    rng = np.random.default_rng(seed)
    return [
        row(
            back,
            spend=round(50 * float(np.exp(0.1 * rng.standard_normal())), 2),
            impressions=int(rng.poisson(5000)),
            clicks=int(rng.poisson(80)),
            leads=int(rng.poisson(8)),
        )
        for back in range(days - 1, -1, -1)
    ]


def inline(rows: Sequence[metrics_pb2.DailyMetrics], **more: object) -> pb.DetectionSubject:
    return pb.DetectionSubject(inline=entity_pb2.InlineSeries(entity_type=ADSET, rows=rows, **more))


def hourly(values: Sequence[float | None], **more: object) -> pb.DetectionSubject:
    points = [
        pb.Point(time=Timestamp(seconds=1_760_000_400 + 3600 * i), value=value)
        for i, value in enumerate(values)
    ]
    return pb.DetectionSubject(points=pb.PointSeries(name="cpc", points=points, **more))


def season(hours: int) -> list[float]:
    rng = np.random.default_rng(1)
    return [
        float(np.exp(0.5 * math.sin(2 * math.pi * t / 24) + 0.1 * rng.standard_normal()))
        for t in range(hours)
    ]


def detect(
    stub: pb_grpc.AnomalyServiceStub, series: pb.DetectionSubject, **options: object
) -> pb.AnomalyReport:
    request = pb.DetectAnomaliesRequest(subject=series, options=pb.DetectionOptions(**options))
    return stub.DetectAnomalies(request).report


class TestDetect:
    """One series."""

    def test_an_entity_is_judged_by_its_own_model_and_every_number_is_there(
        self, stub: pb_grpc.AnomalyServiceStub, account: SimulatedAccount
    ) -> None:
        entity_id = ids(account, EntityType.CAMPAIGN)[0]
        report = detect(stub, stored(entity_id, level=CAMPAIGN), first_date=day(LAST_DAY - timedelta(days=9)))
        assert report.answered_by.source == answer_pb2.ANSWER_SOURCE_MODEL
        assert report.answered_by.model.name == f"anomaly/1/campaign/{entity_id}"
        assert report.answered_by.model.version == 1
        assert report.answered_by.model.HasField("train_time")
        assert not report.degradations
        assert report.entity.entity_id == entity_id
        assert [one.date for one in report.days] == [
            day(LAST_DAY - timedelta(days=b)) for b in range(9, -1, -1)
        ]
        for one in report.days:
            assert 0 < one.p_value <= 1
            assert one.scores.HasField("isolation_forest")
            assert one.scores.HasField("max_robust_z")
            assert one.scores.HasField("mahalanobis")
            assert len(one.metrics) == 10
            assert sum(metric.attribution for metric in one.metrics) == pytest.approx(1.0)
            shares = [metric.attribution for metric in one.metrics]
            assert shares == sorted(shares, reverse=True)
            for metric in one.metrics:
                low, high = metric.expected_range.lower, metric.expected_range.upper
                assert low <= metric.expected <= high
                assert 0.9 < metric.expected_range.level < 1
            if not one.anomalous:
                assert (one.severity, one.incident_id, one.summary) == (pb.SEVERITY_NONE, "", "")
        assert report.threshold.p_value == pytest.approx(1 / 30)
        assert report.threshold.feedback_count == 0

    def test_contamination_is_a_share_of_days(
        self, stub: pb_grpc.AnomalyServiceStub, account: SimulatedAccount
    ) -> None:
        report = detect(stub, stored(ids(account)[0]), contamination=0.1)
        assert report.threshold.p_value == pytest.approx(0.1)
        assert report.threshold.false_alarms_per_month == pytest.approx(3.0)

    def test_alarms_alone_are_the_alarms_among_all_days(
        self, stub: pb_grpc.AnomalyServiceStub, account: SimulatedAccount
    ) -> None:
        """The quick look that alarms alone are found by gives what the whole report gives."""
        series = [
            stored(
                one.ref.entity_id,
                level=entity_pb2.EntityType.Value(f"ENTITY_TYPE_{one.ref.entity_type.name}"),
            )
            for one in account.entities
        ]
        first = day(LAST_DAY - timedelta(days=40))
        told = {}
        for alone in (False, True):
            options = pb.DetectionOptions(first_date=first, anomalous_only=alone, false_alarms_per_month=3)
            answer = stub.BatchDetectAnomalies(
                pb.BatchDetectAnomaliesRequest(subjects=series, options=options)
            )
            told[alone] = [
                [d for d in one.report.days if d.anomalous] + list(one.report.incidents)
                for one in answer.results
            ]
        assert told[True] == told[False]
        assert sum(map(len, told[True])) > 20

    def test_rows_sent_along_need_no_store(self, stub: pb_grpc.AnomalyServiceStub) -> None:
        rows = weeks(60)
        rows[-1].leads = 0
        rows[-1].clicks = 90
        report = detect(stub, inline(rows, entity_id="mine"))
        assert report.answered_by.source == answer_pb2.ANSWER_SOURCE_METHOD
        assert report.answered_by.method == "own_history"
        assert report.answered_by.reason
        assert report.entity.entity_id == "mine"
        [one] = report.days
        assert one.anomalous
        assert pb.ALARM_RULE_LEADS_STOPPED in [alarm.rule for alarm in one.rule_alarms]
        assert one.severity == pb.SEVERITY_CRITICAL
        assert one.metrics[0].metric == metrics_pb2.METRIC_LEADS
        assert [one.message for one in report.warnings] == ["reach is missing: frequency was not looked at"]

    def test_rows_of_a_known_account_are_judged_by_its_profile(
        self, stub: pb_grpc.AnomalyServiceStub
    ) -> None:
        report = detect(stub, inline(weeks(20), config_id=1, entity_id="new"))
        assert report.answered_by.source == answer_pb2.ANSWER_SOURCE_POOLED
        assert report.answered_by.method == "robust_z_account_profile"
        assert report.answered_by.model.name == "anomaly/1/adset"
        assert not report.days[0].scores.HasField("isolation_forest")
        assert [one.reason for one in report.degradations] == [answer_pb2.DEGRADATION_REASON_NO_MODEL]

    def test_hourly_values(self, stub: pb_grpc.AnomalyServiceStub) -> None:
        values: list[float | None] = list(season(24 * 21))
        values[-5] = values[-5] * 8  # type: ignore[operator]
        values[100] = None
        for given in ({}, {"season_length": 24}):
            report = detect(stub, hourly(values, **given), false_alarms_per_month=0.05)
            assert len(report.days) == len(values)
            assert report.days[-5].anomalous
            assert report.days[-5].direction == pb.DIRECTION_UP
            assert report.days[-5].time.seconds == 1_760_000_400 + 3600 * (len(values) - 5)
            assert not report.days[100].HasField("p_value")
            assert sum(one.anomalous for one in report.days) <= 3
            [incident] = [one for one in report.incidents if one.first_time == report.days[-5].time]
            assert incident.summary
        assert report.entity.entity_id == "cpc"

    def test_holidays_are_marked_and_raise_nothing(self, stub: pb_grpc.AnomalyServiceStub) -> None:
        rows = weeks(60)
        rows[-1].spend *= 5
        report = detect(stub, inline(rows), excluded_dates=[day(LAST_DAY)])
        assert [(one.anomalous, one.excluded) for one in report.days] == [(False, True)]
        assert str(LAST_DAY) in report.days[0].exclusion_reason
        assert not report.incidents


class TestOddRows:
    """Whatever is sent, the answer is a report or says what is wrong and where."""

    @pytest.mark.parametrize("days", [1, 7])
    def test_too_little_history_says_how_much_there_is(
        self, stub: pb_grpc.AnomalyServiceStub, days: int
    ) -> None:
        error = refusal(lambda: detect(stub, inline(weeks(days))))
        assert error.code is grpc.StatusCode.FAILED_PRECONDITION
        assert error.info.metadata["days_had"] == str(days)
        assert int(error.info.metadata["days_needed"]) > days

    def test_nothing_delivered_at_all(self, stub: pb_grpc.AnomalyServiceStub) -> None:
        rows = [row(back, spend=0, impressions=0, clicks=0, leads=0) for back in range(60, -1, -1)]
        error = refusal(lambda: detect(stub, inline(rows)))
        assert error.code is grpc.StatusCode.FAILED_PRECONDITION
        assert error.info.metadata["days_had"] == "0"

    def test_gaps_are_days_without_delivery(self, stub: pb_grpc.AnomalyServiceStub) -> None:
        rows = weeks(90)
        report = detect(stub, inline(rows[:40] + rows[55:]), first_date=day(LAST_DAY - timedelta(days=60)))
        assert len(report.days) == 61
        assert any(pb.ALARM_RULE_ABSENT_DATA in [a.rule for a in one.rule_alarms] for one in report.days)
        gap = [one for one in report.days if not one.HasField("p_value")]
        assert len(gap) == 15

    def test_the_order_of_rows_does_not_matter(self, stub: pb_grpc.AnomalyServiceStub) -> None:
        rows = weeks(60)
        assert detect(stub, inline(rows)) == detect(stub, inline(rows[::-1]))

    def test_constant_rows_are_survived(self, stub: pb_grpc.AnomalyServiceStub) -> None:
        rows = [row(back) for back in range(60, -1, -1)]
        report = detect(stub, inline(rows))
        assert not report.days[0].anomalous
        rows[-1].spend = 500
        assert detect(stub, inline(rows)).days[0].anomalous

    def test_leads_or_clicks_or_money_that_never_were(self, stub: pb_grpc.AnomalyServiceStub) -> None:
        for name in ("spend", "impressions", "clicks", "leads"):
            rows = weeks(60)
            for one in rows:
                setattr(one, name, 0)
            report = detect(stub, inline(rows))
            assert len(report.days) == 1
            for metric in report.days[0].metrics:
                for value in (metric.expected, metric.expected_range.lower, metric.robust_z):
                    assert not math.isnan(value)

    def test_numbers_at_the_edge_of_what_is_allowed(self, stub: pb_grpc.AnomalyServiceStub) -> None:
        rows = weeks(60)
        rows[-1].spend, rows[-1].impressions, rows[-1].clicks = 1e12, 10**12, 10**12
        [one] = detect(stub, inline(rows)).days
        assert one.anomalous
        assert one.severity == pb.SEVERITY_CRITICAL
        assert 0 <= one.p_value <= 1

    @pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, -1.0])
    def test_values_that_are_none(self, stub: pb_grpc.AnomalyServiceStub, bad: float) -> None:
        rows = weeks(30)
        rows[3].spend = bad
        rows[20].leads = bad
        error = refusal(lambda: detect(stub, inline(rows)))
        assert error.code is grpc.StatusCode.INVALID_ARGUMENT
        assert set(error.violations) == {"subject.inline.rows[3].spend", "subject.inline.rows[20].leads"}

    def test_a_day_twice(self, stub: pb_grpc.AnomalyServiceStub) -> None:
        rows = weeks(30)
        error = refusal(lambda: detect(stub, inline([*rows, rows[4]])))
        assert error.code is grpc.StatusCode.INVALID_ARGUMENT
        assert any(path.startswith("subject.inline.rows[") for path in error.violations)

    def test_points_that_make_no_series(self, stub: pb_grpc.AnomalyServiceStub) -> None:
        values = season(48)
        source = hourly(values)
        source.points.points[3].value = math.nan
        source.points.points[7].ClearField("time")
        error = refusal(lambda: detect(stub, source))
        assert set(error.violations) == {"subject.points.points[3].value", "subject.points.points[7].time"}
        source = hourly(values)
        source.points.points[9].time.seconds = source.points.points[8].time.seconds
        error = refusal(lambda: detect(stub, source))
        assert set(error.violations) == {"subject.points.points[9].time"}
        assert refusal(lambda: detect(stub, hourly([None] * 20))).violations == {
            "subject.points.points": "holds no value"
        }
        assert set(refusal(lambda: detect(stub, hourly(season(5)))).violations) == {"subject.points.points"}


class TestBadRequests:
    """Everything that is wrong is said at once, with its path."""

    def test_all_violations_at_once(self, stub: pb_grpc.AnomalyServiceStub) -> None:
        error = refusal(
            lambda: detect(
                stub,
                stored("", config_id=-1),
                first_date=date_pb2.Date(year=2026, month=2, day=30),
                false_alarms_per_month=11,
                metrics=[metrics_pb2.METRIC_SPEND, 99],
            )
        )
        assert error.code is grpc.StatusCode.INVALID_ARGUMENT
        assert set(error.violations) == {
            "subject.entity.config_id",
            "subject.entity.entity_id",
            "options.first_date",
            "options.false_alarms_per_month",
            "options.metrics[1]",
        }

    def test_no_series(self, stub: pb_grpc.AnomalyServiceStub) -> None:
        error = refusal(lambda: stub.DetectAnomalies(pb.DetectAnomaliesRequest()))
        assert error.code is grpc.StatusCode.INVALID_ARGUMENT

    def test_days_far_behind_the_series_and_days_out_of_order(
        self, stub: pb_grpc.AnomalyServiceStub, account: SimulatedAccount
    ) -> None:
        for source in (stored(ids(account)[0]), inline(weeks(60))):
            error = refusal(
                lambda source=source: detect(stub, source, as_of_date=day(LAST_DAY + timedelta(days=401)))
            )
            assert set(error.violations) == {"options.as_of_date"}
            assert str(LAST_DAY) in error.violations["options.as_of_date"]
        backwards = refusal(
            lambda: detect(
                stub,
                inline(weeks(60)),
                first_date=day(LAST_DAY),
                as_of_date=day(LAST_DAY - timedelta(days=3)),
            )
        )
        assert "first_date comes after as_of_date" in str(backwards.violations)

    def test_an_entity_nobody_stored(self, stub: pb_grpc.AnomalyServiceStub) -> None:
        assert refusal(lambda: detect(stub, stored("no-such"))).code is grpc.StatusCode.NOT_FOUND
        assert refusal(lambda: detect(stub, stored("1", config_id=77))).code is grpc.StatusCode.NOT_FOUND

    def test_frequency_alone_needs_reach(self, stub: pb_grpc.AnomalyServiceStub) -> None:
        error = refusal(lambda: detect(stub, inline(weeks(60)), metrics=[metrics_pb2.METRIC_FREQUENCY]))
        assert error.violations == {"options.metrics": "needs reach, which is missing; ask for other metrics"}


class TestBatch:
    """Many series."""

    def test_series_fail_one_by_one(
        self, stub: pb_grpc.AnomalyServiceStub, account: SimulatedAccount
    ) -> None:
        good = ids(account)[0]
        bad = weeks(30)
        bad[2].spend = math.nan
        series = [
            stored("no-such-adset"),
            stored(good),
            stored(good, config_id=99),
            inline(bad),
            pb.DetectionSubject(),
            inline(weeks(3)),
            hourly(season(72)),
            stored(good),
        ]
        answer = stub.BatchDetectAnomalies(pb.BatchDetectAnomaliesRequest(subjects=series))
        codes = [one.error.code if one.HasField("error") else 0 for one in answer.results]
        assert codes == [UNKNOWN, 0, UNKNOWN, INVALID, INVALID, TOO_LITTLE, 0, 0]
        assert answer.results[1].report == answer.results[7].report
        assert answer.results[0].entity.entity_id == "no-such-adset"
        assert "subjects[3].inline.rows[2].spend" in answer.results[3].error.message
        details = answer.results[3].error.details
        assert any(one.Is(error_details_pb2.BadRequest.DESCRIPTOR) for one in details)
        alone = detect(stub, stored(good))
        assert answer.results[1].report == alone

    def test_an_empty_or_too_large_batch_is_refused(self, stub: pb_grpc.AnomalyServiceStub) -> None:
        for series in ([], [stored("1")] * 1001):
            error = refusal(
                lambda series=series: stub.BatchDetectAnomalies(
                    pb.BatchDetectAnomaliesRequest(subjects=series)
                )
            )
            assert error.code is grpc.StatusCode.INVALID_ARGUMENT
            assert set(error.violations) == {"subjects"}


class TestFeedback:
    """Judgements of people."""

    def test_it_moves_the_threshold_once_per_person_and_day(
        self, stub: pb_grpc.AnomalyServiceStub, account: SimulatedAccount
    ) -> None:
        entity = stored(ids(account)[1])
        request = pb.RecordFeedbackRequest(
            feedback=feedback_pb2.Feedback(entity=entity.entity, date=day(LAST_DAY), person="ada"),
            judgement=pb.ALARM_JUDGEMENT_FALSE_ALARM,
        )
        first = stub.RecordFeedback(request)
        assert first.receipt.changed
        assert not first.HasField("replaced_judgement")
        assert first.threshold_before.false_alarms_per_month == pytest.approx(1.0)
        # A false alarm divides the rate by the square root of 2, and that fades by half in 90 days.
        after = first.threshold_after.false_alarms_per_month
        age = (datetime.now(UTC).date() - LAST_DAY).days
        assert after == pytest.approx(2 ** (-0.5 * 0.5 ** (age / 90)))
        again = stub.RecordFeedback(request)
        assert not again.receipt.changed
        assert again.threshold_after == first.threshold_after
        assert again.receipt.record_time == first.receipt.record_time
        told = detect(stub, entity).threshold
        assert (told.false_alarms_per_month, told.feedback_count) == (pytest.approx(after), 1)
        # On one day the last word counts, whoever spoke it; another day counts on top.
        request.feedback.person = "grace"
        assert stub.RecordFeedback(request).threshold_after == first.threshold_after
        request.judgement = pb.ALARM_JUDGEMENT_MISSED_ALARM
        other = stub.RecordFeedback(request)
        assert other.replaced_judgement == pb.ALARM_JUDGEMENT_FALSE_ALARM
        assert other.threshold_after.false_alarms_per_month > 1
        request.judgement = pb.ALARM_JUDGEMENT_FALSE_ALARM
        stub.RecordFeedback(request)
        request.feedback.date.CopyFrom(day(LAST_DAY - timedelta(days=7)))
        both = stub.RecordFeedback(request).threshold_after
        assert (both.feedback_count, both.false_alarms_per_month < after) == (2, True)
        assert detect(stub, stored(ids(account)[2])).threshold.feedback_count == 0

    def test_it_must_name_an_entity_a_day_a_judgement_and_a_person(
        self, stub: pb_grpc.AnomalyServiceStub, account: SimulatedAccount
    ) -> None:
        error = refusal(lambda: stub.RecordFeedback(pb.RecordFeedbackRequest()))
        assert error.code is grpc.StatusCode.INVALID_ARGUMENT
        assert {"feedback", "judgement"} == set(error.violations)
        request = pb.RecordFeedbackRequest(
            feedback=feedback_pb2.Feedback(entity=stored(ids(account)[0]).entity, date=day(LAST_DAY)),
            judgement=pb.ALARM_JUDGEMENT_TRUE_ALARM,
        )
        assert set(refusal(lambda: stub.RecordFeedback(request)).violations) == {"feedback.person"}
        request.feedback.person = "ada"
        request.feedback.date.year = 2099
        assert set(refusal(lambda: stub.RecordFeedback(request)).violations) == {"feedback.date"}
        request.feedback.date.year = 2026
        request.feedback.entity.entity_id = "no-such"
        assert refusal(lambda: stub.RecordFeedback(request)).code is grpc.StatusCode.NOT_FOUND


def active(channel: grpc.Channel) -> dict[str, int]:
    """Versions that serve, by name, as the registry's service tells."""
    registry = registry_grpc.ModelRegistryServiceStub(channel)
    listed = registry.ListModels(
        registry_pb2.ListModelsRequest(family=answer_pb2.FAMILY_ANOMALY, page_size=1000)
    ).models
    return {one.ref.name: one.ref.version for one in listed if one.status == registry_pb2.MODEL_STATUS_ACTIVE}


def test_the_registry_is_served_beside(channel: grpc.Channel) -> None:
    assert len(active(channel)) == 21  # 17 entities, 3 levels, the account


# On one database: the work is done by processes of their own, which take seconds to start.
@pytest.mark.parametrize("settings", ["postgresql"], indirect=True)
def test_training_is_served_beside(
    channel: grpc.Channel, settings: AnomalySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("database_url", "artifact_url", "cache_dir"):
        monkeypatch.setenv(f"ADSML_{name.upper()}", str(getattr(settings, name)))
    training = training_grpc.TrainingServiceStub(channel)
    request = training_pb2.StartTrainingRequest(
        family=answer_pb2.FAMILY_ANOMALY,
        request_id="from-a-test",
        job=training_pb2.TRAINING_JOB_ANOMALY_DETECTORS,
        scope=training_pb2.TrainingScope(config_ids=[1], entity_type=CAMPAIGN),
    )
    run_id = training.StartTraining(request).run.run_id
    assert training.StartTraining(request).run.run_id == run_id
    asked = training_pb2.GetTrainingRunRequest(family=answer_pb2.FAMILY_ANOMALY, run_id=run_id)
    over = (training_pb2.TRAINING_RUN_STATE_SUCCEEDED, training_pb2.TRAINING_RUN_STATE_FAILED)
    eventually(lambda: training.GetTrainingRun(asked).run.state in over, within=240)
    assert training.GetTrainingRun(asked).run.state == training_pb2.TRAINING_RUN_STATE_SUCCEEDED
    again = {name: version for name, version in active(channel).items() if version == 2}
    assert {name.count("/") for name in again} == {1, 2, 3}
    assert all(name == "anomaly/1" or name.startswith("anomaly/1/campaign") for name in again)
