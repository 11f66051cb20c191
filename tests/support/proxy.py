"""A cable to a PostgreSQL server that a test can cut and mend."""

import contextlib
import socket
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy.engine import make_url


class Cable:
    """Passes bytes between a socket of its own and the server's.

    Parameters
    ----------
    server_url
        URL of a database; `url` is the same one through this cable.
    """

    def __init__(self, server_url: str) -> None:
        target = make_url(server_url)
        host = target.query.get("host", target.host)
        port = target.port or 5432
        if isinstance(host, str) and host.startswith("/"):
            self._target: str | tuple[str, int] = f"{host}/.s.PGSQL.{port}"
        else:
            self._target = (str(host), port)
        self._folder = tempfile.TemporaryDirectory(prefix="adsml-cable-")
        self._path = Path(self._folder.name) / ".s.PGSQL.5432"
        self.url = (
            target.set(host=None, port=None)
            .update_query_dict({"host": self._folder.name})
            .render_as_string(hide_password=False)
        )
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._listener: socket.socket | None = None
        self.mend()

    def cut(self) -> None:
        """End every connection and refuse new ones."""
        with self._lock:
            listener, self._listener = self._listener, None
            sockets, self._open = self._open, []
        if listener is not None:
            self._path.unlink()
            _close(listener)
        for one in sockets:
            _close(one)

    def mend(self) -> None:
        """Accept connections again."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(self._path))
        listener.listen()
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.cut()
        self._folder.cleanup()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
                family = socket.AF_UNIX if isinstance(self._target, str) else socket.AF_INET
                far = socket.socket(family, socket.SOCK_STREAM)
                far.connect(self._target)
            except OSError:
                return
            with self._lock:
                if self._listener is not listener:
                    _close(near)
                    _close(far)
                    return
                self._open += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    _close(source)
    _close(sink)


def _close(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
