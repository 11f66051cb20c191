"""Writes the contracts for callers in other languages: ``python protos/bundle.py FOLDER``.

``adsml-contracts.zip`` holds our .proto files, and ``contracts.binpb``: them, what they import (google/*, buf/validate)
and the details of errors, as one descriptor set, which every generator of protoc and buf takes.
"""

import sys
import tempfile
import zipfile
from pathlib import Path

from check import compile_image
from google.protobuf import descriptor_pb2 as d
from google.rpc import error_details_pb2
from protoc import contracts

HERE = Path(__file__).resolve().parent
_MOMENT = (2026, 1, 1, 0, 0, 0)


def bundle(folder: Path) -> Path:
    """Write the archive; returns its path. The same contracts give the same bytes."""
    target = folder / "adsml-contracts.zip"
    with tempfile.TemporaryDirectory() as temporary:
        image, _ = compile_image(HERE, Path(temporary) / "contracts.binpb")
        everything = d.FileDescriptorSet.FromString(image.read_bytes())
        # No contract imports them: they travel inside a status as bytes.
        error_details_pb2.DESCRIPTOR.CopyToProto(everything.file.add())
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in sorted(contracts(HERE)):
                _add(archive, f"protos/{name}", (HERE / name).read_bytes())
            _add(archive, "contracts.binpb", everything.SerializeToString(deterministic=True))
    return target


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, _MOMENT)
    entry.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(entry, content)


if __name__ == "__main__":
    print(bundle(Path(sys.argv[1])))
