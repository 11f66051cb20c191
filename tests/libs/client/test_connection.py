"""Connections: deadlines, retries, balancing, credentials."""

import asyncio
import contextlib
import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from adsml.registry.v1 import registry_service_pb2 as pb
from adsml.registry.v1 import registry_service_pb2_grpc as registry_grpc
from adsml_client import Tls, UnsafeConnection, connect, connect_async, errors
from adsml_client import connection as connection_module
from adsml_client.connection import service_config
from adsml_common.domain import errors as domain
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.certificates import Authority
from support.processes import server_process
from support.serving import SECONDS, builder, eventually, free_port

LIST = pb.ListModelsRequest(family="FAMILY_ANOMALY")


def stub(connection):
    return registry_grpc.ModelRegistryServiceStub(connection.channel)


def answering(handle):
    def list_models(request, context):
        handle(context)
        return pb.ListModelsResponse(next_page_token=context.request_id)

    return builder({"ListModels": list_models})


def test_every_call_has_a_deadline_and_a_request_id():
    seen = []
    with answering(seen.append).start() as server, connect(server.target, deadline_seconds=7.0) as connection:
        answer = connection.call(stub(connection).ListModels, LIST)
        named = connection.call(stub(connection).ListModels, LIST, metadata=(("x-request-id", "mine"),))
        passed = connection.call(stub(connection).ListModels, LIST, metadata=(("x-request-id", "caller's"),))
    assert re.fullmatch("[0-9a-f]{32}", answer.next_page_token)
    assert (named.next_page_token, passed.next_page_token) == ("mine", "caller's")
    # On the wire a deadline is rounded up to a handful of digits.
    assert all(6.0 < context.deadline_at - context.started_at < 7.1 for context in seen)


def test_a_service_passes_its_callers_ids_on():
    seen = []
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    with answering(lambda context: seen.append(context.outgoing())).start() as server:
        with connect(server.target) as connection:
            connection.call(
                stub(connection).ListModels,
                LIST,
                metadata=(("x-request-id", "a"), ("traceparent", trace)),
            )
    assert seen == [(("x-request-id", "a"), ("traceparent", trace))]


@pytest.mark.parametrize(
    "target", ["ads.example:443", "10.0.0.7:50051", "dns:///ads.example:443", "ipv4:127.0.0.1:1,10.0.0.1:2"]
)
def test_plain_text_to_another_machine_is_refused_unless_said(target):
    with pytest.raises(UnsafeConnection, match="is another machine"):
        connect(target)
    connect(target, insecure=True).close()


@pytest.mark.parametrize(
    "target", ["localhost:1", "127.0.0.1:1", "[::1]:1", "unix:/tmp/x", "ipv4:127.0.0.1:1,127.0.0.1:2"]
)
def test_plain_text_within_this_machine_is_fine(target):
    connect(target).close()


def test_tls_with_our_authority_and_without(tmp_path):
    authority = Authority()
    (tmp_path / "ca.pem").write_bytes(authority.certificate)
    cert_file, key_file = authority.issue("localhost").write(tmp_path, "server")
    with builder(tls_cert_file=cert_file, tls_key_file=key_file).start() as server:
        with connect(server.target, tls=Tls(ca_file=tmp_path / "ca.pem")) as connection:
            connection.call(stub(connection).ListModels, LIST)
        with connect(server.target, tls=Tls(), attempts=1) as connection:
            with pytest.raises(errors.Unavailable):
                connection.call(stub(connection).ListModels, LIST)


def test_half_a_client_certificate_is_refused(tmp_path):
    (tmp_path / "cert.pem").write_text("")
    with pytest.raises(ValueError, match="belong together"):
        connect("a:1", tls=Tls(cert_file=tmp_path / "cert.pem"))


def test_a_token_is_asked_for_anew_for_each_call():
    seen, tokens = [], iter(["one", "two"])
    with answering(lambda context: seen.append(context.metadata["authorization"])).start() as server:
        with connect(server.target, token=lambda: next(tokens)) as connection:
            for _ in range(2):
                connection.call(stub(connection).ListModels, LIST)
    assert seen == ["Bearer one", "Bearer two"]


def failing(error, times):
    """A server whose method fails so often, and the count of its calls."""
    calls = []

    def list_models(request, context):
        calls.append(1)
        if len(calls) <= times:
            raise error
        return pb.ListModelsResponse()

    return builder({"ListModels": list_models}), calls


def test_unavailable_is_retried():
    built, calls = failing(domain.Unavailable("the store is down"), 2)
    with built.start() as server, connect(server.target) as connection:
        assert connection.call(stub(connection).ListModels, LIST) == pb.ListModelsResponse()
    assert len(calls) == 3


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (domain.Overloaded("full", retry_after_seconds=1.5), errors.Overloaded),
        (domain.DeadlineExceeded("late"), errors.DeadlineExceeded),
        (domain.FailedPrecondition("no"), errors.FailedPrecondition),
        (domain.NotFound("no"), errors.NotFound),
        (domain.AlreadyExists("was"), errors.AlreadyExists),
        (domain.InvalidInput.at("a.b", "is odd"), errors.InvalidArgument),
        (domain.PermissionDenied("no"), errors.PermissionDenied),
        (domain.Unauthenticated("who"), errors.Unauthenticated),
        (RuntimeError("a defect"), errors.InternalError),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_nothing_else_is_retried_and_everything_is_typed(error, kind):
    built, calls = failing(error, 1)
    with built.start() as server, connect(server.target) as connection, pytest.raises(kind) as caught:
        connection.call(stub(connection).ListModels, LIST, metadata=(("x-request-id", "asked"),))
    assert len(calls) == 1
    assert caught.value.request_id == "asked"
    assert "(request asked)" in str(caught.value)
    if isinstance(caught.value, errors.InvalidArgument):
        assert caught.value.violations == (errors.Violation("a.b", "is odd"),)
    if isinstance(caught.value, errors.Overloaded):
        assert caught.value.retry_after_seconds == 1.5
    if isinstance(caught.value, errors.InternalError):
        assert re.fullmatch("[0-9a-f]{16}", caught.value.incident)
        assert "defect" not in str(caught.value)


def test_a_service_that_stays_down_is_not_asked_for_ever(monkeypatch):
    built, calls = failing(domain.Unavailable("down"), 10_000)
    monkeypatch.setattr(connection_module, "_BUDGET", 5)
    monkeypatch.setattr(connection_module, "_FIRST_BACKOFF", "0.01s")
    with built.start() as server, connect(server.target) as connection:
        for _ in range(20):
            with pytest.raises(errors.Unavailable):
                connection.call(stub(connection).ListModels, LIST)
    # Without a budget there would be 80: four tries of each. With it, about five are retried.
    assert 20 <= len(calls) <= 30


@pytest.mark.parametrize("wrong", [0, 6])
def test_retries_that_grpc_would_not_do_are_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        connect("localhost:1", attempts=wrong)


def test_rolling_back_is_never_sent_twice():
    calls = []

    def rollback(request, context):
        calls.append(1)
        raise domain.Unavailable("lost on the way")

    with builder({"RollbackModel": rollback}).start() as server, connect(server.target) as connection:
        with pytest.raises(errors.Unavailable):
            connection.call(
                stub(connection).RollbackModel,
                pb.RollbackModelRequest(family="FAMILY_ANOMALY", name="a", reason="b"),
            )
    assert len(calls) == 1


def test_the_service_config_is_what_grpc_documents():
    config = service_config(4, health_checks=True)
    assert config["loadBalancingConfig"] == [{"round_robin": {}}]
    [policy] = [one["retryPolicy"] for one in config["methodConfig"] if "retryPolicy" in one]
    assert policy["retryableStatusCodes"] == ["UNAVAILABLE", "CANCELLED"]
    assert 1 < policy["maxAttempts"] <= 5
    assert json.loads(json.dumps(config)) == config


def test_calls_go_round_all_servers():
    counts = {}

    def counted(name):
        def list_models(request, context):
            counts[name] = counts.get(name, 0) + 1
            return pb.ListModelsResponse()

        return builder({"ListModels": list_models})

    with counted("a").start() as a, counted("b").start() as b:
        with connect(f"ipv4:{a.target},{b.target}") as connection:
            call = stub(connection).ListModels
            eventually(lambda: (connection.call(call, LIST) and len(counts) == 2) or len(counts) == 2)
            counts.clear()
            for _ in range(20):
                connection.call(call, LIST)
    assert counts == {"a": 10, "b": 10}


@pytest.mark.parametrize("health_checks", [False, True])
def test_a_server_that_says_not_serving_gets_no_calls(health_checks):
    warm = threading.Event()
    ports = [free_port(), free_port()]
    seen = []

    def handler(port):
        def list_models(request, context):
            seen.append(port)
            return pb.ListModelsResponse()

        return {"ListModels": list_models}

    ready = builder(handler(ports[0]), port=ports[0])
    late = builder(handler(ports[1]), port=ports[1]).on_ready(lambda: warm.wait(SECONDS))
    with ready.start(), ThreadPoolExecutor(1) as threads:
        starting = threads.submit(late.start)
        with connect(
            f"ipv4:127.0.0.1:{ports[0]},127.0.0.1:{ports[1]}", health_checks=health_checks
        ) as connection:
            for _ in range(20):
                connection.call(stub(connection).ListModels, LIST)
            assert set(seen) == {ports[0]}
            warm.set()
            with starting.result(SECONDS):
                eventually(
                    lambda: (connection.call(stub(connection).ListModels, LIST) and False) or ports[1] in seen
                )


class RefusesWatch(health_pb2_grpc.HealthServicer):
    """Health as a server has it that has as many watchers as it bears."""

    def Check(self, request, context):
        return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)

    def Watch(self, request, context):
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many watchers")


class OnlyCheck(RefusesWatch):
    """Health without `Watch`."""

    Watch = health_pb2_grpc.HealthServicer.Watch


class Registry(registry_grpc.ModelRegistryServiceServicer):
    """Without a model."""

    def ListModels(self, request, context):
        return pb.ListModelsResponse()


@contextlib.contextmanager
def plain_server(health=None, port=0):
    """A gRPC server as others build one: a registry, with the health service that is given or none."""
    server = grpc.server(ThreadPoolExecutor(4))
    registry_grpc.add_ModelRegistryServiceServicer_to_server(Registry(), server)
    if health is not None:
        health_pb2_grpc.add_HealthServicer_to_server(health, server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


@pytest.mark.parametrize("health", [None, OnlyCheck(), RefusesWatch()], ids=["none", "check", "refused"])
def test_a_server_that_cannot_be_watched_is_called_all_the_same(health):
    """A thousand watchers without a token locked every new client out."""
    with plain_server(health) as target, connect(target) as connection:
        assert connection.call(stub(connection).ListModels, LIST) == pb.ListModelsResponse()


def test_calls_wait_for_a_service_that_comes_up_later():
    port = free_port()
    with connect(f"127.0.0.1:{port}", wait_for_ready=True) as connection, ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(connection.call, stub(connection).ListModels, LIST, timeout=SECONDS)
        with connect(f"127.0.0.1:{port}") as impatient, pytest.raises(errors.Unavailable):
            impatient.call(stub(impatient).ListModels, LIST, timeout=SECONDS)
        with plain_server(port=port):
            assert waiting.result(SECONDS) == pb.ListModelsResponse()


def test_a_slow_answer_is_a_deadline_and_not_for_ever():
    let_go = threading.Event()
    with answering(lambda context: let_go.wait(SECONDS)).start() as server:
        with connect(server.target) as connection:
            with pytest.raises(errors.DeadlineExceeded):
                connection.call(stub(connection).ListModels, LIST, timeout=0.1)
            let_go.set()


def test_the_same_for_asyncio():
    built, calls = failing(domain.Unavailable("down"), 1)

    async def main(target):
        async with connect_async(target) as connection:
            call = registry_grpc.ModelRegistryServiceStub(connection.channel)
            await connection.call(call.ListModels, LIST)
            with pytest.raises(errors.InvalidArgument) as caught:
                await connection.call(
                    call.GetModel,
                    pb.GetModelRequest(family="FAMILY_ANOMALY"),
                    metadata=(("x-request-id", "asked"),),
                )
            assert caught.value.request_id == "asked"
            assert [one.path for one in caught.value.violations] == ["name"]

    with built.start() as server:
        asyncio.run(main(server.target))
    assert len(calls) == 2


def test_a_rolling_restart_under_load_fails_no_call():
    ports = [free_port(), free_port()]
    environment = {"ADSML_DRAIN_WAIT_SECONDS": "0.5"}
    stop = threading.Event()
    answered: list[str] = []
    failed: list[BaseException] = []

    def load(connection):
        call = stub(connection).ListModels
        while not stop.is_set():
            try:
                answered.append(connection.call(call, LIST).next_page_token)
            except errors.CallError as error:
                failed.append(error)

    with contextlib.ExitStack() as processes:

        def start(port):
            return processes.enter_context(server_process(port, **environment))

        first = [start(port) for port in ports]
        with (
            connect(f"ipv4:127.0.0.1:{ports[0]},127.0.0.1:{ports[1]}") as connection,
            ThreadPoolExecutor(8) as threads,
        ):
            workers = [threads.submit(load, connection) for _ in range(8)]
            try:
                eventually(lambda: {str(one.pid) for one in first} <= set(answered))
                for old in first:
                    old.terminate()
                    assert old.wait() == 0
                    new = start(old.port)
                    eventually(lambda new=new: str(new.pid) in answered)
            finally:
                stop.set()
            for worker in workers:
                worker.result(SECONDS)
    assert failed == []
    assert len(set(answered)) == 4
    assert len(answered) > 100


def test_a_target_that_is_empty_is_refused():
    with pytest.raises(ValueError, match="empty"):
        connect("")
