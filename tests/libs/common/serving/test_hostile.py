"""What callers without credentials, greedy ones and ones that do not read can cost, on a real server."""

import contextlib
import gc
import os
import socket
import subprocess
import sys
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import jwt
import pytest
from adsml.forecasting.v1 import forecasting_service_pb2 as forecasting_pb2
from adsml.registry.v1 import registry_service_pb2 as pb
from adsml_common.serving import harness, runtime
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.serving import FORECASTING, REGISTRY, SECONDS, builder, eventually, refusal, running

SERVER = Path(__file__).parents[3] / "support" / "server_process.py"
SECRET = "s" * 40
LOCKED = {"auth": "jwt", "jwt_secret": SECRET, "jwt_audience": "adsml"}
MEBIBYTE = 2**20


def token(name):
    claims = {"sub": name, "aud": "adsml", "exp": 2**32, "scope": "adsml.read", "config_ids": "*"}
    return (("authorization", f"Bearer {jwt.encode(claims, SECRET, algorithm='HS256')}"),)


@contextlib.contextmanager
def server_process(**settings):
    """A server in a process of its own: what it holds in memory is its own."""
    environment = {f"ADSML_{name.upper()}": str(value) for name, value in settings.items()}
    process = subprocess.Popen(
        [sys.executable, SERVER],
        env={**os.environ, "ADSML_PORT": "0", "ADSML_DRAIN_WAIT_SECONDS": "0", **environment},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        for line in process.stderr:
            if "serving adsml" in line:
                break
        # What it logs is read on, or it would stand still.
        threading.Thread(target=process.stderr.read, daemon=True).start()
        yield process, line.split()[-1]
    finally:
        process.kill()
        process.wait()


def resident(process) -> int:
    """Its memory in MiB."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) // 1024


def peak(process) -> int:
    """The most it ever had, in MiB."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) // 1024


def send(target, path, data, *, metadata=(), compression=None):
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(target, options, compression) as channel:
        return refusal(lambda: channel.unary_unary(path)(data, timeout=SECONDS, metadata=metadata))


@pytest.mark.parametrize(
    "path", [f"/{REGISTRY}/ListModels", "/grpc.health.v1.Health/Check", "/no.such.Service/Method"]
)
@pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip], ids=["plain", "gzip"])
# The longest that gRPC itself lets through, and longer ones.
@pytest.mark.parametrize("size", [15, 60])
def test_what_a_stranger_sends_takes_no_memory(path, size, compression):
    # 24 calls of 61 KB with 60 MiB in each took a server from 290 to 1,260 MB.
    data = bytes(size * MEBIBYTE)
    with server_process(**LOCKED) as (process, target):
        before = resident(process)
        with ThreadPoolExecutor(480 // size) as threads:
            many = list(threads.map(lambda _: send(target, path, data, compression=compression), range(32)))
        assert not any(one.code is grpc.StatusCode.OK for one in many)
        # Health reads what anybody sends, of one address two messages at once.
        assert peak(process) - before < (160 if "Health" in path else 100)


def test_a_message_that_was_refused_is_not_kept():
    data = bytes(15 * MEBIBYTE)
    with running(builder(**LOCKED)) as service:
        # It must not be for the collector to find it.
        gc.disable()
        tracemalloc.start()
        try:
            for _ in range(8):
                refused = send(
                    service.server.target, f"/{FORECASTING}/BatchForecast", data, metadata=token("ada")
                )
                assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
            eventually(lambda: tracemalloc.get_traced_memory()[0] < 20 * MEBIBYTE)
        finally:
            tracemalloc.stop()
            gc.enable()


def test_what_a_caller_packs_is_not_unpacked():
    with running(builder(**LOCKED)) as service:
        packed = send(
            service.server.target,
            f"/{REGISTRY}/ListModels",
            bytes(15 * MEBIBYTE),
            metadata=token("ada"),
            compression=grpc.Compression.Gzip,
        )
    assert packed.code is grpc.StatusCode.UNIMPLEMENTED


@contextlib.contextmanager
def announcing(service, *names, count):
    """Callers that begin so many calls each and send no message."""
    never = threading.Event()

    def nothing():
        never.wait(SECONDS)
        yield from ()

    begin = service.channel.stream_unary(f"/{FORECASTING}/BatchForecast")
    held = [
        begin.future(nothing(), metadata=token(name), timeout=SECONDS) for name in names for _ in range(count)
    ]
    try:
        yield held
    finally:
        never.set()
        for one in held:
            one.cancel()


def test_who_announces_messages_and_sends_none_keeps_nobody_out():
    with (
        running(builder(**LOCKED, request_memory_bytes=64 * MEBIBYTE)) as service,
        announcing(service, "mallory", count=50),
    ):
        for _ in range(20):
            service.forecasting.BatchForecast(batch(), metadata=token("ada"), timeout=SECONDS)


def test_requests_in_work_have_so_much_memory_and_no_more():
    with (
        running(builder(**LOCKED, request_memory_bytes=16 * MEBIBYTE, queue_seconds=0.2)) as service,
        announcing(service, "mallory", "eve", count=50),
    ):
        one = refusal(
            lambda: [
                service.forecasting.BatchForecast(batch(), metadata=token("ada"), timeout=SECONDS)
                for _ in range(50)
            ]
        )
    assert one.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "memory" in one.message


def test_a_message_that_does_not_come_is_not_waited_for_long(monkeypatch):
    monkeypatch.setattr(harness, "_MESSAGE_SECONDS", 0.2)
    with running(builder(**LOCKED)) as service, announcing(service, "mallory", count=1) as (held,):
        one = refusal(held.result)
    assert one.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "did not come within 0.2 s" in one.message


def test_there_are_so_many_connections_and_no_more():
    with running(builder(max_connections=8)) as service, contextlib.ExitStack() as stack:
        address = ("127.0.0.1", service.server.port)
        for _ in range(8):
            stack.enter_context(socket.create_connection(address, timeout=SECONDS)).recv(1)
        late = stack.enter_context(socket.create_connection(address, timeout=SECONDS))
        assert late.recv(1) == b"", "the server closes it without a word"


def test_who_does_not_finish_a_handshake_is_hung_up_on(monkeypatch):
    monkeypatch.setattr(runtime, "_HANDSHAKE_SECONDS", 0.3)
    with (
        running(builder()) as service,
        socket.create_connection(("127.0.0.1", service.server.port), timeout=SECONDS) as silent,
    ):
        while silent.recv(1024):
            pass


def test_one_connection_has_so_many_calls_at_once_and_no_more():
    let_go, begun = threading.Event(), threading.Semaphore(0)

    def list_models(request, context):
        begun.release()
        let_go.wait(SECONDS)
        return pb.ListModelsResponse()

    with running(builder({"ListModels": list_models}, workers=8, max_concurrent_streams=2)) as service:
        calls = [
            service.registry.ListModels.future(pb.ListModelsRequest(family=1), timeout=SECONDS)
            for _ in range(6)
        ]
        assert all(begun.acquire(timeout=SECONDS) for _ in range(2))
        assert not begun.acquire(timeout=0.5)
        let_go.set()
        assert [call.result() for call in calls] == [pb.ListModelsResponse()] * 6


def entity():
    return {"entity": {"config_id": 1, "entity_type": 1, "entity_id": "a"}}


def batch():
    return forecasting_pb2.BatchForecastRequest(items=[{"subject": entity(), "metric": 1}])


def test_a_thousand_watchers_lock_no_new_client_out():
    with running(builder()) as service:
        watching = []
        for _ in range(2):
            # Options that differ give each channel a connection of its own.
            channel = grpc.insecure_channel(service.server.target, options=[("n", len(watching))])
            stub = health_pb2_grpc.HealthStub(channel)
            watching += [(channel, stub.Watch(health_pb2.HealthCheckRequest())) for _ in range(500)]
        refused = sum(_first(stream) is grpc.StatusCode.UNIMPLEMENTED for _, stream in watching)
        assert refused >= 800, "of one address only so many are let in"
        config = '{"healthCheckConfig": {"serviceName": ""}, "loadBalancingConfig": [{"round_robin": {}}]}'
        with grpc.insecure_channel(
            service.server.target, options=[("grpc.service_config", config), ("n", -1)]
        ) as channel:
            call = channel.unary_unary(
                f"/{REGISTRY}/ListModels",
                pb.ListModelsRequest.SerializeToString,
                pb.ListModelsResponse.FromString,
            )
            assert call(pb.ListModelsRequest(family=1), timeout=SECONDS) == pb.ListModelsResponse()
        assert service.health() == "SERVING"
        for channel, stream in watching:
            stream.cancel()
            channel.close()


def _first(stream):
    try:
        next(stream)
    except grpc.RpcError as error:
        return error.code()
    return None


def backtest_request():
    return forecasting_pb2.BacktestRequest(subjects=[entity()], metric=1)


def endless(request, context):
    number = 0
    while True:
        number += 1
        yield forecasting_pb2.BacktestResponse(progress={"done": number, "message": "x" * 10_000})


def test_streams_that_nobody_reads_hold_no_thread():
    with running(builder({"Backtest": endless}, workers=2, **LOCKED)) as service:
        unread = [
            service.forecasting.Backtest(backtest_request(), metadata=token("mallory"), timeout=SECONDS)
            for _ in range(6)
        ]
        eventually(lambda: service.server.runtime.pool.busy == 0)
        for name in ("ada", "bob", "eve"):
            stream = service.forecasting.Backtest(backtest_request(), metadata=token(name), timeout=SECONDS)
            assert [next(stream).progress.done for _ in range(100)] == list(range(1, 101))
            stream.cancel()
        for stream in unread:
            stream.cancel()


def test_one_caller_has_so_many_streams_and_is_told_so():
    with running(builder({"Backtest": endless}, caller_streams=3, **LOCKED)) as service:
        streams = []
        for _ in range(3):
            streams.append(
                service.forecasting.Backtest(backtest_request(), metadata=token("a"), timeout=SECONDS)
            )
            next(streams[-1])
        more = service.forecasting.Backtest(backtest_request(), metadata=token("a"), timeout=SECONDS)
        refused = refusal(lambda: next(more))
        assert refused.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        other = service.forecasting.Backtest(backtest_request(), metadata=token("b"), timeout=SECONDS)
        assert next(other).progress.done == 1
        for stream in (*streams, other):
            stream.cancel()


def test_a_deadline_that_is_too_short_is_called_so():
    # More than half of 10,000 calls with 1 ms ended UNAVAILABLE: a retry would have been the wrong answer.
    with running(builder()) as service:
        # One stub: made anew for each call, they come too slowly to show it.
        stub = service.registry
        stub.ListModels(pb.ListModelsRequest(family=1), timeout=SECONDS)
        calls = [stub.ListModels.future(pb.ListModelsRequest(family=1), timeout=0.001) for _ in range(10_000)]
        codes = {call.code() for call in calls}
    assert codes <= {grpc.StatusCode.OK, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED}


def test_a_cheap_caller_beside_a_greedy_one_keeps_its_calls():
    # 160 ensembles of one caller shed everybody's cheap calls.
    enough = threading.Event()

    def forecast(request, context):
        enough.wait(0.3)
        return forecasting_pb2.ForecastResponse()

    with running(builder({"Forecast": forecast}, workers=4, queue_size=16, **LOCKED)) as service:

        def press():
            request = forecasting_pb2.ForecastRequest(subject=entity(), metric=1, method=2)
            while not enough.is_set():
                try:
                    service.forecasting.Forecast(request, metadata=token("mallory"), timeout=SECONDS)
                except grpc.RpcError:
                    enough.wait(0.05)

        with ThreadPoolExecutor(40) as threads:
            pressing = [threads.submit(press) for _ in range(40)]
            try:
                eventually(lambda: service.server.runtime.pool.waiting == 16)
                answered = 0
                for _ in range(50):
                    with contextlib.suppress(grpc.RpcError):
                        service.registry.ListModels(
                            pb.ListModelsRequest(family=1), metadata=token("ada"), timeout=2.0
                        )
                        answered += 1
            finally:
                enough.set()
        assert answered >= 45
        assert not any(one.exception() for one in pressing)
