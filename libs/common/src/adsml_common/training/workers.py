"""Processes that train items, each of which can be killed without ending the others or the run."""

import logging
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from adsml_common.child_process import end_with_parent
from adsml_common.training.attempt import Outcome, TrainOne, attempt
from adsml_common.training.records import Item, ItemResult, ItemStatus

_LOG = logging.getLogger(__name__)
_METHOD: Final = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"

_START_SECONDS: Final = 120.0
"""More than this a process does not take to start, however busy the machine."""

_LEADER_BYTES: Final = 300 << 20
_WORKER_BYTES: Final = 470 << 20
"""Peak memory of the process that leads a run and of one that trains, at most (docs/scaling.md)."""
_BEGINS: Final = 0.0
"""What a process sends when it has all it needs to train; before it waits for a store, it sends the seconds."""
_CGROUP: Final = Path("/sys/fs/cgroup")

MakeTrainer = Callable[[], TrainOne]


def default_count(processors: int) -> int:
    """How many processes may train at once: one a processor, as far as the memory goes; at least one."""
    room = (memory_limit() - _LEADER_BYTES) // _WORKER_BYTES
    return max(1, min(processors, room))


def memory_limit(cgroup: Path = _CGROUP, meminfo: Path = Path("/proc/meminfo")) -> int:
    """Bytes that this process and its children may take: its container's limit, and what the machine has left."""
    limits = [1 << 62]
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):
            limits.append(int((cgroup / name).read_text()))
    with suppress(OSError, StopIteration):
        line = next(one for one in meminfo.read_text().splitlines() if one.startswith("MemAvailable:"))
        limits.append(int(line.split()[1]) << 10)
    return min(limits)


class Workers:
    """Processes that train one item at a time each.

    A process that takes too long over an item, or dies of it, costs that item alone: another takes its place.
    If this process dies, they die with it. At most `count` are started, as there is work for them.

    They are forked off a server without threads (or spawned where there is none), never off this process:
    its connections and threads would be copied in whatever state they are in. The environment that they see,
    thread counts of numeric libraries included, is that of the moment when the first of them is started.

    Parameters
    ----------
    make
        Called once in each process, at its first item: opens what training needs and gives the function that
        trains one item. It must survive pickling: a module's own function, or a `functools.partial` of one.
    item_seconds
        How long one item may take; None: for ever. A process' own start does not count, nor does waiting for a
        store that is away.
    preload
        Modules that every process needs, imported once for all of them where the system can.
    """

    def __init__(
        self,
        make: MakeTrainer,
        *,
        count: int,
        item_seconds: float | None = None,
        preload: Iterable[str] = (),
    ) -> None:
        if count < 1:
            raise ValueError(f"count is {count}; expected 1 or more")
        self._make = make
        self._count = count
        self._item_seconds = item_seconds
        self._context: Any = multiprocessing.get_context(_METHOD)
        if _METHOD == "forkserver":
            self._context.set_forkserver_preload([__name__, *preload])
        self._idle: list[_Worker] = []
        self._at_work: dict[Connection, _Worker] = {}

    def __enter__(self) -> Self:
        if _METHOD == "forkserver":
            from multiprocessing import forkserver  # noqa: PLC0415 - not on every system

            # It imports what they need while this process looks up what there is to do.
            forkserver.ensure_running()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def free(self) -> bool:
        """Whether one more item can be begun."""
        return len(self._at_work) < self._count

    @property
    def last(self) -> Item | None:
        """What the process that begins next had before; None if it will be a new one."""
        return self._idle[-1].item if self._idle else None

    @property
    def busy(self) -> bool:
        """Whether any item is in work."""
        return bool(self._at_work)

    def begin(self, item: Item, *, patience_seconds: float) -> None:
        """Hand an item to a process that is free, which waits for `patience_seconds` for a store that is away."""
        if not self.free:
            raise RuntimeError("every process has an item")
        while True:
            worker = self._idle.pop() if self._idle else self._start()
            try:
                worker.connection.send((item, patience_seconds))
                break
            except OSError:
                # It died while it had nothing to do.
                worker.end()
        worker.item, worker.began = item, time.monotonic()
        worker.overdue = self._deadline(_START_SECONDS)
        self._at_work[worker.connection] = worker

    def wait(self, timeout: float) -> list[tuple[Item, Outcome]]:
        """What has come of items, as soon as any has ended; nothing if none has within `timeout` seconds."""
        now = time.monotonic()
        due = [worker.overdue for worker in self._at_work.values() if worker.overdue is not None]
        until = max(0.0, min([timeout, *(moment - now for moment in due)]))
        ended: list[tuple[Item, Outcome]] = []
        for ready in wait(list(self._at_work), until):
            assert isinstance(ready, Connection)  # noqa: S101 - what was asked about
            outcome = self._received(self._at_work[ready])
            if outcome is not None:
                ended.append((self._at_work.pop(ready).item_in_work, outcome))
        now = time.monotonic()
        for worker in [one for one in self._at_work.values() if one.overdue and one.overdue <= now]:
            reason = f"took longer than {self._item_seconds:g} s and was killed"
            self._drop(worker)
            ended.append((worker.item_in_work, worker.failed(reason)))
        return ended

    def abandon(self) -> list[Item]:
        """Kill what is in work, and tell which items that were."""
        workers = list(self._at_work.values())
        for worker in workers:
            self._drop(worker)
        return [worker.item_in_work for worker in workers]

    def close(self) -> None:
        """End every process."""
        self.abandon()
        for worker in self._idle:
            worker.end()
        self._idle.clear()

    def _deadline(self, start_seconds: float = 0.0) -> float | None:
        return None if self._item_seconds is None else time.monotonic() + self._item_seconds + start_seconds

    def _start(self) -> "_Worker":
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs, self._make), name="trainer")
        process.start()
        theirs.close()
        return _Worker(process, ours)

    def _received(self, worker: "_Worker") -> Outcome | None:
        """The outcome of a worker's item; None if it only said that it begins, or waits for a store."""
        try:
            message: Outcome | float = worker.connection.recv()
        except (EOFError, OSError):
            worker.end()
            return worker.failed(f"its worker process died ({_how(worker.process)})")
        if isinstance(message, Outcome):
            self._idle.append(worker)
            return message
        if message == _BEGINS:
            worker.overdue = self._deadline()
        elif worker.overdue is not None:
            worker.overdue += message
        return None

    def _drop(self, worker: "_Worker") -> None:
        del self._at_work[worker.connection]
        worker.end()


class _Worker:
    """One process as its owner sees it."""

    def __init__(self, process: BaseProcess, connection: Connection) -> None:
        self.process = process
        self.connection = connection
        # What it is at, or was at last.
        self.item: Item | None = None
        self.began = 0.0
        self.overdue: float | None = None

    @property
    def item_in_work(self) -> Item:
        assert self.item is not None  # noqa: S101 - those at work have one
        return self.item

    def failed(self, reason: str) -> Outcome:
        return Outcome(ItemResult(ItemStatus.FAILED, reason), time.monotonic() - self.began)

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


def _how(process: BaseProcess) -> str:
    code = process.exitcode
    if code is None or code >= 0:
        return f"exit status {code}"
    name = signal.Signals(-code).name
    return f"{name}: out of memory, or killed" if -code == signal.SIGKILL else name


def _serve(connection: Connection, make: MakeTrainer) -> None:
    """What a process does: item in, outcome out."""
    # Both come to every process of a terminal or container; the run's own process decides what they mean.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    end_with_parent()
    made: list[TrainOne] = []

    def train_one(item: Item) -> ItemResult:
        # Here, so that a database which is away at the start is waited for like at any other time.
        if not made:
            made.append(make())
        connection.send(_BEGINS)
        return made[0](item)

    def pause(seconds: float) -> bool:
        connection.send(seconds)
        time.sleep(seconds)
        return True

    while True:
        try:
            item, patience = connection.recv()
        except EOFError:
            return
        outcome = attempt(train_one, item, patience_seconds=patience, pause=pause)
        try:
            connection.send(outcome)
        except (BrokenPipeError, ConnectionResetError):
            # Nobody leads any more; what was registered is found by the next try.
            return
        # Pickling a metric of a foreign type may raise anything.
        except Exception as error:
            _LOG.exception("the result of %s can't be passed on", item.key)
            reason = f"its result can't be passed on: {type(error).__name__}: {error}"
            connection.send(Outcome(ItemResult(ItemStatus.FAILED, reason), 0.0))
