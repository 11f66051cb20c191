"""One question about one series, answered: by the cache, by models and methods, or by a batch's workers."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from adsml_forecasting.models.prediction import NOTHING, Learned, Prediction, Wanted, predict
from adsml_forecasting.models.ratios import RatioMode, RatioSeries, predict_ratio
from adsml_forecasting.models.series import DailySeries

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """A series, what to forecast it by, and what models know of it.

    Attributes
    ----------
    learned
        Of the metric itself.
    numerator, denominator
        Of a ratio's parts.
    models
        Names of the models' versions: part of what an answer depends on.
    """

    series: DailySeries | RatioSeries
    wanted: Wanted
    mode: RatioMode | None = None
    learned: Learned = NOTHING
    numerator: Learned = NOTHING
    denominator: Learned = NOTHING
    models: str = ""

    def key(self) -> bytes:
        """Equal for questions with the same answer: the data themselves are its version."""
        parts = (
            [self.series.numerator, self.series.denominator]
            if isinstance(self.series, RatioSeries)
            else [self.series]
        )
        digest = hashlib.blake2b(repr((self.wanted, self.mode, self.models)).encode(), digest_size=16)
        for part in parts:
            digest.update(f"{part.first_day},{part.nonnegative},{part.name};".encode())
            digest.update(part.values.tobytes())
            digest.update(b"" if part.budget is None else part.budget.tobytes())
        return digest.digest()


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """A forecast, and how a ratio was made."""

    prediction: Prediction
    mode: RatioMode | None = None


def answer(question: Question) -> Answer:
    """Forecast; errors as of `predict`."""
    if isinstance(question.series, RatioSeries):
        prediction, mode = predict_ratio(
            question.series,
            question.wanted,
            mode=question.mode,
            numerator=question.numerator,
            denominator=question.denominator,
            direct=question.learned,
        )
        return Answer(prediction, mode)
    return Answer(predict(question.series, question.wanted, question.learned))


class Cache:
    """Answers by question, the ones unused for longest make room; safe to share between threads."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._lock = threading.Lock()
        self._held: OrderedDict[bytes, Answer] = OrderedDict()

    def get(self, key: bytes) -> Answer | None:
        """The answer, None where it is not held."""
        with self._lock:
            found = self._held.get(key)
            if found is not None:
                self._held.move_to_end(key)
            return found

    def put(self, key: bytes, value: Answer) -> None:
        """Hold an answer."""
        with self._lock:
            self._held[key] = value
            self._held.move_to_end(key)
            while len(self._held) > self._capacity:
                self._held.popitem(last=False)

    def answer(self, question: Question, make: Callable[[Question], Answer] = answer) -> Answer:
        """The held answer, or a new one."""
        key = question.key()
        found = self.get(key)
        if found is None:
            found = make(question)
            self.put(key, found)
        return found
