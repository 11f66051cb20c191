"""Processes that train items, each of which can be killed without ending the others or the run."""

import logging
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final, Self

from adsml_common.child_process import end_with_parent
from adsml_common.training.attempt import TrainOne, attempt
from adsml_common.training.records import Item, ItemResult, ItemStatus

_LOG = logging.getLogger(__name__)
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

    They are forked off a server without threads, never off this process: its connections and threads would be
    copied in whatever state they are in. The environment that they see, thread counts of numeric libraries
    included, is that of the moment when the first of them is started.

    Parameters
    ----------
    make
        Called once in each process, at its first item: opens what training needs and gives the function that
        trains one item. It must survive pickling: a module's own function, or a `functools.partial` of one.
    item_seconds
        How long one item may take. A process' own start does not count, nor does waiting for a store that is away.
    preload
        Modules that every process needs, imported once for all of them.
    """

    def __init__(
        self, make: MakeTrainer, *, count: int, item_seconds: float, preload: Iterable[str] = ()
    ) -> None:
        self._make = make
        self._count = count
        self._item_seconds = item_seconds
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([__name__, *preload])
        self._idle: list[_Worker] = []
        self._at_work: dict[Any, _Worker] = {}

    def __enter__(self) -> Self:
        # It imports what they need while this process looks up what there is to do.
        forkserver.ensure_running()
        return self

    def __exit__(self, *_: object) -> None:
        """End every process."""
        self.abandon()
        for worker in self._idle:
            worker.end()
        self._idle.clear()

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
        worker.overdue = worker.began + self._item_seconds + _START_SECONDS
        self._at_work[worker.connection] = worker

    def wait(self, timeout: float) -> list[tuple[Item, ItemResult]]:
        """What has come of items, as soon as any has ended; nothing if none has within `timeout` seconds."""
        due = min(worker.overdue for worker in self._at_work.values()) - time.monotonic()
        ended: list[tuple[Item, ItemResult]] = []
        for ready in wait(list(self._at_work), max(0.0, min(timeout, due))):
            result = self._received(self._at_work[ready])
            if result is not None:
                ended.append((self._at_work.pop(ready).item, result))
        now = time.monotonic()
        for worker in [one for one in self._at_work.values() if one.overdue <= now]:
            reason = f"took longer than {self._item_seconds:g} s and was killed"
            self._drop(worker)
            ended.append((worker.item, worker.failed(reason)))
        return ended

    def abandon(self) -> list[Item]:
        """Kill what is in work, and tell which items that were."""
        workers = list(self._at_work.values())
        for worker in workers:
            self._drop(worker)
        return [worker.item for worker in workers]

    def _start(self) -> "_Worker":
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs, self._make), name="trainer")
        process.start()
        theirs.close()
        return _Worker(process, ours)

    def _received(self, worker: "_Worker") -> ItemResult | None:
        """The result of a worker's item; None if it only said that it begins, or waits for a store."""
        try:
            message: ItemResult | float = worker.connection.recv()
        except (EOFError, OSError):
            worker.end()
            return worker.failed(f"its worker process died ({_how(worker.process)})")
        if isinstance(message, ItemResult):
            self._idle.append(worker)
            return message
        if message == _BEGINS:
            worker.overdue = time.monotonic() + self._item_seconds
        else:
            worker.overdue += message
        return None

    def _drop(self, worker: "_Worker") -> None:
        del self._at_work[worker.connection]
        worker.end()


@dataclass(eq=False, slots=True)
class _Worker:
    """One process as its owner sees it, and the item that it is at, or was at last."""

    process: BaseProcess
    connection: Connection
    item: Item = field(init=False)
    began: float = 0.0
    overdue: float = 0.0

    def failed(self, reason: str) -> ItemResult:
        return ItemResult(ItemStatus.FAILED, reason, seconds=time.monotonic() - self.began)

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
    """What a process does: item in, result out."""
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

    def pause(seconds: float) -> None:
        connection.send(seconds)
        time.sleep(seconds)

    while True:
        try:
            item, patience = connection.recv()
        except EOFError:
            return
        result = attempt(train_one, item, patience_seconds=patience, pause=pause)
        try:
            connection.send(result)
        except (BrokenPipeError, ConnectionResetError):
            # Nobody leads any more; what was registered is found by the next try.
            return
        # Pickling a metric of a foreign type may raise anything.
        except Exception as error:
            _LOG.exception("the result of %s can't be passed on", item.key)
            reason = f"its result can't be passed on: {type(error).__name__}: {error}"
            connection.send(ItemResult(ItemStatus.FAILED, reason))
