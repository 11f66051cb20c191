"""`adsml doctor --server`: what a running service says of itself, seen from where a caller stands."""

import re
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

import grpc
from adsml.common.v1 import answer_pb2
from adsml.registry.v1 import registry_service_pb2 as registry_pb2
from adsml.registry.v1 import registry_service_pb2_grpc as registry_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from adsml_common.cli.doctor import Check, Health
from adsml_common.cli.remote import TOKEN_VARIABLE, Remote
from adsml_common.serving.health import LIVENESS, OVERALL, READINESS, SERVER_TIME, SERVER_VERSION
from adsml_common.version import version

_SECONDS: Final = 5.0
_CLOCKS_MAY_DIFFER: Final = 5.0
_CERTIFICATE_DAYS: Final = 14
_REGISTRY: Final = "adsml.registry.v1.ModelRegistryService"


def examine(remote: Remote) -> list[Check]:
    """Every check, in the order in which one needs the other."""
    checks = [_certificate(remote)] if remote.tls else []
    with remote.channel() as channel:
        heard = _Heard()
        checks.append(_health(channel, heard))
        if checks[-1].health is Health.FAILED:
            return checks
        checks += [
            _of(channel, READINESS, "the log says which dependency is down"),
            _of(channel, LIVENESS, "restart it"),
            _version(heard),
            _clock(heard),
        ]
        served = _reflection(channel, remote)
        checks.append(served)
        if served.health is Health.OK and _REGISTRY in served.detail:
            checks += [_models(channel, remote, family) for family in _families(served.detail)]
    return checks


@dataclass(slots=True)
class _Heard:
    """What came with the answer about health: when it came (seconds since 1970, `took` seconds), and what it said."""

    began: float = 0.0
    took: float = 0.0
    said: Mapping[str, Any] = field(default_factory=dict)


def _certificate(remote: Remote) -> Check:
    """The certificate, by a handshake of our own: gRPC does not show it."""
    name = "TLS certificate"
    host, _, port = remote.target.rpartition(":")
    context = ssl.create_default_context(cafile=None if remote.ca_file is None else str(remote.ca_file))
    context.set_alpn_protocols(["h2"])
    if remote.cert_file is not None:
        context.load_cert_chain(remote.cert_file, remote.key_file)
    try:
        with (
            socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=host.strip("[]")) as secured,
        ):
            found: Mapping[str, Any] = secured.getpeercert() or {}
            protocol = secured.version()
    except (OSError, ValueError) as error:
        cure = "Give --ca-file the authority that issued it, and use a name that stands in it"
        return Check(name, Health.FAILED, f"{error}. {cure}")
    days = (ssl.cert_time_to_seconds(found["notAfter"]) - time.time()) / 86_400
    detail = f"{protocol}; valid for {days:.0f} more days"
    if days < _CERTIFICATE_DAYS:
        return Check(name, Health.FAILED, f"{detail}. Renew it: the server reads the new files by itself")
    return Check(name, Health.OK, detail)


def _asked(name: str, cure: str, work: Callable[[], str]) -> Check:
    try:
        return Check(name, Health.OK, work())
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()
        told = f"{code.name}: {error.details()}"
        if code is grpc.StatusCode.UNAUTHENTICATED:
            return Check(name, Health.SKIPPED, f"{told}. Put a token into {TOKEN_VARIABLE}")
        if code is grpc.StatusCode.PERMISSION_DENIED:
            return Check(name, Health.SKIPPED, f"{told}. These credentials do not permit it")
        return Check(name, Health.FAILED, f"{told}. {cure}")


def _health(channel: grpc.Channel, heard: _Heard) -> Check:
    def look() -> str:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        heard.began = time.time()
        request = health_pb2.HealthCheckRequest(service=OVERALL)
        answer, call = stub.Check.with_call(request, timeout=_SECONDS, wait_for_ready=True)
        heard.took = time.time() - heard.began
        heard.said = dict(call.trailing_metadata() or ())
        return f"{_word(answer.status)}, answered in {heard.took * 1e3:.0f} ms"

    cure = "Check address and port, that the service runs, and whether it speaks TLS (--tls)"
    check = _asked("health", cure, look)
    if check.health is Health.OK and not check.detail.startswith("SERVING"):
        return replace(check, health=Health.FAILED, detail=f"{check.detail}. It is starting, or draining")
    return check


def _of(channel: grpc.Channel, name: str, cure: str) -> Check:
    def look() -> str:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        return _word(stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=_SECONDS).status)

    check = _asked(name, cure, look)
    if check.health is Health.OK and check.detail != "SERVING":
        return replace(check, health=Health.FAILED, detail=f"{check.detail}: {cure}")
    return check


def _word(status: int) -> str:
    return health_pb2.HealthCheckResponse.ServingStatus.Name(status)


def _version(heard: _Heard) -> Check:
    theirs, ours = heard.said.get(SERVER_VERSION, "unknown"), version()
    if theirs == ours:
        return Check("version", Health.OK, theirs)
    return Check("version", Health.SKIPPED, f"the server's is {theirs}, this command's {ours}")


def _clock(heard: _Heard) -> Check:
    try:
        ahead = float(heard.said[SERVER_TIME]) - (heard.began + heard.took / 2)
    except (KeyError, ValueError):
        return Check("clock", Health.SKIPPED, "the server does not tell its time")
    detail = f"the server's is {abs(ahead):.1f} s {'ahead' if ahead > 0 else 'behind'}"
    # Half of the way there and back is all that is known of when the server looked at its clock.
    if abs(ahead) > _CLOCKS_MAY_DIFFER + heard.took / 2:
        cure = "Tokens may seem expired or not yet valid: set the clocks"
        return Check("clock", Health.FAILED, f"{detail}. {cure}")
    return Check("clock", Health.OK, detail)


def _reflection(channel: grpc.Channel, remote: Remote) -> Check:
    def look() -> str:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        answers = stub.ServerReflectionInfo(iter([request]), timeout=_SECONDS, metadata=remote.metadata)
        names = (one.name for answer in answers for one in answer.list_services_response.service)
        return ", ".join(sorted(names))

    return _asked("services, by reflection", "Is this an adsml service?", look)


def _families(services: str) -> list[answer_pb2.Family.ValueType]:
    """The families among served packages: ``adsml.classifier.v1`` is one, ``adsml.registry.v1`` is none."""
    packages = re.findall(r"\badsml\.(\w+)\.v1\.", services)
    numbers = (dict(answer_pb2.Family.items()).get(f"FAMILY_{one.upper()}") for one in packages)
    return [one for one in numbers if one is not None]


def _models(channel: grpc.Channel, remote: Remote, family: answer_pb2.Family.ValueType) -> Check:
    def look() -> str:
        request = registry_pb2.ListModelsRequest(
            family=family, status=registry_pb2.MODEL_STATUS_ACTIVE, page_size=1_000
        )
        stub = registry_grpc.ModelRegistryServiceStub(channel)
        found = stub.ListModels(request, timeout=_SECONDS, metadata=remote.metadata)
        if not found.models:
            return "none is active: rules and defaults answer"
        oldest = min(found.models, key=lambda one: one.ref.train_time.ToDatetime())
        age = datetime.now(UTC) - oldest.ref.train_time.ToDatetime(tzinfo=UTC)
        more = "more than " if found.next_page_token else ""
        return f"{more}{len(found.models)} active; the oldest is {oldest.ref.name}, {age.days} days"

    return _asked("models", "The service's log says more", look)
