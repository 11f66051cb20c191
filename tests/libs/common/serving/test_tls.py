"""TLS from files that are replaced while the server runs."""

import ssl

import grpc
import pytest
from adsml.registry.v1 import registry_service_pb2 as pb
from adsml.registry.v1 import registry_service_pb2_grpc as registry_grpc
from adsml_common.serving.tls import server_credentials
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.certificates import Authority
from support.serving import SECONDS, builder, eventually


def served(target):
    """The certificate that the server shows now, PEM."""
    host, port = target.split(":")
    return ssl.get_server_certificate((host, int(port)), timeout=SECONDS)


def ask(target, authority):
    with grpc.secure_channel(target, grpc.ssl_channel_credentials(authority.certificate)) as channel:
        stub = registry_grpc.ModelRegistryServiceStub(channel)
        return stub.ListModels(pb.ListModelsRequest(family=1), timeout=SECONDS)


def test_a_renewed_certificate_is_served_without_a_restart(tmp_path):
    authority = Authority()
    cert_file, key_file = authority.issue("first").write(tmp_path, "server")
    built = builder(host="127.0.0.1", tls_cert_file=cert_file, tls_key_file=key_file)
    with built.start() as server:
        first = served(server.target)
        assert ask(server.target, authority) == pb.ListModelsResponse()
        renewed = authority.issue("second")
        # One file after the other: in between they don't belong together, and the old pair is served on.
        (tmp_path / "new").write_bytes(renewed.certificate)
        (tmp_path / "new").replace(cert_file)
        assert served(server.target) == first
        (tmp_path / "new").write_bytes(renewed.key)
        (tmp_path / "new").replace(key_file)
        eventually(lambda: served(server.target) != first)
        assert ask(server.target, authority) == pb.ListModelsResponse()


def test_garbage_in_place_of_a_certificate_leaves_the_old_one(tmp_path):
    authority = Authority()
    cert_file, key_file = authority.issue("first").write(tmp_path, "server")
    built = builder(host="127.0.0.1", tls_cert_file=cert_file, tls_key_file=key_file)
    with built.start() as server:
        cert_file.write_bytes(b"no certificate at all")
        assert ask(server.target, authority) == pb.ListModelsResponse()
        cert_file.unlink()
        assert ask(server.target, authority) == pb.ListModelsResponse()


def test_key_and_certificate_that_do_not_belong_together_stop_the_start(tmp_path):
    authority = Authority()
    cert_file, _ = authority.issue("a").write(tmp_path, "a")
    _, key_file = authority.issue("b").write(tmp_path, "b")
    with pytest.raises(ValueError, match="don't belong together"):
        server_credentials(cert_file=cert_file, key_file=key_file)
    with pytest.raises(ValueError, match="don't belong together"):
        builder(tls_cert_file=cert_file, tls_key_file=key_file).start()


def test_probes_that_speak_no_tls_have_a_port_with_health_and_nothing_else(tmp_path):
    authority = Authority()
    cert_file, key_file = authority.issue("server").write(tmp_path, "server")
    built = builder(health_port=0, tls_cert_file=cert_file, tls_key_file=key_file)
    with built.start() as server:
        with grpc.insecure_channel(f"127.0.0.1:{server.runtime.health_port}") as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            for name in ("", "liveness", "readiness"):
                answer = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=SECONDS)
                assert answer.status == health_pb2.HealthCheckResponse.SERVING
            registry = registry_grpc.ModelRegistryServiceStub(channel)
            with pytest.raises(grpc.RpcError) as refused:
                registry.ListModels(pb.ListModelsRequest(family=1), timeout=SECONDS)
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_health_port_that_is_taken_stops_the_start():
    with builder(health_port=0).start() as first, pytest.raises(OSError, match="can't listen"):
        builder(health_port=first.runtime.health_port).start()
