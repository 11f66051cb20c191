"""Servers that trust keys load what was signed for the very model, and nothing else."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from adsml_common.database import Database
from adsml_common.domain.errors import ArtifactCorrupt
from adsml_common.registry.artifacts import ArtifactStore
from adsml_common.registry.bundle import Bundle, pack
from adsml_common.registry.registry import ModelRegistry
from adsml_common.registry.signatures import Signatures
from adsml_common.settings import Settings, SettingsError
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from support.models import NAME, candidate


@pytest.fixture
def dialect() -> str:
    return "sqlite"


@pytest.fixture
def keys(tmp_path: Path):
    """A trainer's key, and the files of it and of another that is trusted too."""
    key, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    private, public = tmp_path / "signing.pem", tmp_path / "trusted.pem"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(
        b"".join(
            one.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            for one in (other, key)
        )
    )
    return private, public


def opened(database: Database, tmp_path: Path, **files: Path) -> ModelRegistry:
    settings = Settings(artifact_url=str(tmp_path / "artifacts"), cache_dir=tmp_path / "cache", **files)
    return ModelRegistry.open(database, settings)


def test_what_the_trainer_signed_is_loaded(database: Database, tmp_path: Path, keys) -> None:
    private, public = keys
    trainer = opened(database, tmp_path, model_signing_key_file=private)
    version = trainer.register(candidate(7))
    server = opened(database, tmp_path, model_trusted_keys_file=public)
    assert server.read(version).json("value.json") == 7
    # Who trusts no key in particular reads it as well.
    assert opened(database, tmp_path).read(version).json("value.json") == 7


def test_what_nobody_or_a_stranger_signed_is_not(database: Database, tmp_path: Path, keys) -> None:
    _, public = keys
    server = opened(database, tmp_path, model_trusted_keys_file=public)
    unsigned = opened(database, tmp_path).register(candidate(7))
    with pytest.raises(ArtifactCorrupt, match="is not signed"):
        server.read(unsigned)
    with pytest.raises(ArtifactCorrupt, match="can't be activated"):
        server.activate(NAME, unsigned.version, actor="test", reason="try")
    stranger = ModelRegistry(
        database,
        ArtifactStore(str(tmp_path / "artifacts"), cache_dir=tmp_path / "cache"),
        signatures=Signatures(Ed25519PrivateKey.generate()),
    )
    with pytest.raises(ArtifactCorrupt, match="by a key trusted here"):
        server.read(stranger.register(candidate(8)))


def test_a_signature_is_good_for_its_model_and_its_content_only(
    database: Database, tmp_path: Path, keys
) -> None:
    private, public = keys
    trainer = opened(database, tmp_path, model_signing_key_file=private)
    server = opened(database, tmp_path, model_trusted_keys_file=public)
    version = trainer.register(candidate(7))
    with pytest.raises(ArtifactCorrupt, match="not signed for this model"):
        server.read(replace(version, name="classifier/2/adset"))
    # Whoever can write registry and store can make a right checksum, but no signature.
    bundle = Bundle.of(model_type="number", files={"value.json": b"8"})
    settings = Settings(model_signing_key_file=private)
    old = Signatures.of(settings).sign(NAME, b"another manifest")
    data = pack(bundle, sign=lambda manifest: old)
    artifacts = ArtifactStore(str(tmp_path / "artifacts"), cache_dir=tmp_path / "cache")
    artifacts.put("forged.zip", data)
    forged = replace(version, artifact_uri="forged.zip", sha256=hashlib.sha256(data).hexdigest())
    with pytest.raises(ArtifactCorrupt, match="not signed for this model"):
        server.read(forged)


def test_a_file_that_holds_no_such_key_stops_the_start(database: Database, tmp_path: Path, keys) -> None:
    private, public = keys
    for files in ({"model_signing_key_file": public}, {"model_trusted_keys_file": private}):
        with pytest.raises(SettingsError, match="ADSML_MODEL_"):
            opened(database, tmp_path, **files)
