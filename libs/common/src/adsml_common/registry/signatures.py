"""Signatures of model bundles: a checksum in the registry stops accidents, a signature stops whoever writes there.

Trainers sign with an Ed25519 key; servers that are told the public keys load nothing else. What is signed is the
model's name and the bundle's manifest, which lists the SHA-256 of every file.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from adsml_common.domain.errors import ArtifactCorrupt
from adsml_common.settings import Settings, SettingsError, variables

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_CONTEXT: Final = b"adsml model bundle\0"


@dataclass(frozen=True)
class Signatures:
    """Signs what is registered, checks what is loaded; each where there are keys for it."""

    private: "Ed25519PrivateKey | None" = None
    trusted: "Sequence[Ed25519PublicKey]" = field(default=())

    @classmethod
    def of(cls, settings: Settings) -> "Signatures":
        """The keys that the settings name; raises `SettingsError` where a file holds no such key."""
        names = variables(type(settings))
        private = None
        if settings.model_signing_key_file is not None:
            private = _private(settings.model_signing_key_file, names["model_signing_key_file"])
        trusted: list[Ed25519PublicKey] = []
        if settings.model_trusted_keys_file is not None:
            trusted = _public(settings.model_trusted_keys_file, names["model_trusted_keys_file"])
        return cls(private, tuple(trusted))

    def sign(self, name: str, manifest: bytes) -> bytes | None:
        """The signature of a model's bundle; None without a key."""
        return None if self.private is None else self.private.sign(_signed(name, manifest))

    def check(self, name: str, manifest: bytes, signature: bytes | None) -> None:
        """Raise `ArtifactCorrupt` for a bundle that no trusted key signed for this model."""
        if not self.trusted:
            return
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - slow to load

        if signature is None:
            raise ArtifactCorrupt(f"the bundle of {name} is not signed")
        for key in self.trusted:
            try:
                key.verify(signature, _signed(name, manifest))
            except InvalidSignature:
                continue
            return
        raise ArtifactCorrupt(f"the bundle of {name} is not signed for this model by a key trusted here")


def _signed(name: str, manifest: bytes) -> bytes:
    return _CONTEXT + name.encode() + b"\0" + manifest


def _private(path: Path, variable: str) -> "Ed25519PrivateKey":
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise SettingsError(f"{variable}={path}: {error}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise SettingsError(
            f"{variable}={path}: expected an Ed25519 private key (openssl genpkey -algorithm ed25519)"
        )
    return key


def _public(path: Path, variable: str) -> "list[Ed25519PublicKey]":
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415

    end = b"-----END PUBLIC KEY-----"
    keys: list[Ed25519PublicKey] = []
    try:
        for text in path.read_bytes().split(end)[:-1]:
            key = load_pem_public_key(text.strip() + b"\n" + end + b"\n")
            if not isinstance(key, Ed25519PublicKey):
                raise ValueError("one of its keys is no Ed25519 key")
            keys.append(key)
    except (OSError, ValueError) as error:
        raise SettingsError(f"{variable}={path}: {error}") from None
    if not keys:
        raise SettingsError(f"{variable}={path}: holds no public key (openssl pkey -in KEY -pubout)")
    return keys
