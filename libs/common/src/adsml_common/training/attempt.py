"""One try at one item, and what its errors mean."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from adsml_common.domain.errors import (
    FailedPrecondition,
    InsufficientHistory,
    InvalidInput,
    NotFound,
    Unavailable,
)
from adsml_common.training.records import Item, ItemResult, ItemStatus

_LOG = logging.getLogger(__name__)
_REASON_LENGTH: Final = 500
_LONGEST_PAUSE: Final = 10.0

TrainOne = Callable[[Item], ItemResult]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A result, and how long it took in seconds."""

    result: ItemResult
    seconds: float


def attempt(
    train_one: TrainOne,
    item: Item,
    *,
    patience_seconds: float,
    pause: Callable[[float], bool] | None = None,
) -> Outcome | None:
    """Train an item, trying again while a store or database is away.

    Parameters
    ----------
    patience_seconds
        How long to go on trying.
    pause
        Waits some seconds and tells whether to go on; plain sleep without.

    Returns
    -------
    Outcome or None
        None if `pause` said to stop: the item is for the next try.
    """
    start = time.monotonic()
    wait = Backoff(patience_seconds)
    while True:
        try:
            result = train_one(item)
        except Unavailable as error:
            seconds = wait.next()
            if seconds is None:
                result = _failed(error.message, bad_data=False)
                break
            _LOG.warning("%s: %s; trying again in %.1f s", item.key, error.message, seconds)
            if not (pause or _sleep)(seconds):
                return None
            continue
        except InsufficientHistory as error:
            result = ItemResult(ItemStatus.SKIPPED, error.message)
        except (InvalidInput, FailedPrecondition, NotFound) as error:
            result = _failed(error.message, bad_data=True)
        # Whatever a model library raises must not end the run; the record says what it was.
        except Exception as error:
            _LOG.exception("training %s failed", item.key)
            result = _failed(f"{type(error).__name__}: {error}", bad_data=False)
        break
    return Outcome(result, time.monotonic() - start)


def _failed(reason: str, *, bad_data: bool) -> ItemResult:
    # The first line says it; database errors put SQL into those that follow.
    line = (reason.splitlines() or [""])[0][:_REASON_LENGTH]
    return ItemResult(ItemStatus.FAILED, line or "failed without a word", bad_data=bad_data)


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return True


class Backoff:
    """Pauses between tries that double up to ten seconds, until patience runs out.

    Parameters
    ----------
    patience_seconds
        Sum of all pauses at most.
    first
        The first one, in seconds.
    """

    def __init__(self, patience_seconds: float, *, first: float = 0.25) -> None:
        self._left = patience_seconds
        self._pause = first

    def next(self) -> float | None:
        """Seconds to pause now, None if patience has run out."""
        if self._left <= 0:
            return None
        pause = min(self._pause, self._left)
        self._left -= pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        return pause
