"""A question has one answer, by whatever door it comes in.

An account with trained models of every family is asked by every method: about a stored entity, and about the same rows
sent inline; of the service in this process, by the client over a real server, and by the command, in process and with
``--server``. The report asks the services too: what it shows is what they answer.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from adsml.anomaly.v1 import anomaly_service_pb2 as anomaly
from adsml.classifier.v1 import classifier_service_pb2 as classifier
from adsml.forecasting.v1 import forecasting_service_pb2 as forecasting
from adsml.impact.v1 import impact_service_pb2 as impact
from adsml.registry.v1 import registry_service_pb2 as registry_pb
from adsml.training.v1 import training_service_pb2 as training_pb
from adsml_client import ModelRegistryClient, TrainingClient, connect, day, message, word
from adsml_common.cli.family import installed
from adsml_common.registry.artifacts import ArtifactStore
from adsml_common.registry.registry import ModelRegistry
from adsml_common.serving.context import CallContext
from adsml_common.serving.registry_service import ModelRegistryService
from adsml_common.serving.training_service import TrainingService
from adsml_common.training.runs import TrainingRuns
from google.protobuf.message import Message
from support.parity import CLIENTS, CONFIG, JOBS, LAST, World, differences, inlined, plain, without

AS_OF = {"as_of_date": LAST}
"""A day that is named: unset, stored rows leave out the days that still fill up, inline rows do not."""


@dataclass(frozen=True)
class Question:
    """One method's question.

    Attributes
    ----------
    method
        ``"classifier.Classify"``.
    request
        About stored entities.
    inline
        Whether it can be asked of rows that are sent along.
    command
        The same in `adsml`'s words; None where no command asks it.
    """

    method: str
    request: Callable[[World], Message]
    inline: bool = True
    command: Callable[[World], Sequence[str]] | None = None

    @property
    def family(self) -> str:
        return self.method.partition(".")[0]


def ids(world: World, level: str) -> list[str]:
    """A command's options for every entity of a level."""
    return ["--entity-type", level, *(part for one in world.ids(level) for part in ("--entity-id", one))]


def change_options(world: World) -> list[str]:
    """A command's options for the change of `World.change_of_adset`."""
    about = world.change_of_adset()
    stored, change = about["panel"]["stored"], about["change"]
    [treated] = stored["treated"]
    return [
        *("--entity-type", "adset", "--entity-id", treated.entity_id),
        *(part for one in stored["controls"] for part in ("--control", one.entity_id)),
        *("--date", str(day(change.date)), "--change-type", word(change, "change_type")),
    ]


def forecast(world: World, metric: str) -> list[str]:
    """The command that forecasts the first campaign."""
    entity_id = world.ids("campaign")[0]
    named = ("--entity-type", "campaign", "--entity-id", entity_id, "--metric", metric)
    return ["forecast", *named, "--as-of-date", str(LAST)]


def kind_of_change(world: World) -> str:
    return word(world.change_of_adset()["change"], "change_type")


QUESTIONS = [
    Question(
        "classifier.Classify",
        lambda world: message(classifier.ClassifyRequest, subject=world.ref("adset"), options=AS_OF),
    ),
    Question(
        "classifier.BatchClassify",
        lambda world: message(
            classifier.BatchClassifyRequest,
            subjects=[world.ref("adset", index) for index in range(5)],
            options={**AS_OF, "max_reasons": 2},
        ),
        command=lambda world: ["classify", *ids(world, "adset"), "--as-of-date", str(LAST), "--reasons", "2"],
    ),
    Question(
        "classifier.ClassifyNewEntity",
        lambda world: message(classifier.ClassifyNewEntityRequest, subject=world.ref("ad"), options=AS_OF),
    ),
    Question(
        "forecasting.Forecast",
        lambda world: message(
            forecasting.ForecastRequest,
            subject=world.ref("campaign"),
            metric="leads",
            method="prophet",
            options=AS_OF,
        ),
        command=lambda world: [*forecast(world, "leads"), "--method", "prophet"],
    ),
    Question(
        "forecasting.ForecastEnsemble",
        lambda world: message(
            forecasting.ForecastEnsembleRequest, subject=world.ref("campaign"), metric="cpl", options=AS_OF
        ),
        command=lambda world: forecast(world, "cpl"),
    ),
    Question(
        "forecasting.ForecastNewEntity",
        lambda world: message(
            forecasting.ForecastNewEntityRequest,
            subject=world.ref("ad"),
            metric="leads",
            donors=[world.ref("ad", index) for index in (1, 2, 3)],
            tier="moderate",
            options=AS_OF,
        ),
    ),
    Question(
        "forecasting.BatchForecast",
        lambda world: message(
            forecasting.BatchForecastRequest,
            items=[{"subject": world.ref("adset", index), "metric": "leads"} for index in range(4)],
            options=AS_OF,
        ),
    ),
    Question(
        "forecasting.Backtest",
        lambda world: message(
            forecasting.BacktestRequest,
            subjects=[world.ref("campaign", index) for index in range(2)],
            metric="leads",
            methods=["linear", "ema", "ensemble"],
            cutoffs=2,
            attribution_lag_days=0,
        ),
    ),
    Question(
        "anomaly.DetectAnomalies",
        lambda world: message(anomaly.DetectAnomaliesRequest, subject=world.ref("adset"), options=AS_OF),
    ),
    Question(
        "anomaly.BatchDetectAnomalies",
        lambda world: message(
            anomaly.BatchDetectAnomaliesRequest,
            subjects=[world.ref("adset", index) for index in range(5)],
            options={**AS_OF, "first_date": LAST - timedelta(days=27), "anomalous_only": True},
        ),
        command=lambda world: [
            *("anomalies", *ids(world, "adset"), "--as-of-date", str(LAST)),
            *("--first-date", str(LAST - timedelta(days=27))),
        ],
    ),
    Question(
        "anomaly.DetectAccountAnomalies",
        lambda world: message(anomaly.DetectAccountAnomaliesRequest, config_id=CONFIG, options=AS_OF),
        inline=False,
        command=lambda world: ["anomalies", "--as-of-date", str(LAST)],
    ),
    Question(
        "anomaly.ListIncidents",
        lambda world: message(anomaly.ListIncidentsRequest, config_id=CONFIG),
        inline=False,
    ),
    Question(
        "impact.AnalyzeImpact",
        lambda world: message(impact.AnalyzeImpactRequest, **world.change_of_adset(), options=AS_OF),
        command=lambda world: ["impact", *change_options(world), "--as-of-date", str(LAST)],
    ),
    Question(
        "impact.BatchAnalyzeImpact",
        lambda world: message(
            impact.BatchAnalyzeImpactRequest, items=[world.change_of_adset()], options=AS_OF
        ),
    ),
    Question(
        "impact.SummarizeChanges",
        lambda world: message(
            impact.SummarizeChangesRequest,
            config_ids=[CONFIG],
            change_type=kind_of_change(world),
            options={"attribution_lag_days": 0},
        ),
        inline=False,
        command=lambda world: [
            *("summarize-changes", "--change-type", kind_of_change(world), "--attribution-lag-days", "0")
        ],
    ),
    Question(
        "impact.EstimateDetectableEffect",
        lambda world: message(
            impact.EstimateDetectableEffectRequest, **world.change_of_adset(), options=AS_OF
        ),
        command=lambda world: ["detectable", *change_options(world), "--as-of-date", str(LAST)],
    ),
]
STALE = "WARNING_TYPE_STALE_DATA"
WRITES = {"classifier.RecordFeedback", "anomaly.RecordFeedback"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("parity"))
    yield made
    made.close()


def test_every_method_that_answers_is_asked() -> None:
    contracts = {"classifier": classifier, "forecasting": forecasting, "anomaly": anomaly, "impact": impact}
    methods = {
        f"{family}.{method.name}"
        for family, contract in contracts.items()
        for service in contract.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    assert {one.method for one in QUESTIONS} == methods - WRITES


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda one: one.method)
def test_the_service_here_and_by_the_client(world: World, question: Question) -> None:
    request = question.request(world)
    answer = world.in_process(question.method, request)
    assert answer
    assert differences(answer, world.by_client(question.method, request)) == []


@pytest.mark.parametrize("question", [one for one in QUESTIONS if one.inline], ids=lambda one: one.method)
def test_stored_and_inline(world: World, question: Question) -> None:
    """Rows that name their account and entity are answered by its models, as if they were stored."""
    request = question.request(world)
    stored = world.in_process(question.method, request)
    inline = world.in_process(question.method, inlined(world, request))
    # Inline rows ask fewer peers, by contract: what an answer had to do without may differ.
    stored, inline = (without(one, "degradations") for one in (stored, inline))
    if question.method == "anomaly.BatchDetectAnomalies":
        stored.pop("incidents")  # by contract, causes are looked for among the stored entities of a batch
    assert differences(without_age(stored), without_age(inline)) == []


def without_age(value: Any) -> Any:
    """An answer without the warning that the store's rows are old: of rows that are sent along the sender knows."""
    if isinstance(value, dict):
        return {key: without_age(one) for key, one in value.items() if without_age(one) != []}
    if isinstance(value, list):
        return [without_age(one) for one in value if not isinstance(one, dict) or one.get("type") != STALE]
    return value


@pytest.mark.parametrize("question", [one for one in QUESTIONS if one.command], ids=lambda one: one.method)
def test_the_command_prints_what_the_service_answers(world: World, question: Question) -> None:
    answer = world.by_client(question.method, question.request(world))
    assert question.command is not None
    command = [*question.command(world), "--config-id", str(CONFIG), "--json"]
    here = without(json.loads(world.adsml(*command)), "compute_time")
    assert differences(answer, here) == []
    there = without(
        json.loads(world.adsml(*command, "--server", world.target(question.family))), "compute_time"
    )
    assert differences(answer, there) == []


@pytest.mark.parametrize("family", CLIENTS)
def test_the_report_asks_the_services(world: World, family: str) -> None:
    methods = {
        one.method.partition(".")[2] for one in QUESTIONS if one.family == family and one.method not in WRITES
    }
    with world.recorded(family, methods) as calls:
        page = str(world.folder / f"{family}.html")
        world.adsml("report", "--config-id", str(CONFIG), "--output", page, "--most", "3")
    assert calls
    for method, request, answer in calls:
        assert differences(plain(answer), world.by_client(method, request)) == []


@pytest.mark.parametrize(
    ("method", "holder"),
    [
        ("classifier.Classify", ("classification", "metrics")),
        ("forecasting.ForecastEnsemble", ("forecast",)),
        ("anomaly.DetectAnomalies", ("report",)),
        ("impact.AnalyzeImpact", ("report",)),
    ],
)
def test_money_comes_with_the_accounts_currency(world: World, method: str, holder: tuple[str, ...]) -> None:
    [question] = [one for one in QUESTIONS if one.method == method]
    answer = world.in_process(method, question.request(world))
    for name in holder:
        answer = answer[name]
    assert answer["currency_code"] == "EUR"


def test_doctor_parses_real_models_of_every_family(world: World) -> None:
    """It said of all Prophet and ensemble models that their family was not installed."""
    for family in CLIENTS:
        world.service(family)
    told = json.loads(world.adsml("doctor", "--json"))
    models = {one["name"]: one["detail"] for one in told["checks"] if one["name"].startswith("model ")}
    assert told["healthy"]
    assert {*models.values()} == {"loads"}
    kinds = {name.split()[1].split("/")[0] for name in models}
    assert kinds >= {"classifier", "prophet", "ensemble", "anomaly"}


FAMILIES = ("classifier", "forecasting", "anomaly")


def registry_and_runs(world: World, family: str) -> tuple[ModelRegistryService, TrainingService]:
    """The two services that each family's process has, here on the store."""
    world.service(family)
    registry = ModelRegistry(
        world.database, ArtifactStore(str(world.folder / "artifacts"), cache_dir=world.folder)
    )
    prefixes = installed()[family].model_prefixes
    return (
        ModelRegistryService(registry, family=family, prefixes=prefixes),
        TrainingService(TrainingRuns(world.database), family=family, jobs=JOBS[family], launcher=None),
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_models_by_service_client_and_command(world: World, family: str) -> None:
    """What is there, what it is, and what happened to it: the command tells what the service tells."""
    service, _ = registry_and_runs(world, family)
    context = CallContext()
    asked = {
        "list_models": message(registry_pb.ListModelsRequest, family=family, page_size=1000),
        "list_model_events": message(registry_pb.ListModelEventsRequest, family=family, page_size=1000),
    }
    here = {
        "list_models": plain(service.ListModels(asked["list_models"], context)),
        "list_model_events": plain(service.ListModelEvents(asked["list_model_events"], context)),
    }
    name = here["list_models"]["models"][0]["ref"]["name"]
    asked["get_model"] = message(registry_pb.GetModelRequest, family=family, name=name)
    here["get_model"] = plain(service.GetModel(asked["get_model"], context))
    with connect(world.target(family), deadline_seconds=60) as connection:
        client = ModelRegistryClient(connection)
        for method, request in asked.items():
            assert differences(here[method], plain(getattr(client, method)(request))) == [], method
    prefixes = installed()[family].model_prefixes
    listed = [
        one
        for prefix in prefixes
        for one in json.loads(
            world.adsml("models", "list", "--prefix", f"{prefix}/", "--limit", "10000", "--json")
        )["models"]
    ]
    shown = json.loads(world.adsml("models", "show", name, "--json"))

    def by_name(models: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return sorted(models, key=lambda one: (one["ref"]["name"], one["ref"]["version"]))

    assert differences(by_name(here["list_models"]["models"]), by_name(listed)) == []
    assert differences(here["get_model"]["model"], shown["model"]) == []
    of_name = [one for one in here["list_model_events"]["events"] if one["name"] == name]
    assert differences(of_name, shown["events"]) == []


@pytest.mark.parametrize("family", FAMILIES)
def test_runs_by_service_client_and_command(world: World, family: str) -> None:
    _, service = registry_and_runs(world, family)
    context = CallContext()
    request = message(training_pb.ListTrainingRunsRequest, family=family)
    here = plain(service.ListTrainingRuns(request, context))
    of_run = message(training_pb.GetTrainingRunRequest, family=family, run_id=here["runs"][0]["run_id"])
    run = plain(service.GetTrainingRun(of_run, context))
    with connect(world.target(family), deadline_seconds=60) as connection:
        client = TrainingClient(connection)
        assert differences(here, plain(client.list_training_runs(request))) == []
        assert differences(run, plain(client.get_training_run(of_run))) == []
    shown = json.loads(world.adsml("runs", "show", of_run.run_id, "--json"))
    assert shown["run"]["status"] == run["run"]["state"].removeprefix("TRAINING_RUN_STATE_")
    counts = {name: int(count) for name, count in run["run"]["counts"].items() if int(count)}
    assert len(shown["items"]) == counts.pop("total")
    assert {name: shown["run"]["counts"][name] for name in counts} == counts
    listed = [
        one["run_id"]
        for job in JOBS[family]
        for one in json.loads(world.adsml("runs", "list", "--job", job, "--json"))["runs"]
    ]
    assert sorted(listed) == sorted(one["run_id"] for one in here["runs"])


@pytest.mark.parametrize(
    ("family", "judgement"),
    [("classifier", {"tier": "low"}), ("anomaly", {"judgement": "false_alarm"})],
)
def test_feedback_by_service_and_client(world: World, family: str, judgement: dict[str, str]) -> None:
    """Said here and said again by the client: the second finds the first, and nothing is written twice."""
    kind = {"classifier": classifier, "anomaly": anomaly}[family].RecordFeedbackRequest
    fields = {"feedback": {"entity": world.ref("adset"), "date": LAST, "person": "ada"}, **judgement}
    request = message(kind, **fields)
    here = world.in_process(f"{family}.RecordFeedback", request)
    there = world.by_client(f"{family}.RecordFeedback", request)
    assert here["receipt"]["changed"]
    assert not there["receipt"].get("changed")
    assert there["receipt"]["record_time"] == here["receipt"]["record_time"]
    assert differences(here.get("threshold_after"), there.get("threshold_after")) == []
