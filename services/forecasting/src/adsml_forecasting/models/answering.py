"""One task about one entity, worked on: in this thread or by a batch's workers."""

import hashlib
from dataclasses import dataclass

from adsml_common.domain.metrics import Metric

from adsml_forecasting.models.prediction import NOTHING, ForecastSpec, LearnedModels, Prediction, predict
from adsml_forecasting.models.preparation import prepare
from adsml_forecasting.models.prepared import Prepared, Surroundings
from adsml_forecasting.models.ratios import RatioMode, parts_of, predict_ratio
from adsml_forecasting.models.series import EntityHistory


@dataclass(frozen=True, slots=True, eq=False)
class ForecastTask:
    """An entity's history up to `as_of` (days since 1970-01-01), what to forecast by, and what models know of it.

    `learned` is of the metric itself, or of a ratio's events and what those are counted per; `models` names their
    versions, which are part of what an answer depends on. Nothing where no model is registered.
    """

    history: EntityHistory
    metric: Metric
    as_of: int
    spec: ForecastSpec
    around: Surroundings
    mode: RatioMode = RatioMode.PARTS
    learned: tuple[LearnedModels, ...] = ()
    models: str = ""

    def key(self) -> bytes:
        """Equal for tasks with the same answer: the data themselves are its version."""
        asked = (self.metric, self.as_of, self.spec, self.mode, self.models, self.around)
        digest = hashlib.blake2b(repr(asked).encode(), digest_size=16)
        digest.update(f"{self.history.first_day},{self.history.name};".encode())
        for name in sorted(self.history.columns):
            digest.update(name.encode())
            digest.update(self.history.columns[name].tobytes())
        return digest.digest()


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """A forecast, and what was fitted: the metric's column, or a ratio's two parts."""

    prediction: Prediction
    prepared: tuple[Prepared, ...]


def answer(task: ForecastTask) -> Answer:
    """Prepare and forecast; errors as of `prepare` and `predict`."""
    metric, spec, around = task.metric, task.spec, task.around
    prepared = tuple(
        prepare(task.history, column, as_of=task.as_of, horizon=spec.horizon, around=around)
        for column in parts_of(metric)
    )
    if not metric.is_ratio:
        return Answer(predict(prepared[0], spec, *task.learned), prepared)
    learned, lent = task.learned or (NOTHING, NOTHING), around.account.rates.get(metric)
    return Answer(predict_ratio(metric, prepared, spec, mode=task.mode, learned=learned, lent=lent), prepared)
