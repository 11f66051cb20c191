"""`make up` and `make down`: every installed service in the background, on the demo's data.

Settings in the environment stand; without them the services use the folder ``demo-data`` of this checkout.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import grpc
from adsml_common.cli import family
from grpc_health.v1 import health_pb2, health_pb2_grpc

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "demo-data"
PORTS = {"classifier": 50051, "forecasting": 50052, "anomaly": 50053, "impact": 50054}
START_SECONDS = 120.0
STOP_SECONDS = 60.0


def environment(
    data: Path = DATA, ports: Mapping[str, int] = PORTS, *, inherit: bool = True
) -> dict[str, str]:
    """The environment of services and commands that work on a folder of their own.

    Parameters
    ----------
    inherit
        Whether what the environment says already stands.
    """
    own = {
        "ADSML_DATABASE_URL": f"sqlite:///{data / 'adsml.db'}",
        "ADSML_ARTIFACT_URL": str(data / "artifacts"),
        "ADSML_CACHE_DIR": str(data / "cache"),
        **{f"ADSML_{name.upper()}_PORT": str(port) for name, port in ports.items()},
        **{
            f"ADSML_FORECASTING_{name.upper()}_TARGET": f"127.0.0.1:{port}"
            for name, port in ports.items()
            if name != "forecasting"
        },
    }
    return {**own, **os.environ} if inherit else own


def start(log: Path, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start every installed service in processes of their own."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "adsml_common.cli", "serve", "all"],
            env=dict(env), stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip


def wait_until_serving(names: list[str], ports: Mapping[str, int] = PORTS) -> None:
    """Wait until every service says SERVING.

    Raises
    ------
    TimeoutError
        Naming the service that does not.
    """
    deadline = time.monotonic() + START_SECONDS
    for name in names:
        with grpc.insecure_channel(f"127.0.0.1:{ports[name]}") as channel:
            while not _serving(channel):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{name} is not serving after {START_SECONDS:.0f} s")
                time.sleep(0.2)


def _serving(channel: grpc.Channel) -> bool:
    try:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=2)
    except grpc.RpcError:
        return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def stop(pid: int) -> None:
    """Drain and end what `start` started."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(ChildProcessError):
                if os.waitpid(pid, os.WNOHANG)[0] == pid:
                    return
            os.kill(pid, 0)
            time.sleep(0.1)
        os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def running(log: Path, env: Mapping[str, str]) -> Iterator[list[str]]:
    """Every installed service, until the block ends; gives their names."""
    names = list(family.installed())
    process = start(log, env)
    try:
        wait_until_serving(names)
        yield names
    finally:
        stop(process.pid)


def up() -> None:
    """Start the services and leave them running."""
    env = environment()
    subprocess.run([sys.executable, "-m", "adsml_common.cli", "migrate"], env=env, check=True)
    process = start(DATA / "services.log", env)
    (DATA / "services.pid").write_text(str(process.pid))
    names = list(family.installed())
    wait_until_serving(names)
    for name in names:
        print(f"{name}: 127.0.0.1:{PORTS[name]}")
    print("stop them with: make down")


def down() -> None:
    """Stop what `up` started."""
    pidfile = DATA / "services.pid"
    if not pidfile.exists():
        print("nothing is running")
        return
    stop(int(pidfile.read_text()))
    pidfile.unlink()
    print("stopped")


if __name__ == "__main__":
    {"up": up, "down": down}[sys.argv[1]]()
