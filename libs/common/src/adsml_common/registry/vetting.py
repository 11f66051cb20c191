"""Parses a model in a process of its own before anything else does: native parsers end a process on a wrong byte.

A child with bounded memory and nothing of the environment's secrets parses the bundle as the service would. Only what
it parsed is parsed here; what passed once is noted on the local disk and not looked at again. The child serves many
models, one after the other, and is started anew where one has ended it.
"""

import contextlib
import json
import logging
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, Final

from adsml_common.domain.errors import AdsmlError, ArtifactCorrupt
from adsml_common.registry.bundle import Bundle, most_bytes, unpack
from adsml_common.registry.disk_cache import DiskCache
from adsml_common.registry.last_known import VERSION_JSON
from adsml_common.registry.models import ModelVersion
from adsml_common.version import version as code_version

_MEMORY_BYTES: Final = 1 << 30
"""What parsing one model may take beside what the child's libraries have."""
_SECONDS: Final = 60.0
_IDLE_SECONDS: Final = 30.0
_WINDOW: Final = 64
_NOTED_BYTES: Final = 1 << 20
_ENVIRONMENT: Final = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "TMPDIR", "NUMBA_CACHE_DIR")

_log = logging.getLogger(__name__)

Parse = Callable[[ModelVersion, Bundle], object]
Fetch = Callable[[ModelVersion], bytes]


class ModelVetter:
    """Vets models; threads share it. It is noted in `cache_dir` what passed."""

    def __init__(self, cache_dir: Path, *, seconds: float = _SECONDS) -> None:
        self._passed = DiskCache(cache_dir / "vetted.db", max_bytes=_NOTED_BYTES)
        self._seconds = seconds
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        # Until when the child may work at a model, or do nothing.
        self._due = 0.0
        self._working = False
        self._closed = False
        # What is on its way, by key.
        self._coming: dict[str, threading.Event] = {}

    def check(self, parse: Parse, version: ModelVersion, data: bytes) -> None:
        """Raise `ArtifactCorrupt` for a bundle that can't be parsed within limits, or ends the process that does.

        `parse` is a function of a module, found by its name in the child; `data` was checked against its checksum.
        """
        key = _key(parse, version)
        if (coming := self._coming.get(key)) is not None:
            coming.wait()
        if self._passed.get(key) is not None:
            return
        with self._lock:
            [fault] = self._ask(parse, [(version, data)])
        if fault is not None:
            raise ArtifactCorrupt(f"{version} {fault}")
        self._passed.put(key, b"passed")

    def ahead(self, parse: Parse, versions: Iterable[ModelVersion], fetch: Fetch) -> None:
        """Vet models that will be checked soon, many on their way to the child at once; `check` waits where it must.

        `fetch` gives a version's bundle. Only what passes is noted: what does not is told by `check`.
        """
        todo: dict[str, ModelVersion] = {}
        for version in versions:
            key = _key(parse, version)
            if key not in self._coming and self._passed.get(key) is None:
                todo[key] = version
        if todo:
            self._coming.update((key, threading.Event()) for key in todo)
            work = partial(self._vet_ahead, parse, todo, fetch)
            threading.Thread(target=work, name="vetting-ahead", daemon=True).start()

    def close(self) -> None:
        self._closed = True
        with self._lock:
            self._end()

    # -- inside ----------------------------------------------------------------------------------------------

    def _ask(self, parse: Parse, bundles: Iterable[tuple[ModelVersion, bytes]]) -> list[str | None]:
        """The fault of each, None where it was parsed; none after the one that ended the child."""
        self._due, self._working = time.monotonic() + self._seconds, True
        child = self._child
        if child is None or child.poll() is not None:
            child = self._start()
        assert child.stdin is not None and child.stdout is not None  # noqa: S101, PT018 - both are pipes
        head = {"function": _name_of(parse), "max_bytes": most_bytes(parse)}
        faults: list[str | None] = []
        sent = 0
        try:
            for version, data in bundles:
                sent += 1
                about = head | {"version": VERSION_JSON.dump_python(version, mode="json"), "size": len(data)}
                child.stdin.write(json.dumps(about).encode() + b"\n" + data)
            child.stdin.flush()
            for _ in range(sent):
                self._due = time.monotonic() + self._seconds
                faults.append(json.loads(child.stdout.readline())["fault"])
        except (OSError, ValueError):
            overdue = time.monotonic() >= self._due
            self._end()
            slow = f"takes longer than {self._seconds:.0f} s to parse"
            faults.append(slow if overdue else f"ends the process that parses it ({_end_of(child)})")
        except BaseException:
            # Answers that nobody has read would be taken for the next one's.
            self._end()
            raise
        finally:
            self._due, self._working = time.monotonic() + _IDLE_SECONDS, False
        return faults

    def _vet_ahead(self, parse: Parse, todo: Mapping[str, ModelVersion], fetch: Fetch) -> None:
        keys = list(todo)
        for start in range(0, len(keys), _WINDOW):
            window = keys[start : start + _WINDOW]
            try:
                with self._lock:
                    bundles = ((todo[key], fetch(todo[key])) for key in window)
                    faults = [] if self._closed else self._ask(parse, bundles)
                for key in (key for key, fault in zip(window, faults, strict=False) if fault is None):
                    self._passed.put(key, b"passed")
            except (OSError, AdsmlError) as error:
                _log.debug("models are vetted one by one: %s", error)
            finally:
                for key in window:
                    self._coming.pop(key).set()

    def _watch(self, child: "subprocess.Popen[bytes]") -> None:
        """End a child that works at one model for too long, or has had nothing to do for a while."""
        while child.poll() is None:
            time.sleep(min(max(self._due - time.monotonic(), 0.05), 1.0))
            if time.monotonic() < self._due:
                continue
            if self._working:
                child.kill()
            elif self._lock.acquire(blocking=False):
                try:
                    if child is self._child and time.monotonic() >= self._due:
                        self._end()
                finally:
                    self._lock.release()

    def _start(self) -> "subprocess.Popen[bytes]":
        kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        self._child = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-P", "-m", __name__],
            env={**kept, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        threading.Thread(target=self._watch, args=(self._child,), name="vetting", daemon=True).start()
        return self._child

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # what is left in it can't be flushed
                    pipe.close()
        try:
            child.wait(_IDLE_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _name_of(parse: Parse) -> str:
    module = parse.__module__
    # A module started by `python -m` is called something else in the child.
    if module == "__main__" and (spec := sys.modules[module].__spec__) is not None:
        module = spec.name
    return f"{module}:{parse.__qualname__}"


def _key(parse: Parse, version: ModelVersion) -> str:
    return f"{version.sha256} {code_version()} {_name_of(parse)}"


def _end_of(child: "subprocess.Popen[bytes]") -> str:
    status = child.returncode
    return signal.Signals(-status).name if status is not None and status < 0 else f"exit status {status}"


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """The child's loop: a line of JSON and a bundle in, a line of JSON out, until there is no more."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    functions: dict[str, Any] = {}
    for line in iter(source.readline, b""):
        head = json.loads(line)
        data = source.read(head["size"])
        function = functions.get(head["function"])
        if function is None:
            module, _, name = head["function"].partition(":")
            function = functions[head["function"]] = getattr(import_module(module), name)
            _limit()
        fault = _fault(function, head["version"], data, head["max_bytes"])
        sink.write(json.dumps({"fault": fault}).encode() + b"\n")
        sink.flush()


def _fault(parse: Parse, version: dict[str, Any], data: bytes, max_bytes: int) -> str | None:
    try:
        parse(VERSION_JSON.validate_python(version), unpack(data, max_bytes=max_bytes))
    except AdsmlError as error:
        return f"can't be parsed: {error.message}"
    except MemoryError:
        return "takes more memory to parse than a model may"
    # Whatever a library raises on bytes it can't make sense of means the same here.
    except Exception as error:
        return f"can't be parsed ({type(error).__name__})"
    return None


def _limit() -> None:
    """Let memory grow by so much and no more; what the libraries have by now is theirs."""
    status = Path("/proc/self/status")
    if not status.exists():  # not Linux
        return
    kilobytes = int(status.read_text().split("VmData:")[1].split()[0])
    limit = kilobytes * 1024 + _MEMORY_BYTES
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


if __name__ == "__main__":
    # Nothing that a library prints may come between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, answers)
