"""Generates the Python of the contracts while the distribution is built.

A wheel gets the messages (``*_pb2.py``), the stubs and servicers (``*_pb2_grpc.py``), type stubs of both
with the contracts' comments as docstrings (``*.pyi``), the ``.proto`` files and a ``py.typed`` mark. An
editable install finds the same in ``protos/gen``.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_PLUGINS = ("protoc-gen-mypy", "protoc-gen-mypy_grpc")
_INIT = '"""Generated from the contracts in protos/adsml; do not edit."""\n'


class ProtocBuildHook(BuildHookInterface[Any]):
    """Runs protoc over ``adsml/**/*.proto`` before files are collected."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Generate, and tell the builder what to ship.

        Parameters
        ----------
        version
            ``"editable"`` for an editable install, ``"standard"`` for a wheel.
        build_data
            The builder's own notes; ``force_include`` maps paths to places in the wheel.
        """
        root = Path(self.root)
        if version == "editable":
            # Made aside and moved into place, so that a failing build leaves the last good one.
            fresh = Path(tempfile.mkdtemp(prefix="gen-", dir=root))
            try:
                generate(root, fresh)
                shutil.rmtree(root / "gen", ignore_errors=True)
                fresh.chmod(0o755)
                fresh.replace(root / "gen")
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
            return
        self._temporary = Path(tempfile.mkdtemp(prefix="adsml-protos-"))
        generate(root, self._temporary)
        build_data["force_include"][str(self._temporary)] = "/"

    def finalize(
        self,
        version: str,
        build_data: dict[str, Any],  # the hook's interface
        artifact_path: str,
    ) -> None:
        """Remove what was generated for a wheel; it is in the wheel now."""
        if version != "editable":
            shutil.rmtree(self._temporary, ignore_errors=True)


def generate(root: Path, out: Path) -> None:
    """Fill `out` with the package ``adsml`` generated from ``root/adsml``.

    Raises
    ------
    SystemExit
        There is no contract, a generator is missing, or protoc refuses a contract; its own words are shown.
    """
    protos = sorted(path.relative_to(root).as_posix() for path in (root / "adsml").rglob("*.proto"))
    if not protos:
        raise SystemExit(f"no .proto file under {root / 'adsml'}")
    _protoc(root, out, protos, kinds=("python", "mypy"))
    services = [name for name in protos if name.endswith("_service.proto")]
    _protoc(root, out, services, kinds=("grpc_python", "mypy_grpc"))
    for name in protos:
        shutil.copyfile(root / name, out / name)
    package = out / "adsml"
    for folder in (package, *(path for path in package.rglob("*") if path.is_dir())):
        (folder / "__init__.py").write_text(_INIT)
    (package / "py.typed").touch()


def _protoc(root: Path, out: Path, protos: list[str], *, kinds: tuple[str, ...]) -> None:
    command = [
        *(sys.executable, "-m", "grpc_tools.protoc"),
        *(f"--proto_path={path}" for path in (root, _google_protos())),
        *(f"--plugin={name}={_plugin(name)}" for name in _PLUGINS),
        *(f"--{kind}_out={out}" for kind in kinds),
        *protos,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        raise SystemExit(f"protoc refused the contracts:\n{done.stderr}")


def _google_protos() -> Path:
    """The folder that holds ``google/rpc/status.proto`` and ``google/type/date.proto`` as installed."""
    spec = find_spec("google.type.date_pb2")
    if spec is None or spec.origin is None:
        raise SystemExit("googleapis-common-protos is not installed")
    return Path(spec.origin).parents[2]


def _plugin(name: str) -> str:
    # Of this interpreter first: another environment's on the PATH may be of another version.
    places = os.pathsep.join((sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)))
    found = shutil.which(name, path=places)
    if found is None:
        raise SystemExit(f"{name} was not found; it comes with mypy-protobuf")
    return found
