"""Runs protoc over the contracts, with the protos they import found where their distributions are installed.

``google/{api,rpc,type}/*.proto`` come from googleapis-common-protos. ``buf/validate/validate.proto`` is shipped by
no distribution as text; protovalidate holds its compiled descriptor, which protoc takes as well.
"""

import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from google.protobuf import descriptor_pb2, duration_pb2, field_mask_pb2, timestamp_pb2

RULES_PROTO = "buf/validate/validate.proto"


class ProtocError(Exception):
    """What protoc printed, or what it needs and is not installed."""


def contracts(root: Path) -> list[str]:
    """The contracts under ``root/adsml`` as protoc wants them named: relative to `root`, with slashes."""
    return sorted(path.relative_to(root).as_posix() for path in (root / "adsml").rglob("*.proto"))


def protoc(root: Path, protos: list[str], *options: str) -> str:
    """Compile `protos` (relative to `root`, or `RULES_PROTO`); returns protoc's warnings.

    Raises
    ------
    ProtocError
        If protoc refuses a file, or a distribution it needs is missing.
    """
    with tempfile.NamedTemporaryFile(suffix=".binpb") as rules:
        rules.write(_rules().SerializeToString())
        rules.flush()
        command = [
            *(sys.executable, "-m", "grpc_tools.protoc"),
            *(f"--proto_path={path}" for path in (root, _google_protos())),
            f"--descriptor_set_in={rules.name}",
            *options,
            *protos,
        ]
        finished = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if finished.returncode != 0:
        raise ProtocError(f"protoc refused the contracts:\n{finished.stderr}")
    return finished.stderr


def _rules() -> descriptor_pb2.FileDescriptorSet:
    """validate.proto with all it imports."""
    try:
        from protovalidate._gen.buf.validate import validate_pb  # noqa: PLC0415
    except ImportError as error:
        raise ProtocError(f"{RULES_PROTO}: protovalidate 2.1 is not installed ({error})") from None
    files = descriptor_pb2.FileDescriptorSet()
    for module in (descriptor_pb2, duration_pb2, timestamp_pb2, field_mask_pb2):
        files.file.add().ParseFromString(module.DESCRIPTOR.serialized_pb)
    files.file.add().ParseFromString(validate_pb.desc().proto.to_binary())
    return files


def _google_protos() -> Path:
    """The folder that holds ``google/rpc/status.proto`` and ``google/type/date.proto`` as installed."""
    spec = find_spec("google.type.date_pb2")
    if spec is None or spec.origin is None:
        raise ProtocError("googleapis-common-protos is not installed")
    return Path(spec.origin).parents[2]
