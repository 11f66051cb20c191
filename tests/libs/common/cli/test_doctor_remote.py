"""adsml doctor --server against real servers."""

from pathlib import Path

import pytest
from support.certificates import Authority
from support.serving import builder, free_port

from .conftest import Adsml


@pytest.fixture
def dialect() -> str:
    """No database is looked at: one is enough."""
    return "sqlite"


def checks(ran: object) -> dict[str, tuple[str, str]]:
    return {one["name"]: (one["health"], one["detail"]) for one in ran.json()["checks"]}


def test_a_service_that_is_well_is_told_so(adsml: Adsml) -> None:
    with builder().start() as server:
        ran = adsml("doctor", "--server", server.target, "--json")
    found = checks(ran)
    assert ran.status == 0
    assert {health for health, _ in found.values()} == {"ok"}
    assert set(found) == {
        "health", "readiness", "liveness", "version", "clock", "services, by reflection", "models",
    }  # fmt: skip
    assert "adsml.registry.v1.ModelRegistryService" in found["services, by reflection"][1]
    assert "none is active" in found["models"][1]


def test_nobody_there_is_said_with_a_cure(adsml: Adsml) -> None:
    ran = adsml("doctor", "--server", f"127.0.0.1:{free_port()}", "--json")
    assert ran.status == 1
    [(health, detail)] = checks(ran).values()
    assert health == "failed"
    assert "--tls" in detail


def test_a_locked_service_is_looked_at_through_tls_and_asks_for_a_token(adsml: Adsml, tmp_path: Path) -> None:
    authority = Authority()
    cert_file, key_file = authority.issue("localhost").write(tmp_path, "server")
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(authority.certificate)
    built = builder(
        tls_cert_file=cert_file, tls_key_file=key_file, auth="jwt", jwt_secret="s" * 32, jwt_audience="adsml"
    )
    with built.start() as server:
        target = f"localhost:{server.port}"
        found = checks(adsml("doctor", "--server", target, "--ca-file", str(ca_file), "--json"))
        strange = checks(adsml("doctor", "--server", target, "--tls", "--json"))
    assert found["health"][0] == "ok"
    assert found["TLS certificate"][1].startswith("TLSv1.3")
    assert "ADSML_TOKEN" in found["services, by reflection"][1]
    assert strange["TLS certificate"][0] == "failed"
    assert "--ca-file" in strange["TLS certificate"][1]


@pytest.mark.parametrize(
    "wrong",
    [
        ("--server", "nowhere"),
        ("--server", "a:1", "--ca-file", "/nowhere.pem"),
        ("--server", "a:1", "--cert-file", "x"),
    ],
)
def test_wrong_options_are_named(adsml: Adsml, wrong: tuple[str, ...]) -> None:
    ran = adsml("doctor", *wrong)
    assert ran.status == 42
    assert wrong[-2] in ran.said
