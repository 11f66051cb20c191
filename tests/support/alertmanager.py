"""A real Prometheus Alertmanager on this machine, and a receiver for what it sends."""

import json
import os
import shutil
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from support.serving import eventually, free_port

NAME = "prometheus-alertmanager"
UNPACKED = Path(__file__).parents[2] / ".tools" / "alertmanager" / "usr" / "bin" / NAME

CONFIGURATION = """
route:
  receiver: adsml
  group_by: [config_id]
  group_wait: 0s
  group_interval: 1s
  repeat_interval: {repeat}
receivers:
  - name: adsml
    webhook_configs:
      - url: {url}
        send_resolved: true
"""


def executable() -> str | None:
    """Where the program is; None where it is not installed (`make test` unpacks it)."""
    return shutil.which(NAME) or (str(UNPACKED) if UNPACKED.exists() else None)


@dataclass
class Receiver:
    """Notifications as a webhook gets them, in order."""

    url: str = ""
    notifications: list[dict[str, Any]] = field(default_factory=list)

    def alerts(self, status: str) -> list[dict[str, Any]]:
        """All alerts of a status that were ever sent."""
        return [one for sent in self.notifications for one in sent["alerts"] if one["status"] == status]


@contextmanager
def receiver() -> Iterator[Receiver]:
    """A webhook on a free port."""
    out = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            out.notifications.append(json.loads(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    out.url = f"http://127.0.0.1:{server.server_port}/"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield out
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def alertmanager(folder: Path, webhook: str, *, repeat: str = "1h") -> Iterator[str]:
    """Its URL; ended at the end."""
    program = executable()
    assert program is not None
    (folder / "alertmanager.yml").write_text(CONFIGURATION.format(url=webhook, repeat=repeat))
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [
        program,
        f"--config.file={folder / 'alertmanager.yml'}",
        f"--storage.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "GOMAXPROCS": "1"})
        try:
            eventually(lambda: _ready(url), within=30)
            yield url
        finally:
            process.terminate()
            process.wait(timeout=20)


def standing(url: str) -> list[dict[str, Any]]:
    """The alerts that it holds for firing."""
    with urllib.request.urlopen(f"{url}/api/v2/alerts?active=true", timeout=5) as response:
        return json.loads(response.read())


def _ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/-/ready", timeout=2) as response:
            return response.status == 200
    except OSError:
        return False
