"""Files with certificates and keys, read again when they change, and the server's credentials made of them."""

import logging
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Generic, TypeVar

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import NameOID

T = TypeVar("T")

_log = logging.getLogger(__name__)


class WatchedFiles(Generic[T]):
    """What some files, read together, say as of now. Safe to use from any thread.

    `parse` makes sense of their contents, or raises ValueError. What can't be read later on is logged, and what they
    said before stands: files are replaced one after another, and half a replacement must not end a server.
    """

    def __init__(self, paths: Sequence[Path], parse: Callable[[Sequence[bytes]], T]) -> None:
        self._paths = tuple(paths)
        self._parse = parse
        self._lock = threading.Lock()
        self._stamp = self._look()
        self._value = parse([path.read_bytes() for path in self._paths])
        self._version = 1

    def get(self) -> tuple[T, int]:
        """What they say, and a number that rises with every change of it."""
        with self._lock:
            try:
                stamp = self._look()
                if stamp != self._stamp:
                    self._value = self._parse([path.read_bytes() for path in self._paths])
                    self._stamp = stamp
                    self._version += 1
                    _log.info("read %s again", ", ".join(map(str, self._paths)))
            except (OSError, ValueError) as error:
                _log.warning("keep what %s said before: %s", ", ".join(map(str, self._paths)), error)
            return self._value, self._version

    def _look(self) -> list[tuple[int, int, int]]:
        stats = [path.stat() for path in self._paths]
        return [(one.st_mtime_ns, one.st_size, one.st_ino) for one in stats]


def server_credentials(
    *, cert_file: Path, key_file: Path, client_ca_file: Path | None = None
) -> grpc.ServerCredentials:
    """Credentials that follow their PEM files, so that a renewed certificate needs no restart.

    Client certificates of `client_ca_file` are demanded where it is given. Raises `OSError` or `ValueError` where the
    files can't be read now, are no PEM, or key and certificate don't belong together.
    """
    paths = [key_file, cert_file] if client_ca_file is None else [key_file, cert_file, client_ca_file]
    files = WatchedFiles(paths, _configuration)
    first, seen = files.get()

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        nonlocal seen
        configuration, version = files.get()
        if version == seen:
            return None
        seen = version
        return configuration

    return grpc.dynamic_ssl_server_credentials(
        first,
        fetch,  # type: ignore[arg-type]  # None is documented: nothing new
        require_client_authentication=client_ca_file is not None,
    )


def _configuration(contents: Sequence[bytes]) -> grpc.ServerCertificateConfiguration:
    key, chain, *authorities = contents
    try:
        private = load_pem_private_key(key, password=None)
    except TypeError as error:
        raise ValueError(f"the private key can't be used: {error}") from None
    spki = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    leaf = x509.load_pem_x509_certificates(chain)[0]
    if leaf.public_key().public_bytes(*spki) != private.public_key().public_bytes(*spki):
        raise ValueError("certificate and private key don't belong together")
    for one in authorities:
        x509.load_pem_x509_certificates(one)
    return grpc.ssl_server_certificate_configuration(
        [(key, chain)], root_certificates=authorities[0] if authorities else None
    )


@lru_cache(maxsize=1_024)
def identities(certificate: bytes) -> tuple[str, ...]:
    """The names in a verified PEM certificate that may be an identity: URIs, then DNS names, of its alternative names.

    The common name counts only in a certificate without alternative names (RFC 6125); mail addresses never do.
    """
    leaf = x509.load_pem_x509_certificate(certificate)
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        common = leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return tuple(str(one.value) for one in common)
    except ValueError:
        return ()
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    return (*uris, *names.get_values_for_type(x509.DNSName))
