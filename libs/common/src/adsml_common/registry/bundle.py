"""A model as one file: a zip with a manifest, and nothing in it that could run code.

Format version 1: ``manifest.json`` with the keys of `Manifest`, and the files it lists with their SHA-256. The bytes
depend on the contents only, so the same model packed twice is the same file.
"""

import functools
import hashlib
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final, TypeVar

from adsml_common.domain.errors import ArtifactCorrupt

FORMAT_VERSION: Final = 1
"""The newest format this version writes; it reads every older one."""

MANIFEST: Final = "manifest.json"
SIGNATURE: Final = "manifest.sig"
MAX_BYTES: Final = 64 << 20
"""What any bundle may unpack to."""
_PARSED_BYTES: Final = 4 << 20
"""What a bundle may unpack to whose parser does not say (`unpacks_to`)."""
MAX_FILES: Final = 1000
_MAX_MANIFEST_BYTES: Final = 4 << 20
_MAX_SIGNATURE_BYTES: Final = 4096
_LOCAL: Final = struct.Struct("<4s2xH18xHH")
"""A local file header: signature, flags, lengths of its name and of what else follows it."""
_ENCRYPTED: Final = 1
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
_PICKLES: Final = frozenset({".pkl", ".pickle", ".joblib", ".dill"})


ParserT = TypeVar("ParserT", bound=Callable[..., Any])


def unpacks_to(max_bytes: int) -> Callable[[ParserT], ParserT]:
    """Marks a parser of models that need more than others with what their bundles may unpack to."""

    def marked(parse: ParserT) -> ParserT:
        parse.max_bytes = max_bytes  # type: ignore[attr-defined]  # functions take any
        return parse

    return marked


def most_bytes(parse: Callable[..., Any] | None) -> int:
    """What a bundle for this parser, or for none, may unpack to."""
    return MAX_BYTES if parse is None else int(getattr(parse, "max_bytes", _PARSED_BYTES))


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a bundle says of itself; `files` is the SHA-256 of each, by name."""

    format_version: int
    model_type: str
    feature_columns: tuple[str, ...]
    library_versions: Mapping[str, str]
    files: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Bundle:
    """A manifest and the files it lists."""

    manifest: Manifest
    files: Mapping[str, bytes]

    @classmethod
    def of(
        cls,
        *,
        model_type: str,
        files: Mapping[str, bytes],
        feature_columns: Sequence[str] = (),
        library_versions: Mapping[str, str] | None = None,
    ) -> "Bundle":
        """A bundle of the newest format, its manifest made from the files."""
        return cls(
            Manifest(
                FORMAT_VERSION,
                model_type,
                tuple(feature_columns),
                dict(library_versions or {}),
                {name: _sha256(data) for name, data in sorted(files.items())},
            ),
            dict(sorted(files.items())),
        )

    def json(self, name: str) -> Any:
        """A file parsed as JSON; raises `ArtifactCorrupt` where there is none, or it is not JSON."""
        try:
            return json.loads(self.files[name])
        except KeyError:
            raise ArtifactCorrupt(f"the model has no file {name}") from None
        except ValueError as error:
            raise ArtifactCorrupt(f"the model's file {name} is not JSON: {error}") from None


def pack(bundle: Bundle, *, sign: Callable[[bytes], bytes | None] | None = None) -> bytes:
    """The bundle as bytes, the same for the same contents; `sign` gives the signature of the manifest's bytes, or None.

    Raises `ValueError` for a name that `unpack` would refuse, or a pickle by its name.
    """
    for name in bundle.files:
        if (fault := _name_fault(name)) is not None:
            raise ValueError(f"a bundle can't hold {name!r}: {fault}")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        facts = {name: getattr(bundle.manifest, name) for name in Manifest.__slots__}
        manifest = json.dumps(facts, indent=1, sort_keys=True, ensure_ascii=False).encode()
        _write(archive, MANIFEST, manifest)
        if sign is not None and (signature := sign(manifest)) is not None:
            _write(archive, SIGNATURE, signature)
        for name in sorted(bundle.files):
            _write(archive, name, bundle.files[name])
    return out.getvalue()


def unpack(
    data: bytes,
    *,
    check: Callable[[bytes, bytes | None], None] | None = None,
    max_bytes: int = MAX_BYTES,
) -> Bundle:
    """Read a bundle, trusting nothing in it.

    `check` refuses the manifest's bytes with their signature, or without one, before anything else is read. Raises
    `ArtifactCorrupt` where it is damaged, of a newer format, larger than `max_bytes` unpacked, with unlisted or
    missing files, or with names that point elsewhere.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _unpack(data, archive.infolist(), check, max_bytes)
    except ArtifactCorrupt:
        raise
    # On bytes that are no zip, or a damaged one, zipfile raises nearly anything.
    except Exception as error:
        raise ArtifactCorrupt(f"the model's bundle is damaged: {error}") from None


def _unpack(
    data: bytes,
    entries: Sequence[zipfile.ZipInfo],
    check: Callable[[bytes, bytes | None], None] | None,
    max_bytes: int,
) -> Bundle:
    names = [entry.filename for entry in entries]
    if len(entries) > MAX_FILES or len(set(names)) != len(names):
        raise ArtifactCorrupt(f"the model's bundle has doubled names or more than {MAX_FILES} files")
    if sum(entry.file_size for entry in entries) > max_bytes:
        raise ArtifactCorrupt(f"the model's bundle unpacks to more than {max_bytes >> 20} MiB")
    by_name = dict(zip(names, entries, strict=True))
    if MANIFEST not in by_name:
        raise ArtifactCorrupt(f"the model's bundle has no {MANIFEST}")
    written = _read(data, by_name.pop(MANIFEST), limit=_MAX_MANIFEST_BYTES)
    signed = by_name.pop(SIGNATURE, None)
    if check is not None:
        check(written, None if signed is None else _read(data, signed, limit=_MAX_SIGNATURE_BYTES))
    manifest = _parse_manifest(written)
    if set(manifest.files) != set(by_name):
        odd = sorted(set(manifest.files) ^ set(by_name))[0]
        raise ArtifactCorrupt(f"the model's bundle and its manifest do not agree on {odd!r}")
    files: dict[str, bytes] = {}
    for name, entry in sorted(by_name.items()):
        if (fault := _name_fault(name)) is not None:
            raise ArtifactCorrupt(f"the model's bundle holds {name!r}: {fault}")
        files[name] = _read(data, entry, limit=max_bytes)
        if _sha256(files[name]) != manifest.files[name]:
            raise ArtifactCorrupt(f"the model's file {name} does not match its checksum")
    return Bundle(manifest, files)


def _read(data: bytes, entry: zipfile.ZipInfo, *, limit: int) -> bytes:
    """One file. zipfile's own reading is made for archives on disks, and of a small one takes five times as long."""
    signature, flags, name, extra = _LOCAL.unpack_from(data, entry.header_offset)
    if signature != b"PK\3\4" or flags & _ENCRYPTED:
        raise ArtifactCorrupt(f"the model's bundle is damaged: {entry.filename} has no readable header")
    start = entry.header_offset + _LOCAL.size + name + extra
    packed = data[start : start + entry.compress_size]
    # The size an archive declares is a claim: never take more than that, whatever the stream unpacks to.
    most = min(entry.file_size, limit) + 1
    if entry.compress_type == zipfile.ZIP_STORED:
        found = packed[:most]
    elif entry.compress_type == zipfile.ZIP_DEFLATED:
        found = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, most)
    else:
        raise ArtifactCorrupt(f"the model's bundle is damaged: {entry.filename} is packed in an unknown way")
    if len(found) != entry.file_size or len(packed) != entry.compress_size:
        raise ArtifactCorrupt(f"the model's file {entry.filename} is not of the size it declares")
    return found


def _parse_manifest(data: bytes) -> Manifest:
    try:
        raw = json.loads(data)
        version = raw["format_version"]
        if type(version) is not int or version < 1:
            raise ArtifactCorrupt(f"the model's bundle has no valid format version: {version!r}")
        if version > FORMAT_VERSION:
            raise ArtifactCorrupt(
                f"the model's bundle is of format {version}, this version reads up to {FORMAT_VERSION}: "
                "upgrade this service, or activate an older version of the model",
                metadata={"format_version": str(version)},
            )
        return Manifest(
            version,
            _text(raw["model_type"]),
            tuple(_text(name) for name in raw["feature_columns"]),
            {_text(name): _text(value) for name, value in raw["library_versions"].items()},
            {_text(name): _text(value) for name, value in raw["files"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ArtifactCorrupt(
            f"the model's manifest can't be read: {type(error).__name__}: {error}"
        ) from None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, not {type(value).__name__}")
    return value


def _write(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    entry = zipfile.ZipInfo(name, date_time=_EPOCH)
    # Numbers hardly shrink, and a server that starts unpacks thousands of them.
    entry.compress_type = zipfile.ZIP_STORED if name.endswith(".bin") else zipfile.ZIP_DEFLATED
    entry.create_system = 3
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, data)


@functools.lru_cache(maxsize=1024)
def _name_fault(name: str) -> str | None:
    path = PurePosixPath(name)
    if not name or name in (MANIFEST, SIGNATURE):
        return "the name is empty, the manifest's or its signature's"
    if path.is_absolute() or "\\" in name or ":" in name or "\0" in name or str(path) != name:
        return "the name is not a plain relative path"
    if ".." in path.parts:
        return "the name points out of the bundle"
    if path.suffix.lower() in _PICKLES:
        return "loading a pickle can run code; store JSON or the library's own format"
    return None


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
