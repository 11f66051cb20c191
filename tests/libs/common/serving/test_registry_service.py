"""The registry as one process serves it, on both databases, over the wire."""

import base64
import contextlib
import json
from collections.abc import Iterator

import grpc
import pytest
from adsml.common.v1 import entity_pb2
from adsml.registry.v1 import registry_service_pb2 as pb
from adsml.registry.v1 import registry_service_pb2_grpc as registry_grpc
from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import InvalidInput, NotFound, PermissionDenied
from adsml_common.registry.models import Candidate, ModelVersion, model_name
from adsml_common.serving.context import CallContext, Caller
from adsml_common.serving.paging import PageTokens
from adsml_common.serving.registry_service import ModelRegistryService
from adsml_common.serving.server import ServerBuilder
from support.serving import REGISTRY, SECONDS, refusal, settings


def candidate(name: str, config_id: int, **changed) -> Candidate:
    given = {
        "name": name,
        "model_type": "xgboost_classifier",
        "config_id": config_id,
        "files": {"model.ubj": b"trees"},
        "entity_type": EntityType.ADSET,
        "parameters": {"max_depth": 4, "nested": {"a": [1, None, "x"]}},
        "feature_columns": ("cpl", "ctr"),
        "training_metrics": {"weighted_f1": 0.81, "gate": {"passed": True}},
        "samples_count": 120,
    }
    return Candidate(**(given | changed))


@pytest.fixture
def filled(registry):
    """Two accounts' classifiers of two versions each, and a detector of another family."""
    for config_id in (1, 2):
        name = model_name("classifier", config_id, EntityType.ADSET)
        for number in (1, 2):
            version = registry.register(candidate(name, config_id, run_id=f"run-{number}"))
            registry.activate(name, version.version, actor="training", reason="better than the incumbent")
    registry.register(candidate(model_name("anomaly", 1, EntityType.ADSET), 1, model_type="anomaly_detector"))
    return registry


@contextlib.contextmanager
def stub(registry) -> Iterator[registry_grpc.ModelRegistryServiceStub]:
    built = ServerBuilder(settings()).add(
        ModelRegistryService(registry, family="classifier", prefixes=["classifier"]),
        REGISTRY,
    )
    with built.start() as server, grpc.insecure_channel(server.target) as channel:
        yield registry_grpc.ModelRegistryServiceStub(channel)


def test_lists_its_own_family_newest_first_without_the_bulk(filled):
    with stub(filled) as registry:
        models = registry.ListModels(pb.ListModelsRequest(family=1), timeout=SECONDS).models
    assert [(one.ref.name, one.ref.version) for one in models] == [
        ("classifier/2/adset", 2),
        ("classifier/2/adset", 1),
        ("classifier/1/adset", 2),
        ("classifier/1/adset", 1),
    ]
    assert not any(one.parameters.fields or one.training_metrics.fields for one in models)


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ({"config_id": 1}, 2),
        ({"config_id": 3}, 0),
        ({"entity_type": entity_pb2.ENTITY_TYPE_ADSET}, 4),
        ({"entity_type": entity_pb2.ENTITY_TYPE_AD}, 0),
        ({"status": pb.MODEL_STATUS_ACTIVE}, 2),
        ({"status": pb.MODEL_STATUS_ACTIVE, "config_id": 2}, 1),
        ({"name": "classifier/1/adset"}, 2),
        ({"model_type": "anomaly_detector"}, 0),
    ],
)
def test_filters_must_all_hold(filled, filters, count):
    with stub(filled) as registry:
        assert (
            len(registry.ListModels(pb.ListModelsRequest(family=1, **filters), timeout=SECONDS).models)
            == count
        )


def test_pages_together_are_the_whole(filled):
    with stub(filled) as registry:
        whole = registry.ListModels(pb.ListModelsRequest(family=1), timeout=SECONDS).models
        pages, token = [], ""
        while True:
            page = registry.ListModels(
                pb.ListModelsRequest(family=1, page_size=3, page_token=token), timeout=SECONDS
            )
            pages.append(list(page.models))
            token = page.next_page_token
            if not token:
                break
        assert [len(page) for page in pages] == [3, 1]
        assert [one for page in pages for one in page] == list(whole)


def forged(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


@pytest.mark.parametrize(
    "token",
    [
        "x", "!!", "W10=", "é", "A" * 1024,
        # What tokens were made of before they were sealed: all of these were INTERNAL.
        forged([10**30]), forged(["f", 10**30]), forged(["\ud800", 1]), forged(["classifier/1/adset", 2**63]),
    ],
)  # fmt: skip
def test_a_token_that_is_not_ours_is_refused(filled, token):
    with stub(filled) as registry:
        refused = refusal(
            lambda: registry.ListModels(pb.ListModelsRequest(family=1, page_token=token), timeout=SECONDS)
        )
    assert set(refused.violations) == {"page_token"}


def test_a_token_tells_nothing_and_is_good_for_its_caller_only(filled):
    service = ModelRegistryService(filled, family="classifier", prefixes=["classifier"])
    one, two = (
        CallContext(caller=Caller(name, config_ids=frozenset(accounts)))
        for name, accounts in (("one", {1, 2}), ("two", {1, 2}))
    )
    page = service.ListModels(pb.ListModelsRequest(family=1, page_size=1), one)
    data = base64.urlsafe_b64decode(page.next_page_token)
    assert b"classifier" not in data
    follow = pb.ListModelsRequest(family=1, page_size=1, page_token=page.next_page_token)
    assert len(service.ListModels(follow, one).models) == 1
    with pytest.raises(InvalidInput):
        service.ListModels(follow, two)
    flipped = bytearray(data)
    flipped[-1] ^= 1
    follow.page_token = base64.urlsafe_b64encode(flipped).decode()
    with pytest.raises(InvalidInput):
        service.ListModels(follow, one)


def test_a_token_is_good_in_another_process_of_the_same_secret(filled):
    first, second, stranger = (
        ModelRegistryService(
            filled, family="classifier", prefixes=["classifier"], page_tokens=PageTokens(secret)
        )
        for secret in ("shared", "shared", "")
    )
    token = first.ListModels(pb.ListModelsRequest(family=1, page_size=1), CallContext()).next_page_token
    follow = pb.ListModelsRequest(family=1, page_size=1, page_token=token)
    assert len(second.ListModels(follow, CallContext()).models) == 1
    with pytest.raises(InvalidInput):
        stranger.ListModels(follow, CallContext())


def test_a_token_of_other_filters_is_refused(filled):
    with stub(filled) as registry:
        token = registry.ListModels(
            pb.ListModelsRequest(family=1, page_size=1), timeout=SECONDS
        ).next_page_token
        refused = refusal(
            lambda: registry.ListModels(
                pb.ListModelsRequest(family=1, page_token=token, config_id=1), timeout=SECONDS
            )
        )
    assert refused.violations == {
        "page_token": "is no token for this listing; use next_page_token as it came and repeat the filters of that page"
    }


def test_one_version_in_full_the_active_one_where_none_is_named(filled):
    with stub(filled) as registry:
        active = registry.GetModel(
            pb.GetModelRequest(family=1, name="classifier/1/adset"), timeout=SECONDS
        ).model
        assert (active.ref.version, active.status) == (2, pb.MODEL_STATUS_ACTIVE)
        named = registry.GetModel(
            pb.GetModelRequest(family=1, name="classifier/1/adset", version=1), timeout=SECONDS
        )
        assert (named.model.ref.version, named.model.status) == (1, pb.MODEL_STATUS_ARCHIVED)
    assert active.parameters["max_depth"] == 4
    assert list(active.parameters["nested"]["a"]) == [1, None, "x"]
    assert active.training_metrics["weighted_f1"] == 0.81
    assert list(active.feature_columns) == ["cpl", "ctr"]
    assert active.library_versions["numpy"]
    assert active.entity_type == entity_pb2.ENTITY_TYPE_ADSET
    assert len(active.sha256) == 64
    assert active.format == "adsml-bundle/1"


@pytest.mark.parametrize(
    "name",
    ["classifier/9/adset", "anomaly/1/adset", "classifier", "classifier/x", "classifier/²/a", "/", "\u0431"],
)
def test_what_there_is_not_or_is_anothers_is_not_found(filled, name):
    with stub(filled) as registry:
        for call in (
            lambda: registry.GetModel(pb.GetModelRequest(family=1, name=name), timeout=SECONDS),
            lambda: registry.GetModel(pb.GetModelRequest(family=1, name=name, version=1), timeout=SECONDS),
            lambda: registry.RollbackModel(
                pb.RollbackModelRequest(family=1, name=name, reason="r"), timeout=SECONDS
            ),
            lambda: registry.ActivateModelVersion(
                pb.ActivateModelVersionRequest(family=1, name=name, version=1, reason="r"), timeout=SECONDS
            ),
        ):
            assert refusal(call).code is grpc.StatusCode.NOT_FOUND


def test_activating_and_what_it_leaves_behind(filled):
    name = "classifier/1/adset"
    with stub(filled) as registry:
        request = pb.ActivateModelVersionRequest(family=1, name=name, version=1, reason="the new one is odd")
        answer = registry.ActivateModelVersion(request, timeout=SECONDS)
        assert answer.model.status == pb.MODEL_STATUS_ACTIVE
        assert answer.event.event_type == pb.MODEL_EVENT_TYPE_ACTIVATED
        assert (answer.event.previous_version, answer.event.reason) == (2, "the new one is odd")
        again = registry.ActivateModelVersion(request, timeout=SECONDS)
        assert again.model.ref.version == 1
        assert not again.HasField("event")
        events = registry.ListModelEvents(
            pb.ListModelEventsRequest(family=1, name=name), timeout=SECONDS
        ).events
    assert [one.event_type for one in events[:1]] == [pb.MODEL_EVENT_TYPE_ACTIVATED]
    assert [one.event_id for one in events] == sorted((one.event_id for one in events), reverse=True)
    assert len(events) == 5  # two registered, three activated


def test_rolling_back_with_the_expected_version_cannot_go_too_far(filled):
    name = "classifier/1/adset"
    request = pb.RollbackModelRequest(family=1, name=name, reason="bad tiers", expected_active_version=2)
    with stub(filled) as registry:
        answer = registry.RollbackModel(request, timeout=SECONDS)
        assert (answer.model.ref.version, answer.previous_version) == (1, 2)
        assert answer.event.event_type == pb.MODEL_EVENT_TYPE_ROLLED_BACK
        refused = refusal(lambda: registry.RollbackModel(request, timeout=SECONDS))
        assert refused.code is grpc.StatusCode.FAILED_PRECONDITION
        assert dict(refused.info.metadata) == {"active_version": "1"}
        nothing = refusal(
            lambda: registry.RollbackModel(
                pb.RollbackModelRequest(family=1, name=name, reason="r"), timeout=SECONDS
            )
        )
        assert nothing.code is grpc.StatusCode.FAILED_PRECONDITION


def test_events_of_all_its_models_come_in_pages(filled):
    with stub(filled) as registry:
        whole = registry.ListModelEvents(pb.ListModelEventsRequest(family=1), timeout=SECONDS).events
        assert {one.name for one in whole} == {"classifier/1/adset", "classifier/2/adset"}
        first = registry.ListModelEvents(pb.ListModelEventsRequest(family=1, page_size=5), timeout=SECONDS)
        rest = registry.ListModelEvents(
            pb.ListModelEventsRequest(family=1, page_size=5, page_token=first.next_page_token),
            timeout=SECONDS,
        )
    assert [*first.events, *rest.events] == list(whole)
    assert rest.next_page_token == ""


def test_a_caller_sees_the_models_of_its_accounts_and_of_no_others(filled):
    servicer = ModelRegistryService(filled, family="classifier", prefixes=["classifier"])
    context = CallContext(caller=Caller("dashboard", config_ids=frozenset({1})))
    listed = servicer.ListModels(pb.ListModelsRequest(family=1, page_size=1), context)
    assert [one.ref.name for one in listed.models] == ["classifier/1/adset"]
    rest = servicer.ListModels(
        pb.ListModelsRequest(family=1, page_token=listed.next_page_token, page_size=5), context
    )
    assert [one.ref.version for one in rest.models] == [1]
    events = servicer.ListModelEvents(pb.ListModelEventsRequest(family=1), context).events
    assert {one.name for one in events} == {"classifier/1/adset"}
    for name in ("classifier/2/adset", "classifier/777/adset"):
        with pytest.raises(PermissionDenied):
            servicer.GetModel(pb.GetModelRequest(family=1, name=name), context)
    with pytest.raises(NotFound):
        servicer.GetModel(pb.GetModelRequest(family=1, name="anomaly/1/adset"), context)


def test_several_families_in_one_process(filled):
    servicer = ModelRegistryService(filled, family="classifier", prefixes=["classifier", "anomaly"])
    listed = servicer.ListModels(pb.ListModelsRequest(family=1), CallContext())
    assert {one.ref.name.partition("/")[0] for one in listed.models} == {"classifier", "anomaly"}


def test_a_broken_artifact_is_not_activated(filled, artifact_store):
    [version] = filled.list(name="classifier/1/adset", limit=1, status=None)[:1]
    assert isinstance(version, ModelVersion)
    artifact_store.delete(version.artifact_uri)
    with stub(filled) as registry:
        registry.ActivateModelVersion(
            pb.ActivateModelVersionRequest(family=1, name=version.name, version=1, reason="r"),
            timeout=SECONDS,
        )
        refused = refusal(
            lambda: registry.ActivateModelVersion(
                pb.ActivateModelVersionRequest(family=1, name=version.name, version=2, reason="r"),
                timeout=SECONDS,
            )
        )
    assert refused.code is grpc.StatusCode.FAILED_PRECONDITION
    assert refused.info.reason == "ARTIFACT_CORRUPT"
