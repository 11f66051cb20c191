"""From the wire to a handler and back."""

import re
import threading

import grpc
import pytest
from adsml.common.v1 import entity_pb2, metrics_pb2
from adsml.forecasting.v1 import forecasting_service_pb2 as forecasting_pb2
from adsml.registry.v1 import registry_service_pb2 as pb
from adsml_common.domain.errors import InvalidInput, NotFound
from google.rpc import error_details_pb2
from support.serving import REGISTRY, SECONDS, builder, eventually, refusal, running


def backtest_request():
    return forecasting_pb2.BacktestRequest(
        metric=metrics_pb2.METRIC_LEADS,
        subjects=[entity_pb2.Subject(entity=entity_pb2.EntityRef(config_id=1, entity_type=1, entity_id="a"))],
    )


def progress(done):
    return forecasting_pb2.BacktestResponse(progress=forecasting_pb2.BacktestProgress(done=done))


def test_a_handler_sees_its_call():
    seen = []

    def list_models(request, context):
        seen.append(context)
        # gRPC rounds what is left of a deadline up on its way.
        assert 0 < context.deadline < 5.1
        assert not context.cancelled()
        return pb.ListModelsResponse()

    with running(builder({"ListModels": list_models})) as service:
        service.registry.ListModels(
            pb.ListModelsRequest(family=1), timeout=5.0, metadata=(("x-request-id", "abc"), ("other", "1"))
        )
    [context] = seen
    assert context.method == f"/{REGISTRY}/ListModels"
    assert context.request_id == "abc"
    assert context.metadata["other"] == "1"
    assert context.caller.identity == ""
    assert context.peer.startswith("ipv4:127.0.0.1:")


def test_a_call_without_deadline_has_none():
    seen = []

    def list_models(request, context):
        seen.append(context.deadline)
        return pb.ListModelsResponse()

    with running(builder({"ListModels": list_models})) as service:
        service.registry.ListModels(pb.ListModelsRequest(family=1))
    assert seen == [None]


@pytest.mark.parametrize("given", [None, "", "with space", "x" * 129])
def test_a_request_without_a_usable_id_gets_one(given):
    metadata = () if given is None else (("x-request-id", given),)
    with running(builder()) as service:
        _, call = service.registry.ListModels.with_call(
            pb.ListModelsRequest(family=1), timeout=SECONDS, metadata=metadata
        )
    [(_, made)] = [pair for pair in call.trailing_metadata() if pair[0] == "x-request-id"]
    assert re.fullmatch("[0-9a-f]{16}", made)


def test_the_request_id_comes_back_with_answers_and_with_errors():
    def get_model(request, context):
        raise NotFound("no")

    with running(builder({"GetModel": get_model})) as service:
        metadata = (("x-request-id", "abc"),)
        _, call = service.registry.ListModels.with_call(
            pb.ListModelsRequest(family=1), timeout=SECONDS, metadata=metadata
        )
        assert dict(call.trailing_metadata())["x-request-id"] == "abc"
        refused = refusal(
            lambda: service.registry.GetModel(
                pb.GetModelRequest(family=1, name="a"), timeout=SECONDS, metadata=metadata
            )
        )
        assert refused.metadata["x-request-id"] == "abc"


def test_a_domain_error_is_a_status_with_its_details():
    def get_model(request, context):
        raise NotFound(f"no model {request.name}", metadata={"name": request.name})

    with running(builder({"GetModel": get_model})) as service:
        refused = refusal(
            lambda: service.registry.GetModel(pb.GetModelRequest(family=1, name="é"), timeout=SECONDS)
        )
    assert (refused.code, refused.message) == (grpc.StatusCode.NOT_FOUND, "no model é")
    assert (refused.info.reason, refused.info.domain) == ("NOT_FOUND", "adsml.internal")
    assert dict(refused.info.metadata) == {"name": "é"}


def test_a_defect_is_internal_and_leaks_nothing():
    def get_model(request, context):
        raise RuntimeError("SELECT password FROM users")

    with running(builder({"GetModel": get_model})) as service:
        refused = refusal(
            lambda: service.registry.GetModel(pb.GetModelRequest(family=1, name="a"), timeout=SECONDS)
        )
    assert refused.code is grpc.StatusCode.INTERNAL
    assert re.fullmatch("[0-9a-f]{16}", refused.info.metadata["incident"])
    assert "password" not in str(refused)


@pytest.mark.parametrize("answer", [None, pb.ListModelsRequest(family=1), b"bytes"])
def test_an_answer_of_the_wrong_type_is_a_defect(answer):
    with running(builder({"GetModel": lambda request, context: answer})) as service:
        refused = refusal(
            lambda: service.registry.GetModel(pb.GetModelRequest(family=1, name="a"), timeout=SECONDS)
        )
    assert refused.code is grpc.StatusCode.INTERNAL


@pytest.mark.parametrize("raw", [b"\xff\xff", b"\x0a\x05ab", b"\x12\x02\xff\xfe", b"\x00" * 10])
def test_bytes_that_are_no_message_are_the_callers_fault(raw):
    with running(builder()) as service:
        call = service.channel.unary_unary(f"/{REGISTRY}/GetModel")
        refused = refusal(lambda: call(raw, timeout=SECONDS))
    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.violations == {"": "the bytes are no adsml.registry.v1.GetModelRequest"}


@pytest.mark.parametrize(
    "path", ["/no.such.Service/Method", f"/{REGISTRY}/Nothing", "/x", "/grpc.health.v1.Health/x"]
)
def test_a_method_nobody_serves_is_unimplemented_in_the_form_of_all_errors(path):
    with running(builder()) as service:
        for make in (service.channel.unary_unary, service.channel.unary_stream):
            refused = refusal(lambda make=make: _all(make(path)(b"", timeout=SECONDS)))
            assert refused.code is grpc.StatusCode.UNIMPLEMENTED
            assert refused.info.reason == "UNIMPLEMENTED"


def _all(answer):
    return answer if isinstance(answer, bytes) else list(answer)


def test_all_violations_come_at_once_with_their_paths():
    with running(builder()) as service:
        refused = refusal(
            lambda: service.registry.ActivateModelVersion(
                pb.ActivateModelVersionRequest(family=1, name="", version=-1, reason="x" * 2001),
                timeout=SECONDS,
            )
        )
    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert set(refused.violations) == {"name", "version", "reason"}


def test_a_request_that_is_too_long_is_told_the_limit():
    with running(builder(max_message_bytes=2048)) as service:
        long = pb.ListModelsRequest(family=1, page_token="x" * 5000)
        refused = refusal(lambda: service.registry.ListModels(long, timeout=SECONDS))
    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "this method takes 2048" in refused.message


def test_work_whose_caller_has_gone_is_told():
    begun, ended = threading.Event(), threading.Event()

    def list_models(request, context):
        begun.set()
        eventually(context.cancelled)
        ended.set()
        context.check_cancelled()

    with running(builder({"ListModels": list_models})) as service:
        call = service.registry.ListModels.future(pb.ListModelsRequest(family=1), timeout=SECONDS)
        assert begun.wait(SECONDS)
        call.cancel()
        assert ended.wait(SECONDS)


def test_work_whose_deadline_passes_is_told():
    ended = threading.Event()

    def list_models(request, context):
        eventually(context.cancelled)
        ended.set()
        context.check_cancelled()

    with running(builder({"ListModels": list_models})) as service:
        refused = refusal(lambda: service.registry.ListModels(pb.ListModelsRequest(family=1), timeout=0.2))
        assert refused.code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert ended.wait(SECONDS)


def test_a_deadline_that_leaves_no_room_is_refused_without_work():
    begun = []

    def list_models(request, context):
        begun.append(1)
        return pb.ListModelsResponse()

    # All but 20 s is kept back for the way home, and the caller allows less.
    with running(builder({"ListModels": list_models}, deadline_reserve_seconds=1.0)) as service:
        refused = refusal(lambda: service.registry.ListModels(pb.ListModelsRequest(family=1), timeout=0.9))
    assert refused.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert begun == []


def test_a_stream_comes_through_in_order():
    def backtest(request, context):
        for done in range(100):
            yield progress(done)

    with running(builder({"Backtest": backtest})) as service:
        answers = service.forecasting.Backtest(backtest_request(), timeout=SECONDS)
        assert [one.progress.done for one in answers] == list(range(100))


def test_an_error_after_some_messages_ends_the_stream_with_a_status():
    def backtest(request, context):
        yield progress(1)
        raise InvalidInput.at("subjects[0]", "is odd")

    seen = []
    with running(builder({"Backtest": backtest})) as service:
        answers = service.forecasting.Backtest(backtest_request(), timeout=SECONDS)
        refused = refusal(lambda: seen.extend(iter(answers)))
    assert [one.progress.done for one in seen] == [1]
    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.violations == {"subjects[0]": "is odd"}


def test_a_bad_request_for_a_stream_never_begins_it():
    with running(builder()) as service:
        answers = service.forecasting.Backtest(forecasting_pb2.BacktestRequest(), timeout=SECONDS)
        refused = refusal(lambda: list(answers))
    assert set(refused.violations) == {"subjects", "metric"}


def test_a_stream_whose_caller_has_gone_is_closed_and_its_thread_free_again():
    closed = threading.Event()

    def backtest(request, context):
        try:
            for done in range(10_000_000):
                yield progress(done)
        finally:
            closed.set()

    with running(builder({"Backtest": backtest})) as service:
        answers = service.forecasting.Backtest(backtest_request(), timeout=SECONDS)
        next(answers)
        answers.cancel()
        assert closed.wait(SECONDS)
        again = service.forecasting.Backtest(backtest_request(), timeout=SECONDS)
        assert next(again).progress.done == 0
        again.cancel()


def test_a_stream_does_not_run_ahead_of_a_caller_that_does_not_read():
    made = []

    def backtest(request, context):
        for done in range(100_000):
            made.append(done)
            yield forecasting_pb2.BacktestResponse(
                progress=forecasting_pb2.BacktestProgress(done=done, message="x" * 10_000)
            )

    with running(builder({"Backtest": backtest})) as service:
        answers = service.forecasting.Backtest(backtest_request(), timeout=SECONDS)
        next(answers)
        count = -1
        while count != len(made):
            count = len(made)
            assert service.health() == "SERVING"
        # What lies in buffers on the way is some hundred kilobytes; the whole would be a gigabyte.
        assert count < 10_000
        answers.cancel()


def test_streams_and_calls_do_not_take_each_others_threads():
    let_go = threading.Event()

    def backtest(request, context):
        let_go.wait(SECONDS)
        yield progress(1)

    with running(builder({"Backtest": backtest}, workers=4)) as service:
        streams = [service.forecasting.Backtest(backtest_request(), timeout=SECONDS) for _ in range(2)]
        assert (
            service.registry.ListModels(pb.ListModelsRequest(family=1), timeout=SECONDS)
            == pb.ListModelsResponse()
        )
        let_go.set()
        for stream in streams:
            assert len(list(stream)) == 1


def test_a_full_pool_sheds_and_answers_health_all_the_while():
    let_go, begun = threading.Event(), threading.Semaphore(0)

    def list_models(request, context):
        begun.release()
        assert let_go.wait(SECONDS)
        return pb.ListModelsResponse()

    let_go.set()
    with running(builder({"ListModels": list_models}, workers=2, queue_size=3)) as service:
        # Of a kind of call that was never seen it is believed that it takes long: then it gets one thread of the two.
        service.registry.ListModels(pb.ListModelsRequest(family=1), timeout=SECONDS)
        assert begun.acquire(timeout=SECONDS)
        let_go.clear()
        calls = [
            service.registry.ListModels.future(pb.ListModelsRequest(family=1), timeout=SECONDS)
            for _ in range(5)
        ]
        for _ in range(2):
            assert begun.acquire(timeout=SECONDS)
        eventually(lambda: service.server.runtime.pool.waiting == 3)
        refused = refusal(
            lambda: service.registry.GetModel(pb.GetModelRequest(family=1, name="a"), timeout=SECONDS)
        )
        assert refused.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert refused.info.reason == "OVERLOADED"
        assert refused.detail(error_details_pb2.RetryInfo).retry_delay.ToNanoseconds() > 0
        for name in ("", REGISTRY, "liveness", "readiness"):
            assert service.health(name, timeout=5.0) == "SERVING"
        let_go.set()
        for call in calls:
            assert call.result(SECONDS) == pb.ListModelsResponse()
        assert (
            service.registry.GetModel(pb.GetModelRequest(family=1, name="a"), timeout=SECONDS)
            == pb.GetModelResponse()
        )


def test_waiting_calls_whose_callers_have_gone_are_dropped():
    let_go, begun = threading.Event(), []

    def list_models(request, context):
        begun.append(request.page_token)
        assert let_go.wait(SECONDS)
        return pb.ListModelsResponse()

    with running(builder({"ListModels": list_models}, workers=1)) as service:

        def call(name):
            return service.registry.ListModels.future(
                pb.ListModelsRequest(family=1, page_token=name), timeout=SECONDS
            )

        first = call("first")
        eventually(lambda: begun == ["first"])
        second, third = call("second"), call("third")
        eventually(lambda: service.server.runtime.pool.waiting == 2)
        second.cancel()
        eventually(lambda: service.server.runtime.pool.busy == 3)
        # The cancellation travels on the same connection as a probe sent after it.
        service.health()
        let_go.set()
        first.result(SECONDS)
        third.result(SECONDS)
        assert "third" in begun


def test_one_caller_may_not_take_more_than_its_rate():
    with running(builder(rate_per_second=0.5)) as service:
        service.registry.ListModels(pb.ListModelsRequest(family=1), timeout=SECONDS)
        refused = refusal(
            lambda: service.registry.ListModels(pb.ListModelsRequest(family=1), timeout=SECONDS)
        )
        assert refused.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert 0 < refused.detail(error_details_pb2.RetryInfo).retry_delay.ToMilliseconds() <= 2000
