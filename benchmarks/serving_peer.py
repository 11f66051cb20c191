"""MLServer with the same model, in an environment of its own outside the lock."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import xgboost
from serving_account import process

ROOT: Final = Path(__file__).resolve().parents[1]
HOME: Final = ROOT / ".tools" / "mlserver"
VERSION: Final = "1.7.1"
METHOD: Final = "/inference.GRPCInferenceService/ModelInfer"
_REQUESTS: Final = """
import sys, numpy as np
from mlserver.grpc import dataplane_pb2 as pb
folder, features, *batches = sys.argv[1:]
rng = np.random.default_rng(0)
for batch in map(int, batches):
    x = rng.normal(size=(batch, int(features))).astype(np.float32)
    for form in ("typed", "raw"):
        request = pb.ModelInferRequest(model_name="tier")
        tensor = request.inputs.add(name="x", datatype="FP32", shape=list(x.shape))
        if form == "raw":
            request.raw_input_contents.append(x.tobytes())
        else:
            tensor.contents.fp32_contents.extend(x.ravel().tolist())
        open(f"{folder}/mlserver-{form}-{batch}", "wb").write(request.SerializeToString())
"""


def install() -> None:
    """Make the environment where there is none; takes a minute."""
    if (HOME / "bin" / "mlserver").exists():
        return
    uv = str(ROOT / ".tools" / "bin" / "uv")
    subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(HOME)], check=True)
    wanted = [
        f"mlserver=={VERSION}",
        f"mlserver-xgboost=={VERSION}",
        f"xgboost=={xgboost.__version__}",
        # Later ones give a process no event loop unasked, and MLServer's workers die of that.
        "uvloop<0.22",
    ]
    python = str(HOME / "bin" / "python")
    subprocess.run([uv, "pip", "install", "--quiet", "--python", python, *wanted], check=True)


def requests(folder: Path, features: int, batches: Sequence[int]) -> None:
    """Write its requests: ready feature rows, as typed and as raw contents."""
    subprocess.run(
        [str(HOME / "bin" / "python"), "-c", _REQUESTS, str(folder), str(features), *map(str, batches)],
        check=True,
    )


@contextlib.contextmanager
def serve(folder: Path, booster: Path, *, workers: int, cached: bool, port: int) -> Iterator[int]:
    """Run it with so many parallel workers, with or without its cache of answers; its process id."""
    home = folder / f"mlserver-{port}"
    home.mkdir()
    model = {
        "name": "tier",
        "implementation": "mlserver_xgboost.XGBoostModel",
        "parameters": {"uri": str(booster), "version": "v1"},
    }
    settings = {
        "debug": False,
        "parallel_workers": workers,
        "host": "127.0.0.1",
        "grpc_port": port,
        "http_port": port + 1,
        "metrics_port": port + 2,
        "metrics_dir": str(home),
        "cache_enabled": cached,
        "cache_size": 10_000,
    }
    (home / "model-settings.json").write_text(json.dumps(model))
    (home / "settings.json").write_text(json.dumps(settings))
    command = [str(HOME / "bin" / "mlserver"), "start", str(home)]
    with process(command, {**os.environ, "OMP_NUM_THREADS": "1"}, port, home / "log") as pid:
        yield pid
