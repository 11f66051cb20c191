"""The end of a server, in a process of its own."""

import contextlib
import json
import socket

import grpc
import pytest
from adsml.registry.v1 import registry_service_pb2 as pb
from adsml.registry.v1 import registry_service_pb2_grpc as registry_grpc
from adsml_common.serving.settings import ServingSettings
from adsml_common.settings import SettingsError, load_settings
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.processes import server_process
from support.serving import SECONDS, builder, eventually, free_port, load_on


def test_sigterm_takes_health_down_finishes_what_runs_closes_and_exits_with_0(tmp_path):
    closed = tmp_path / "closed"
    with (
        server_process(
            free_port(),
            ADSML_DRAIN_WAIT_SECONDS="1",
            ADSML_TEST_WORK_SECONDS="2",
            ADSML_TEST_CLOSED=str(closed),
        ) as server,
        grpc.insecure_channel(server.target) as channel,
    ):
        stub = registry_grpc.ModelRegistryServiceStub(channel)
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=SECONDS)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        running = stub.ListModels.future(pb.ListModelsRequest(family=1), timeout=SECONDS)
        server.terminate()
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        # Until balancers have seen that, calls are still answered; liveness stays up, or it would be killed.
        late = stub.ListModels.future(pb.ListModelsRequest(family=1), timeout=SECONDS)
        live = health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(service="liveness"), timeout=SECONDS
        )
        assert live.status == health_pb2.HealthCheckResponse.SERVING
        assert running.result().next_page_token == late.result().next_page_token == str(server.pid)
        assert server.wait() == 0
        assert closed.read_text() == "closed"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port), timeout=1)


def test_calls_that_outlast_the_grace_are_ended_and_the_process_goes():
    with (
        server_process(
            free_port(),
            ADSML_DRAIN_WAIT_SECONDS="0",
            ADSML_DRAIN_GRACE_SECONDS="0.2",
            ADSML_TEST_WORK_SECONDS="600",
        ) as server,
        grpc.insecure_channel(server.target) as channel,
    ):
        stub = registry_grpc.ModelRegistryServiceStub(channel)
        call = stub.ListModels.future(pb.ListModelsRequest(family=1), timeout=60)
        eventually(call.running)
        # A second call on the same connection is answered only after the first has arrived.
        health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=SECONDS)
        server.terminate()
        assert server.wait() == 0
        with pytest.raises(grpc.RpcError):
            call.result(SECONDS)


HEALTH_WATCHED = {"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}}


@pytest.mark.parametrize("watches", [True, False])
def test_a_plain_client_that_watches_health_loses_no_call_and_another_sees_only_that_the_server_went(watches):
    """Without retries, in any language: balancing and health are gRPC's own, and no code of ours is between.

    Where nobody watches, gRPC's core ends calls that come in while it tells of its end with CANCELLED
    (https://github.com/grpc/grpc/issues/41785): callers in other languages have to try those again, too.
    """
    config = json.dumps(HEALTH_WATCHED if watches else {"loadBalancingConfig": [{"round_robin": {}}]})
    options = [
        ("grpc.enable_retries", 0),
        ("grpc.service_config", config),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    with contextlib.ExitStack() as stack:
        wait = {"ADSML_DRAIN_WAIT_SECONDS": "1", "ADSML_TEST_WORK_SECONDS": "0.001"}
        old, new = (stack.enter_context(server_process(free_port(), **wait)) for _ in range(2))
        with load_on(f"ipv4:{old.target},{new.target}", callers=4, options=options) as codes:
            eventually(lambda: codes["OK"] > 40, within=60)
            old.terminate()
            assert old.wait() == 0
            after = codes["OK"]
            eventually(lambda: codes["OK"] > after + 40, within=60)
    assert codes.keys() <= ({"OK"} if watches else {"OK", "CANCELLED", "UNAVAILABLE"})


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"ADSML_TLS_CERT_FILE": "/nowhere.pem"}, "ADSML_TLS_CERT_FILE=/nowhere.pem"),
        ({"ADSML_TLS_CERT_FILE": __file__}, "ADSML_TLS_CERT_FILE and ADSML_TLS_KEY_FILE go together"),
        ({"ADSML_TLS_CLIENT_CA_FILE": __file__}, "needs ADSML_TLS_CERT_FILE"),
        ({"ADSML_AUTH": "jwt"}, "ADSML_JWT_SECRET"),
        ({"ADSML_AUTH": "jwt", "ADSML_JWT_SECRET": "x" * 32}, "ADSML_JWT_AUDIENCE"),
        ({"ADSML_AUTH": "mtls"}, "needs ADSML_TLS_CLIENT_CA_FILE"),
        ({"ADSML_PORT": "70000"}, "ADSML_PORT=70000"),
    ],
)
def test_settings_that_do_not_do(environment, said, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings(ServingSettings)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"host": "0.0.0.0"}, "there is no TLS"),
        ({"auth": "jwt", "jwt_secret": "short", "jwt_audience": "a"}, "needs 32 bytes"),
        ({"tls_cert_file": __file__, "tls_key_file": __file__}, "could not serve"),
    ],
)
def test_what_only_shows_at_the_start_ends_it_with_the_reason(given, said, capfd):
    assert builder(**given).run() == 1
    assert said in capfd.readouterr().err


def test_settings_are_printed_with_secrets_masked_and_a_second_signal_changes_nothing():
    secret = "x" * 40
    with server_process(
        free_port(),
        ADSML_JWT_SECRET=secret,
        ADSML_DATABASE_URL="postgresql://ada:s3cret@nowhere/db",
        ADSML_DRAIN_WAIT_SECONDS="0.5",
    ) as server:
        server.terminate()
        server.terminate()
        assert server.wait() == 0
    assert f"ADSML_PORT={server.port}" in server.errors
    assert "ADSML_JWT_SECRET=***" in server.errors
    assert secret not in server.errors
    assert "s3cret" not in server.errors
