"""Health: what probes and balancers see."""

import threading

import grpc
from adsml_common.serving.health import LIVENESS, READINESS, HealthBoard, Hysteresis
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hypothesis import given
from hypothesis import strategies as st
from support.serving import FORECASTING, REGISTRY, SECONDS, builder, eventually, free_port, refusal, running

SERVING, NOT_SERVING = "SERVING", "NOT_SERVING"


def test_hysteresis_rises_at_once_the_first_time_and_takes_two_later():
    state = Hysteresis()
    seen = [state.observe(ok) for ok in (False, True, False, False, True, False, False, False, True, True)]
    assert seen == [False, True, True, True, True, True, True, False, False, True]


@given(st.lists(st.booleans(), max_size=60))
def test_hysteresis_never_changes_on_a_single_observation_once_it_was_up(observed):
    state = Hysteresis()
    states = [state.observe(ok) for ok in observed]
    ups = [index for index, up in enumerate(states) if up]
    if not ups:
        assert not any(observed)
        return
    for index in range(ups[0] + 1, len(states)):
        if states[index] != states[index - 1]:
            needed = 3 if not states[index] else 2
            assert observed[index - needed + 1 : index + 1] == [states[index]] * needed


def test_a_board_starts_not_serving_and_liveness_depends_on_nothing():
    board = HealthBoard(("a.S",))
    board.ready = False
    expected = {"": False, "a.S": False, READINESS: False, LIVENESS: True}
    assert board.statuses() == expected
    board.change(warm=True)
    assert board.statuses() == {**expected, "": True, "a.S": True}
    board.change(ready=True)
    assert all(board.statuses().values())
    board.change(ready=False)
    assert board.statuses() == {**expected, "": True, "a.S": True}
    board.change(ready=True)
    board.change(draining=True)
    assert board.statuses() == expected


def test_names_are_known_and_not_serving_while_the_server_warms():
    port, seen = free_port(), {}

    def look():
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            for name in ("", REGISTRY, FORECASTING, READINESS, LIVENESS):
                answer = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=SECONDS)
                seen[name] = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)

    with running(builder(port=port).on_ready(look)):
        assert seen == {
            "": NOT_SERVING,
            REGISTRY: NOT_SERVING,
            FORECASTING: NOT_SERVING,
            READINESS: NOT_SERVING,
            LIVENESS: SERVING,
        }
        look()
        assert set(seen.values()) == {SERVING}


def test_an_unknown_name_is_not_found_by_check_and_unknown_by_watch():
    with running(builder()) as service:
        refused = refusal(lambda: service.health("no.such.Service"))
        assert refused.code is grpc.StatusCode.NOT_FOUND
        assert refused.info.reason == "NOT_FOUND"
        stub = health_pb2_grpc.HealthStub(service.channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(service="no.such.Service"), timeout=SECONDS)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        watch.cancel()


def test_list_tells_every_name():
    with running(builder()) as service:
        call = service.channel.unary_unary(
            "/grpc.health.v1.Health/List",
            request_serializer=lambda _: b"",
            response_deserializer=health_pb2.HealthListResponse.FromString,
        )
        listed = call(None, timeout=SECONDS).statuses
        assert set(listed) == {"", REGISTRY, FORECASTING, READINESS, LIVENESS}


def test_bytes_that_are_no_message_are_the_callers_fault():
    with running(builder()) as service:
        for method in ("Check", "Watch"):
            path = f"/grpc.health.v1.Health/{method}"
            make = service.channel.unary_unary if method == "Check" else service.channel.unary_stream
            refused = refusal(lambda make=make, path=path: _drained(make(path)(b"\xff", timeout=SECONDS)))
            assert refused.code is grpc.StatusCode.INVALID_ARGUMENT


def _drained(answer):
    return answer if isinstance(answer, bytes) else list(answer)


def test_readiness_follows_its_check_and_the_rest_does_not():
    broken = threading.Event()

    def check():
        if broken.is_set():
            raise RuntimeError("the database is down")

    built = builder(readiness_seconds=0.01).readiness("database", check)
    with running(built) as service:
        eventually(lambda: service.health(READINESS) == SERVING)
        broken.set()
        eventually(lambda: service.health(READINESS) == NOT_SERVING)
        assert service.health() == service.health(REGISTRY) == service.health(LIVENESS) == SERVING
        broken.clear()
        eventually(lambda: service.health(READINESS) == SERVING)


def test_a_check_that_hangs_counts_as_failed_and_is_not_joined_by_others():
    hang, begun = threading.Event(), []

    def check():
        begun.append(1)
        if len(begun) > 1:
            hang.wait(SECONDS)

    with running(builder(readiness_seconds=0.01).readiness("database", check)) as service:
        eventually(lambda: service.health(READINESS) == SERVING)
        eventually(lambda: service.health(READINESS) == NOT_SERVING)
        assert len(begun) == 2
        hang.set()
        eventually(lambda: service.health(READINESS) == SERVING)


def test_watchers_see_the_drain_and_do_not_hold_it_up():
    with running(builder(drain_grace_seconds=600)) as service:
        stub = health_pb2_grpc.HealthStub(service.channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=SECONDS)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        stopper = threading.Thread(target=service.server.stop)
        stopper.start()
        assert [one.status for one in watch] == [health_pb2.HealthCheckResponse.NOT_SERVING]
        stopper.join(SECONDS)
        assert not stopper.is_alive()
