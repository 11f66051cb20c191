"""Servers in processes of their own."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from support.serving import SECONDS, eventually

SCRIPT = Path(__file__).with_name("server_process.py")


class ServerProcess:
    """A server in a process of its own."""

    def __init__(self, port: int, **environment: str) -> None:
        self.port = port
        self.target = f"127.0.0.1:{port}"
        self._process = subprocess.Popen(
            [sys.executable, str(SCRIPT)],
            env={**os.environ, "ADSML_PORT": str(port), **environment},
            stderr=subprocess.PIPE,
            text=True,
        )
        self.errors = ""

    @property
    def pid(self) -> int:
        return self._process.pid

    def serving(self) -> bool:
        """Whether it says so."""
        assert self._process.poll() is None, self._process.stderr and self._process.stderr.read()
        with grpc.insecure_channel(self.target) as channel:
            try:
                stub = health_pb2_grpc.HealthStub(channel)
                answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=1.0)
            except grpc.RpcError:
                return False
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def wait_until_serving(self) -> "ServerProcess":
        eventually(self.serving, within=60.0)
        return self

    def terminate(self) -> None:
        """Ask it to go, as Kubernetes does."""
        self._process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """Its exit status."""
        _, self.errors = self._process.communicate(timeout=60.0)
        return self._process.returncode

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate(timeout=SECONDS)


@contextlib.contextmanager
def server_process(port: int, **environment: str) -> Iterator[ServerProcess]:
    """Start one, and end it whatever happens."""
    process = ServerProcess(port, **environment)
    try:
        yield process.wait_until_serving()
    finally:
        process.kill()
