"""One try at one item, and what its errors mean."""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
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
_FIRST_PAUSE: Final = 0.25
_LONGEST_PAUSE: Final = 10.0

TrainOne = Callable[[Item], ItemResult]


def attempt(
    train_one: TrainOne, item: Item, *, patience_seconds: float, pause: Callable[[float], None]
) -> ItemResult:
    """Train an item, trying again after pauses, for `patience_seconds`, while a store or database is away."""
    start = time.monotonic()
    waits = pauses(patience_seconds)
    while True:
        try:
            result = train_one(item)
        except Unavailable as error:
            seconds = next(waits, None)
            if seconds is not None:
                _LOG.warning("%s: %s; trying again in %.1f s", item.key, error.message, seconds)
                pause(seconds)
                continue
            result = _failed(error.message, bad_data=False)
        except InsufficientHistory as error:
            result = ItemResult(ItemStatus.SKIPPED, error.message)
        except (InvalidInput, FailedPrecondition, NotFound) as error:
            # A disk without room is no matter of the data: once there is some, another try will do.
            result = _failed(error.message, bad_data=not isinstance(error.__cause__, OSError))
        # Whatever a model library raises must not end the run; the record says what it was.
        except Exception as error:
            _LOG.exception("training %s failed", item.key)
            result = _failed(f"{type(error).__name__}: {error}", bad_data=False)
        return replace(result, seconds=time.monotonic() - start)


def _failed(reason: str, *, bad_data: bool) -> ItemResult:
    # The first line says it; database errors put SQL into those that follow.
    line = (reason.splitlines() or [""])[0][:_REASON_LENGTH]
    return ItemResult(ItemStatus.FAILED, line or "failed without a word", bad_data=bad_data)


def pauses(patience_seconds: float) -> Iterator[float]:
    """Seconds between tries: doubling up to ten, `patience_seconds` in sum."""
    pause = _FIRST_PAUSE
    while patience_seconds > 0:
        pause = min(pause, patience_seconds)
        yield pause
        patience_seconds -= pause
        pause = min(2 * pause, _LONGEST_PAUSE)
