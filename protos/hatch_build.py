"""Generates the Python of the contracts while the distribution is built.

A wheel gets the messages (``*_pb2.py``), the stubs and servicers (``*_pb2_grpc.py``), type stubs of both
with the contracts' comments as docstrings (``*.pyi``), the ``.proto`` files and a ``py.typed`` mark. It also gets
``buf/validate/validate_pb2.py``, the vocabulary of the contracts' rules, which no distribution brings for
google.protobuf. An editable install finds the same in ``protos/gen``.
"""

import os
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).resolve().parent))  # hatchling loads this file alone

from protoc import RULES_PROTO, ProtocError, contracts, protoc

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
    """Fill `out` with the packages ``adsml``, generated from ``root/adsml``, and ``buf``.

    Raises
    ------
    SystemExit
        There is no contract, a generator is missing, or protoc refuses a contract; its own words are shown.
    """
    protos = contracts(root)
    if not protos:
        raise SystemExit(f"no .proto file under {root / 'adsml'}")
    services = [name for name in protos if name.endswith("_service.proto")]
    plugins = [f"--plugin={name}={_plugin(name)}" for name in _PLUGINS]
    try:
        protoc(root, [*protos, RULES_PROTO], f"--python_out={out}", f"--mypy_out={out}", *plugins)
        protoc(root, services, f"--grpc_python_out={out}", f"--mypy_grpc_out={out}", *plugins)
    except ProtocError as error:
        raise SystemExit(str(error)) from None
    for name in protos:
        shutil.copyfile(root / name, out / name)
    for package in (out / "adsml", out / "buf"):
        for folder in (package, *(path for path in package.rglob("*") if path.is_dir())):
            (folder / "__init__.py").write_text(_INIT)
        (package / "py.typed").touch()


def _plugin(name: str) -> str:
    # Of this interpreter first: another environment's on the PATH may be of another version.
    places = os.pathsep.join((sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)))
    path = shutil.which(name, path=places)
    if path is None:
        raise SystemExit(f"{name} was not found; it comes with mypy-protobuf")
    return path
