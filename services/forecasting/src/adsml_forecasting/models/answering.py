"""One task about one entity, worked on: in this thread or by a batch's workers."""

import hashlib
from dataclasses import dataclass

from adsml_common.domain.metrics import Metric

from adsml_forecasting.models.history import EntityHistory
from adsml_forecasting.models.prediction import NOTHING, ForecastSpec, LearnedModels, Prediction, predict
from adsml_forecasting.models.preparation import prepare
from adsml_forecasting.models.prepared import Prepared, Surroundings
from adsml_forecasting.models.ratios import RatioMode, RatioParts, parts_of, predict_ratio


@dataclass(frozen=True, slots=True, eq=False)
class ForecastTask:
    """An entity's history up to `as_of` (days since 1970-01-01), what to forecast by, and what models know of it.

    `learned` is of the metric itself or a ratio's events, `exposure` of what those are counted per; `models` names
    their versions, which are part of what an answer depends on.
    """

    history: EntityHistory
    metric: Metric
    as_of: int
    spec: ForecastSpec
    around: Surroundings
    mode: RatioMode | None = None
    learned: LearnedModels = NOTHING
    exposure: LearnedModels = NOTHING
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
    """A forecast, how a ratio was made, and what was fitted: the metric's column, or a ratio's two parts."""

    prediction: Prediction
    prepared: tuple[Prepared, ...]
    mode: RatioMode | None = None


def answer(task: ForecastTask) -> Answer:
    """Prepare and forecast; errors as of `prepare` and `predict`."""
    prepared = [
        prepare(
            task.history,
            column,
            as_of=task.as_of,
            horizon=task.spec.horizon,
            around=task.around,
        )
        for column in parts_of(task.metric)
    ]
    if not task.metric.is_ratio:
        return Answer(predict(prepared[0], task.spec, task.learned), tuple(prepared))
    events, exposure = prepared
    parts = RatioParts(task.metric, events, exposure, task.around.ratio)
    mode = task.mode or RatioMode.PARTS
    prediction = predict_ratio(parts, task.spec, mode=mode, events=task.learned, exposure=task.exposure)
    return Answer(prediction, tuple(prepared), mode)
