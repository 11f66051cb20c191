"""Who may call what: every way in that must be closed, in one table."""

import base64
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import jwt
import pytest
from adsml.common.v1 import entity_pb2, metrics_pb2
from adsml.forecasting.v1 import forecasting_service_pb2 as forecasting_pb2
from adsml.forecasting.v1 import forecasting_service_pb2_grpc as forecasting_grpc
from adsml.registry.v1 import registry_service_pb2 as pb
from adsml.registry.v1 import registry_service_pb2_grpc as registry_grpc
from adsml_common.domain.errors import Unauthenticated
from adsml_common.serving.tokens import TokenVerifier
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from support.certificates import Authority
from support.serving import SECONDS, builder, refusal

AUDIENCE, ISSUER = "adsml", "https://issuer.example"
UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
DENIED = grpc.StatusCode.PERMISSION_DENIED
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
SPKI = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def claims(**changed: Any) -> dict[str, Any]:
    """Those of a good token; a change to None leaves a claim out."""
    good = {
        "sub": "dashboard",
        "aud": AUDIENCE,
        "iss": ISSUER,
        "exp": time.time() + 300,
        "scope": "adsml.read",
        "config_ids": [1],
    }
    return {name: value for name, value in (good | changed).items() if value is not None}


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def by_hand(header: dict[str, Any], payload: dict[str, Any], signature: bytes) -> str:
    """A token that no library would sign."""
    return ".".join([b64(json.dumps(header).encode()), b64(json.dumps(payload).encode()), b64(signature)])


@dataclass(frozen=True)
class Locked:
    """A server behind TLS that wants tokens or certificates, and what it takes to get in or not."""

    target: str
    key: rsa.RSAPrivateKey
    other: rsa.RSAPrivateKey
    authority: Authority
    folder: Path
    handled: list[str] = field(default_factory=list)

    def token(self, key: Any = None, *, kid: str = "one", **changed: Any) -> str:
        return jwt.encode(claims(**changed), key or self.key, algorithm="RS256", headers={"kid": kid})

    def call(
        self,
        token: str | None,
        *,
        method: str = "ListModels",
        request: Any = None,
        certificate: Any = None,
        plain: bool = False,
        scheme: str = "Bearer ",
        twice: bool = False,
    ) -> Any:
        metadata = () if token is None else (("authorization", scheme + token),) * (1 + twice)
        credentials = grpc.ssl_channel_credentials(
            self.authority.certificate,
            None if certificate is None else certificate.key,
            None if certificate is None else certificate.certificate,
        )
        opened = grpc.insecure_channel if plain else lambda at: grpc.secure_channel(at, credentials)
        with opened(self.target) as channel:
            stub: Any = registry_grpc.ModelRegistryServiceStub(channel)
            if method in {"Forecast", "BatchForecast"}:
                stub = forecasting_grpc.ForecastingServiceStub(channel)
            return getattr(stub, method)(
                request or pb.ListModelsRequest(family=1), metadata=metadata, timeout=SECONDS
            )


def make_locked(folder: Path, **settings: Any) -> tuple[Any, dict[str, Any]]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    authority = Authority()
    cert_file, key_file = authority.issue("localhost").write(folder, "server")
    jwks_file = folder / "jwks.json"
    jwks = {"keys": [{**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key())), "kid": "one"}]}
    jwks_file.write_text(json.dumps(jwks))
    handled: list[str] = []

    def seen(answer: Any) -> Callable[[Any, Any], Any]:
        def handle(request: Any, context: Any) -> Any:
            handled.append(context.caller.identity)
            return answer

        return handle

    built = builder(
        {
            "ListModels": seen(pb.ListModelsResponse()),
            "ActivateModelVersion": seen(pb.ActivateModelVersionResponse()),
            "Forecast": seen(forecasting_pb2.ForecastResponse()),
            "BatchForecast": seen(forecasting_pb2.BatchForecastResponse()),
        },
        host="127.0.0.1",
        tls_cert_file=cert_file,
        tls_key_file=key_file,
        jwt_jwks_file=jwks_file,
        jwt_audience=AUDIENCE,
        jwt_issuer=ISSUER,
        **settings,
    )
    return built, {"key": key, "other": other, "authority": authority, "folder": folder, "handled": handled}


@pytest.fixture(scope="module")
def locked(tmp_path_factory):
    """Wants a token."""
    built, parts = make_locked(tmp_path_factory.mktemp("locked"), auth="jwt")
    with built.start() as server:
        yield Locked(server.target, **parts)


@pytest.fixture(scope="module")
def mutual(tmp_path_factory):
    """Demands a client certificate, and knows the callers by it."""
    folder = tmp_path_factory.mktemp("mutual")
    clients = Authority("authority of clients")
    (folder / "clients.pem").write_bytes(clients.certificate)
    built, parts = make_locked(
        folder,
        auth="mtls",
        tls_client_ca_file=folder / "clients.pem",
        mtls_callers={
            "spiffe://shop/dashboard": {"scopes": ["adsml.read"], "config_ids": [1]},
            "bidder": {"scopes": ["adsml.read", "adsml.models"], "config_ids": "*"},
        },
    )
    with built.start() as server:
        yield Locked(server.target, **parts), clients


def entity(config_id: int) -> entity_pb2.Subject:
    return entity_pb2.Subject(
        entity=entity_pb2.EntityRef(config_id=config_id, entity_type=entity_pb2.ENTITY_TYPE_AD, entity_id="7")
    )


def forecast(config_id: int) -> forecasting_pb2.ForecastRequest:
    return forecasting_pb2.ForecastRequest(
        subject=entity(config_id),
        metric=metrics_pb2.METRIC_LEADS,
        method=forecasting_pb2.FORECAST_METHOD_EMA,
    )


def batch(*config_ids: int) -> forecasting_pb2.BatchForecastRequest:
    return forecasting_pb2.BatchForecastRequest(
        items=[
            forecasting_pb2.BatchForecastItem(subject=entity(one), metric=metrics_pb2.METRIC_LEADS)
            for one in config_ids
        ]
    )


ACTIVATE = pb.ActivateModelVersionRequest(family=1, name="a", version=1, reason="b")
HEADER = {"alg": "RS256", "kid": "one", "typ": "JWT"}

CASES: dict[str, tuple[grpc.StatusCode, Callable[[Locked], Any]]] = {
    "no token": (UNAUTHENTICATED, lambda s: s.call(None)),
    "an empty token": (UNAUTHENTICATED, lambda s: s.call("")),
    "another scheme": (UNAUTHENTICATED, lambda s: s.call("YTpi", scheme="Basic ")),
    "no scheme": (UNAUTHENTICATED, lambda s: s.call(s.token(), scheme="")),
    "garbage": (UNAUTHENTICATED, lambda s: s.call("a.b.c")),
    "a token of 100 kB": (UNAUTHENTICATED, lambda s: s.call(s.token(sub="x" * 9_000))),
    "expired": (UNAUTHENTICATED, lambda s: s.call(s.token(exp=time.time() - 60))),
    "not valid yet": (UNAUTHENTICATED, lambda s: s.call(s.token(nbf=time.time() + 600))),
    "issued in the future": (UNAUTHENTICATED, lambda s: s.call(s.token(iat=time.time() + 600))),
    "without expiry": (UNAUTHENTICATED, lambda s: s.call(s.token(exp=None))),
    "an expiry that is no time": (UNAUTHENTICATED, lambda s: s.call(s.token(exp="soon"))),
    "an expiry of 10^400": (UNAUTHENTICATED, lambda s: s.call(signed(s, '{"exp": 1' + "0" * 400 + "}"))),
    "an expiry that is not a number": (UNAUTHENTICATED, lambda s: s.call(signed(s, '{"exp": NaN}'))),
    "an expiry without end": (UNAUTHENTICATED, lambda s: s.call(signed(s, '{"exp": Infinity}'))),
    "valid from 10^400": (UNAUTHENTICATED, lambda s: s.call(signed(s, '{"nbf": -1' + "0" * 400 + "}"))),
    "an empty subject": (UNAUTHENTICATED, lambda s: s.call(s.token(sub=""))),
    "a subject of spaces": (UNAUTHENTICATED, lambda s: s.call(s.token(sub="  "))),
    "two authorization headers": (UNAUTHENTICATED, lambda s: s.call(s.token(), twice=True)),
    "for another audience": (UNAUTHENTICATED, lambda s: s.call(s.token(aud="payroll"))),
    "for no audience": (UNAUTHENTICATED, lambda s: s.call(s.token(aud=None))),
    "from another issuer": (UNAUTHENTICATED, lambda s: s.call(s.token(iss="https://evil.example"))),
    "without subject": (UNAUTHENTICATED, lambda s: s.call(s.token(sub=None))),
    "signed by another key": (UNAUTHENTICATED, lambda s: s.call(s.token(s.other))),
    "a key nobody knows": (UNAUTHENTICATED, lambda s: s.call(s.token(kid="two"))),
    "a changed payload": (
        UNAUTHENTICATED,
        lambda s: s.call(
            ".".join(
                [
                    (parts := s.token().split("."))[0],
                    b64(json.dumps(claims(config_ids="*")).encode()),
                    parts[2],
                ]
            )
        ),
    ),
    "alg none": (UNAUTHENTICATED, lambda s: s.call(by_hand({**HEADER, "alg": "none"}, claims(), b""))),
    "alg nOnE": (UNAUTHENTICATED, lambda s: s.call(by_hand({**HEADER, "alg": "nOnE"}, claims(), b"x"))),
    "the public key as an HMAC secret": (UNAUTHENTICATED, lambda s: s.call(confused(s))),
    "a scope for something else": (DENIED, lambda s: s.call(s.token(scope="adsml.feedback"))),
    "no scope": (DENIED, lambda s: s.call(s.token(scope=None))),
    "reading only, and activating": (
        DENIED,
        lambda s: s.call(s.token(), method="ActivateModelVersion", request=ACTIVATE),
    ),
    "another account": (
        DENIED,
        lambda s: s.call(s.token(), request=pb.ListModelsRequest(family=1, config_id=2)),
    ),
    "another account's entity": (DENIED, lambda s: s.call(s.token(), method="Forecast", request=forecast(2))),
    "another account among a batch": (
        DENIED,
        lambda s: s.call(s.token(), method="BatchForecast", request=batch(1, 1, 2, 1)),
    ),
    "no accounts": (
        DENIED,
        lambda s: s.call(s.token(config_ids=None), method="Forecast", request=forecast(1)),
    ),
    "accounts in a form of one's own": (
        DENIED,
        lambda s: s.call(s.token(config_ids="1"), method="Forecast", request=forecast(1)),
    ),
    "plain text to the TLS port": (UNAVAILABLE, lambda s: s.call(s.token(), plain=True)),
}


def signed(server: Locked, more: str) -> str:
    """A token rightly signed over claims that only a JSON text of one's own can hold."""
    body = json.dumps(claims())[:-1] + ", " + more[1:]
    header = b64(json.dumps(HEADER).encode())
    text = f"{header}.{b64(body.encode())}"
    signature = server.key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{text}.{b64(signature)}"


def confused(server: Locked) -> str:
    """A token signed by HMAC with the bytes of the RSA public key, which is no secret."""
    import hashlib
    import hmac

    header, payload = {**HEADER, "alg": "HS256"}, claims()
    body = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(payload).encode())}"
    pem = server.key.public_key().public_bytes(*SPKI)
    return f"{body}.{b64(hmac.new(pem, body.encode(), hashlib.sha256).digest())}"


@pytest.mark.parametrize("case", CASES)
def test_what_is_not_allowed_is_refused_and_reaches_no_handler(locked, case):
    code, call = CASES[case]
    before = len(locked.handled)
    refused = refusal(lambda: call(locked))
    assert refused.code is code
    assert len(locked.handled) == before
    if code is not UNAVAILABLE:
        assert refused.info.domain == "adsml.internal"
        assert refused.info.reason in {"UNAUTHENTICATED", "PERMISSION_DENIED"}
        # Nothing of keys, algorithms, or what a good token would look like.
        for told in ("RS256", "HS256", "kid", "key", AUDIENCE + " ", ISSUER):
            assert told not in refused.message


def test_there_are_at_least_two_dozen_ways_in_that_are_tried():
    assert len(CASES) >= 24


def test_the_way_in_that_is_open(locked):
    assert locked.call(locked.token()) == pb.ListModelsResponse()
    assert locked.call(locked.token(), method="Forecast", request=forecast(1))
    assert locked.call(locked.token(config_ids="*"), method="BatchForecast", request=batch(1, 2, 3))
    both = locked.token(scope="adsml.read adsml.models")
    assert locked.call(both, method="ActivateModelVersion", request=ACTIVATE)
    assert locked.call(locked.token(scope=None, scp=["adsml.read"])) == pb.ListModelsResponse()
    assert locked.handled[-1] == "dashboard"


def test_clocks_may_differ_a_little(locked):
    assert locked.call(locked.token(exp=time.time() - 10, nbf=time.time() + 10)) == pb.ListModelsResponse()


def test_a_caller_never_learns_whether_anothers_entity_exists(locked):
    answers = {
        refusal(
            lambda one=one: locked.call(locked.token(), method="Forecast", request=forecast(one))
        ).message.replace(str(one), "N")
        for one in (2, 999_999)
    }
    assert answers == {"these credentials do not permit account N"}


def test_a_token_once_taken_is_refused_as_soon_as_it_expires():
    now = [1000.0]
    secret = b"x" * 32
    verifier = TokenVerifier(audience=AUDIENCE, leeway_seconds=5, secret=secret, clock=lambda: now[0])
    token = jwt.encode(claims(exp=1100), secret, algorithm="HS256")
    for now[0] in (1000.0, 1104.0):
        assert verifier.caller(token).identity == "dashboard"
    now[0] = 1105.0
    with pytest.raises(Unauthenticated, match="expired"):
        verifier.caller(token)


def test_keys_are_read_again_and_old_tokens_die_with_old_keys(tmp_path):
    first, second = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    path = tmp_path / "key.pem"
    path.write_bytes(first.public_key().public_bytes(*SPKI))
    verifier = TokenVerifier(audience=AUDIENCE, public_key_file=path)
    old, new = (jwt.encode(claims(), key, algorithm="ES256") for key in (first, second))
    assert verifier.caller(old).identity == "dashboard"
    with pytest.raises(Unauthenticated):
        verifier.caller(new)
    (tmp_path / "new.pem").write_bytes(second.public_key().public_bytes(*SPKI) + b"\n")
    (tmp_path / "new.pem").replace(path)
    assert verifier.caller(new).identity == "dashboard"
    with pytest.raises(Unauthenticated):
        verifier.caller(old)


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (rsa.generate_private_key(public_exponent=65537, key_size=2048), "PS256"),
        (ec.generate_private_key(ec.SECP384R1()), "ES384"),
        (ed25519.Ed25519PrivateKey.generate(), "EdDSA"),
    ],
    ids=["PS256", "ES384", "EdDSA"],
)
def test_other_kinds_of_keys(tmp_path, key, algorithm):
    path = tmp_path / "key.pem"
    path.write_bytes(key.public_key().public_bytes(*SPKI))
    verifier = TokenVerifier(audience=AUDIENCE, public_key_file=path)
    assert verifier.caller(jwt.encode(claims(), key, algorithm=algorithm)).config_ids == frozenset({1})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"secret": b"short"}, "needs 32 bytes"),
        ({}, "tokens need a secret"),
    ],
)
def test_keys_that_are_none_stop_the_start(given, said):
    with pytest.raises(ValueError, match=said):
        TokenVerifier(audience=AUDIENCE, **given)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        '{"keys": []}',
        '{"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "a", "alg": "HS256"}]}',
        "[1]",
    ],
)
def test_a_key_set_without_public_keys_stops_the_start(tmp_path, text):
    path = tmp_path / "jwks.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"."):
        TokenVerifier(audience=AUDIENCE, jwks_file=path)


def test_a_weak_key_stops_the_start(tmp_path):
    path = tmp_path / "key.pem"
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - refused
    path.write_bytes(weak.public_key().public_bytes(*SPKI))
    with pytest.raises(ValueError, match="2048 bits"):
        TokenVerifier(audience=AUDIENCE, public_key_file=path)


def test_a_caller_is_known_by_its_certificate(mutual):
    server, clients = mutual
    dashboard = clients.issue("whatever", uri="spiffe://shop/dashboard")
    assert server.call(None, certificate=dashboard) == pb.ListModelsResponse()
    assert server.handled[-1] == "spiffe://shop/dashboard"
    bidder = clients.issue("whatever", dns="bidder")
    assert server.call(None, certificate=bidder, method="ActivateModelVersion", request=ACTIVATE)
    assert server.handled[-1] == "bidder"
    # In a certificate that has no other name.
    old = clients.issue("bidder", alternatives=False)
    assert server.call(None, certificate=old, method="ActivateModelVersion", request=ACTIVATE)


@pytest.mark.parametrize(
    "case",
    [
        "none", "of another authority", "of a stranger", "beyond its scope", "beyond its accounts",
        "a common name beside others", "a mail address",
    ],
)  # fmt: skip
def test_certificates_that_do_not_do(mutual, case):
    server, clients = mutual
    dashboard = clients.issue("whatever", uri="spiffe://shop/dashboard")
    code, call = {
        "none": (UNAVAILABLE, lambda: server.call(None)),
        "of another authority": (
            UNAVAILABLE,
            lambda: server.call(None, certificate=Authority("mine").issue("bidder")),
        ),
        "of a stranger": (
            UNAUTHENTICATED,
            lambda: server.call(None, certificate=clients.issue("stranger")),
        ),
        "a common name beside others": (
            UNAUTHENTICATED,
            lambda: server.call(None, certificate=clients.issue("bidder")),
        ),
        "a mail address": (
            UNAUTHENTICATED,
            lambda: server.call(None, certificate=clients.issue("whatever", mail="spiffe://shop/dashboard")),
        ),
        "beyond its scope": (
            DENIED,
            lambda: server.call(None, certificate=dashboard, method="ActivateModelVersion", request=ACTIVATE),
        ),
        "beyond its accounts": (
            DENIED,
            lambda: server.call(None, certificate=dashboard, method="Forecast", request=forecast(2)),
        ),
    }[case]
    before = len(server.handled)
    assert refusal(call).code is code
    assert len(server.handled) == before


def test_health_asks_nobody_and_reflection_asks_everybody(locked):
    from grpc_health.v1 import health_pb2, health_pb2_grpc
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

    credentials = grpc.ssl_channel_credentials(locked.authority.certificate)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    with grpc.secure_channel(locked.target, credentials) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        assert health.Check(health_pb2.HealthCheckRequest(), timeout=SECONDS).status == 1
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        refused = refusal(lambda: list(stub.ServerReflectionInfo(iter([request]), timeout=SECONDS)))
        assert refused.code is UNAUTHENTICATED
        metadata = (("authorization", f"Bearer {locked.token()}"),)
        [answer] = stub.ServerReflectionInfo(iter([request]), timeout=SECONDS, metadata=metadata)
        names = [one.name for one in answer.list_services_response.service]
        assert "adsml.registry.v1.ModelRegistryService" in names


def test_every_method_of_every_contract_has_a_scope():
    from adsml.anomaly.v1 import anomaly_service_pb2
    from adsml.classifier.v1 import classifier_service_pb2
    from adsml.common.v1 import options_pb2
    from adsml.impact.v1 import impact_service_pb2
    from adsml.registry.v1 import registry_service_pb2
    from adsml.training.v1 import training_service_pb2

    modules = (
        anomaly_service_pb2,
        classifier_service_pb2,
        forecasting_pb2,
        impact_service_pb2,
        registry_service_pb2,
        training_service_pb2,
    )
    scopes = {
        method.full_name: method.GetOptions().Extensions[options_pb2.required_scope]
        for module in modules
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    assert set(scopes.values()) == {"adsml.read", "adsml.feedback", "adsml.models", "adsml.training"}
    assert scopes["adsml.registry.v1.ModelRegistryService.RollbackModel"] == "adsml.models"
