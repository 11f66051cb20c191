"""Every family's service replaced under load, one process after the other: the shipped client loses no call."""

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from adsml.registry.v1 import registry_service_pb2 as pb
from adsml.registry.v1 import registry_service_pb2_grpc as registry_grpc
from adsml_client import CallError, connect
from adsml_common.database import Database
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.families import servable
from support.serving import eventually, free_port

CALLERS = 4
START_SECONDS = 120.0


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    url = f"sqlite:///{tmp_path / 'adsml.db'}"
    database = Database.open(url)
    database.migrate()
    database.close()
    return {
        **os.environ,
        "ADSML_DATABASE_URL": url,
        "ADSML_ARTIFACT_URL": str(tmp_path / "artifacts"),
        "ADSML_CACHE_DIR": str(tmp_path / "cache"),
    }


def serving(port: int) -> bool:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=2.0)
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


@contextlib.contextmanager
def process(name: str, port: int, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    prefix = f"ADSML_{name.upper()}_"
    running = subprocess.Popen(
        [sys.executable, "-m", "adsml_common.cli", "serve", name],
        env={**environment, f"{prefix}PORT": str(port), f"{prefix}DRAIN_WAIT_SECONDS": "0.5"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield running
    finally:
        running.kill()
        running.wait()


@pytest.mark.parametrize("name", servable())
def test_a_rolling_restart_under_load_fails_no_call(name: str, environment: dict[str, str]) -> None:
    ports = [free_port(), free_port()]
    stop = threading.Event()
    answered: list[str] = []
    failed: list[CallError] = []

    def load() -> None:
        call = registry_grpc.ModelRegistryServiceStub(connection.channel).ListModels
        while not stop.is_set():
            try:
                connection.call(call, pb.ListModelsRequest(family=f"FAMILY_{name.upper()}"), timeout=60.0)
                answered.append(name)
            except CallError as error:
                failed.append(error)

    with contextlib.ExitStack() as stack:
        # As a Deployment rolls: the new one is up beside the old and known to the caller (a headless Service names ready
        # pods only), then the old one goes. tests/libs/client has the restart on the same address.
        old, _ = (stack.enter_context(process(name, port, environment)) for port in ports)
        for port in ports:
            eventually(lambda port=port: serving(port), within=START_SECONDS)  # type: ignore[misc]
        connection = stack.enter_context(connect(f"ipv4:127.0.0.1:{ports[0]},127.0.0.1:{ports[1]}"))
        threads = stack.enter_context(ThreadPoolExecutor(CALLERS))
        workers = [threads.submit(load) for _ in range(CALLERS)]
        try:
            eventually(lambda: len(answered) > 20, within=START_SECONDS)
            old.terminate()
            assert old.wait(60) == 0
            after = len(answered)
            eventually(lambda: len(answered) > after + 20, within=START_SECONDS)
        finally:
            stop.set()
        for worker in workers:
            worker.result(60)
    assert failed == []
