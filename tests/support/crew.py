"""A trainer for worker processes that hangs, dies and errs as it is told; and a run of it by a process."""

import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from adsml_common.domain.errors import InsufficientHistory, InvalidInput, Unavailable
from adsml_common.training.attempt import TrainOne
from adsml_common.training.records import Item, ItemResult, ItemStatus
from adsml_common.training.workers import Workers

SECONDS = 60.0


def make(
    *,
    folder: str,
    hangs: tuple[int, ...] = (),
    holds: tuple[int, ...] = (),
    dies: Mapping[int, int] | None = None,
    history: tuple[int, ...] = (),
    invalid: tuple[int, ...] = (),
    unpicklable: tuple[int, ...] = (),
    away: Mapping[int, int] | None = None,
    closed_at_first: bool = False,
) -> TrainOne:
    """What `Workers` call in each process; arguments are the numbers of the items that something befalls."""
    root = Path(folder)
    if closed_at_first and not (root / "closed").exists():
        (root / "closed").touch()
        raise Unavailable("the database does not answer")
    if root.is_dir():
        (root / f"pid-{os.getpid()}").touch()
    tries: Counter[int] = Counter()

    def train(item: Item) -> ItemResult:
        value = item.payload["value"]
        if root.is_dir():
            with (root / "begun").open("a") as begun:
                begun.write(f"{item.key}\n")
        tries[value] += 1
        if tries[value] <= (away or {}).get(value, 0):
            raise Unavailable("the artifact store does not answer")
        if value in (dies or {}):
            os.kill(os.getpid(), (dies or {})[value])
        if value in hangs:
            (root / f"hung-{value}").touch()
            threading.Event().wait()
        if value in holds:
            (root / f"held-{value}").touch()
            wait_for(root / "release")
        if item.payload.get("hang"):
            threading.Event().wait()
        if value in history:
            raise InsufficientHistory(f"ad {value}", had=3, needed=14)
        if value in invalid:
            raise InvalidInput.at("rows[3].spend", f"is -{value}")
        metrics = {"pid": os.getpid()} | ({"lock": threading.Lock()} if value in unpicklable else {})
        return ItemResult(ItemStatus.TRAINED, metrics=metrics)

    return train


def begun(folder: Path) -> list[str]:
    """Keys of items in the order in which they were begun."""
    return (folder / "begun").read_text().split()


def pids(folder: Path) -> list[int]:
    """Processes that have made a trainer."""
    return [int(path.name.removeprefix("pid-")) for path in folder.glob("pid-*")]


def gone(pid: int) -> bool:
    """Whether there is no such process any more, but for a zombie that its parent is about to reap."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def wait_for(path: Path) -> None:
    """Until the file is there."""
    until = time.monotonic() + SECONDS
    while not path.exists():
        if time.monotonic() > until:
            raise TimeoutError(path)
        time.sleep(0.01)


def main() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    folder = sys.argv[1]
    with Workers(partial(make, folder=folder, hangs=(0,)), count=1, item_seconds=SECONDS) as workers:
        workers.begin(Item("1/ad/0", 1, payload={"value": 0}), patience_seconds=0)
        while workers.busy:
            workers.wait(1.0)


if __name__ == "__main__":
    main()
