"""Full disks, read-only files, jumping clocks and damaged files under a server: refused by name, and over when mended."""

import contextlib
import errno
import time
from pathlib import Path

import grpc
import pytest
import sqlalchemy as sa
from adsml.registry.v1 import registry_service_pb2 as pb
from adsml.registry.v1 import registry_service_pb2_grpc as registry_grpc
from adsml_common.database import Database
from adsml_common.registry.artifacts import ArtifactStore
from adsml_common.registry.loader import ModelLoader
from adsml_common.registry.registry import ModelRegistry
from adsml_common.serving.registry_service import ModelRegistryService
from adsml_common.serving.server import ServerBuilder
from adsml_common.serving.tokens import TokenVerifier
from support.models import NAME, activated, value_of
from support.serving import REGISTRY, SECONDS, builder, refusal, running, settings

ACTIVATE = pb.ActivateModelVersionRequest(family=1, name=NAME, version=1, reason="test")


@pytest.fixture
def dialect() -> str:
    """The faults are those of a file."""
    return "sqlite"


@contextlib.contextmanager
def serving(registry: ModelRegistry):
    built = ServerBuilder(settings()).add(
        ModelRegistryService(registry, family="classifier", prefixes=["classifier"]),
        REGISTRY,
    )
    with built.start() as server, grpc.insecure_channel(server.target) as channel:
        yield registry_grpc.ModelRegistryServiceStub(channel)


@contextlib.contextmanager
def every_connection(database: Database, pragma: str, back: str):
    """Set something on each connection that is used, and put it back."""

    def set_it(connection: object, *_: object) -> None:
        connection.execute(pragma)

    sa.event.listen(database.engine, "checkout", set_it)
    try:
        yield
    finally:
        sa.event.remove(database.engine, "checkout", set_it)
        with database.engine.connect() as connection:
            connection.exec_driver_sql(back)
        database.engine.dispose()


@pytest.mark.parametrize(
    ("pragma", "back", "told"),
    [
        # What SQLite says where the disk has no more room: the file may not grow by a page.
        ("PRAGMA max_page_count = 1", "PRAGMA max_page_count = 1000000", "database or disk is full"),
        ("PRAGMA query_only = ON", "PRAGMA query_only = OFF", "attempt to write a readonly database"),
    ],
    ids=["full", "read-only"],
)
def test_what_can_not_be_written_is_unavailable_and_read_on(
    registry: ModelRegistry, database: Database, pragma: str, back: str, told: str
) -> None:
    activated(registry, 1)
    activated(registry, 2)
    with serving(registry) as stub:
        with every_connection(database, pragma, back):
            refused = refusal(
                lambda: (
                    stub.ActivateModelVersion(
                        pb.ActivateModelVersionRequest(family=1, name=NAME, version=1, reason="x" * 2000),
                        timeout=SECONDS,
                    )
                    and _fill(stub)
                )
            )
            assert refused.code is grpc.StatusCode.UNAVAILABLE
            assert told in refused.message
            assert len(stub.ListModels(pb.ListModelsRequest(family=1), timeout=SECONDS).models) == 2
        assert stub.ActivateModelVersion(ACTIVATE, timeout=SECONDS).model.ref.version == 1


def _fill(stub: registry_grpc.ModelRegistryServiceStub) -> None:
    """Write histories until the file would have to grow."""
    for number in range(200):
        stub.ActivateModelVersion(
            pb.ActivateModelVersionRequest(family=1, name=NAME, version=1 + number % 2, reason="x" * 2000),
            timeout=SECONDS,
        )


def test_a_cache_folder_without_rights_keeps_no_server_from_serving(
    registry: ModelRegistry, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    activated(registry, 1)
    locked, asked = tmp_path / "locked", []

    def refusing(real):
        def refuse(self: Path, *given, **named):
            if locked in (self, *self.parents):
                asked.append(self.name)
                raise PermissionError(errno.EACCES, "Permission denied", str(self))
            return real(self, *given, **named)

        return refuse

    for name in ("exists", "mkdir"):
        monkeypatch.setattr(Path, name, refusing(getattr(Path, name)))
    bare = ModelRegistry(database, ArtifactStore(str(tmp_path / "artifacts"), cache_dir=locked))
    loader = ModelLoader(bare, value_of, poll_seconds=60, capacity=3)
    built = builder().on_ready(lambda: loader.prefetch([NAME]))
    with running(built) as server:
        assert server.health() == "SERVING"
        assert loader.get(NAME).model == 1
    assert "artifacts.db" in asked


def test_bytes_flipped_while_serving_change_no_answer(registry: ModelRegistry, tmp_path: Path) -> None:
    activated(registry, 1)
    now = [0.0]
    loader = ModelLoader(registry, value_of, poll_seconds=10, capacity=2, clock=lambda: now[0])
    assert loader.get(NAME).model == 1
    version = activated(registry, 2)
    path = tmp_path / "artifacts" / version.artifact_uri
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    now[0] = 100.0
    loaded = loader.get(NAME)
    assert (loaded.model, loaded.version.version) == (1, 1)
    assert loaded.degradations[0].name == str(version)


@pytest.mark.parametrize("jump", [-3600.0, 3600.0])
def test_a_clock_that_jumps_ends_or_revives_no_token_for_good(jump: float) -> None:
    import jwt
    from adsml_common.domain.errors import Unauthenticated

    start, now = time.time(), [time.time()]
    secret = b"s" * 40
    verifier = TokenVerifier(audience="adsml", secret=secret, clock=lambda: now[0])
    token = jwt.encode(
        {"sub": "a", "aud": "adsml", "iat": start, "exp": start + 600}, secret, algorithm="HS256"
    )
    assert verifier.caller(token).identity == "a"
    now[0] = start + jump
    if jump > 0:
        with pytest.raises(Unauthenticated):
            verifier.caller(token)
    now[0] = start + 10
    assert verifier.caller(token).identity == "a"
    now[0] = start + 1000
    with pytest.raises(Unauthenticated):
        verifier.caller(token)
