"""One task about one entity, worked on: in this thread or by a batch's workers."""

import hashlib
from dataclasses import dataclass

from adsml_common.domain.metrics import RATIOS, Metric

from adsml_forecasting.models.history import EntityHistory
from adsml_forecasting.models.prediction import NOTHING, ForecastSpec, LearnedModels, Prediction, predict
from adsml_forecasting.models.preparation import Prepared, Surroundings, prepare
from adsml_forecasting.models.ratios import EVENTS, RatioMode, RatioParts, predict_ratio


@dataclass(frozen=True, slots=True, eq=False)
class ForecastTask:
    """An entity's history, what to forecast by, and what models know of it.

    Attributes
    ----------
    as_of
        Last day of history, days since 1970-01-01.
    learned
        Of the metric itself; of a ratio's events.
    exposure
        Of what a ratio's events are counted per.
    models
        Names of the models' versions: part of what an answer depends on.
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


def parts_of(metric: Metric) -> tuple[str, ...]:
    """The columns that a metric is forecast from: its own, or a ratio's events and what they are counted per."""
    ratio = RATIOS.get(metric)
    if ratio is None:
        return (metric.value,)
    counted = EVENTS[metric]
    return counted, ratio.numerator if ratio.denominator == counted else ratio.denominator


def answer(task: ForecastTask) -> Answer:
    """Prepare and forecast; errors as of `prepare` and `predict`."""
    season = task.spec.season_length

    def ready(column: str) -> Prepared:
        return prepare(
            task.history,
            column,
            as_of=task.as_of,
            horizon=task.spec.horizon,
            season_length=season,
            around=task.around,
        )

    ratio = RATIOS.get(task.metric)
    if ratio is None:
        prepared = ready(task.metric.value)
        return Answer(predict(prepared, task.spec, task.learned), (prepared,))
    counted, per = parts_of(task.metric)
    parts = RatioParts(task.metric, ratio, ready(counted), ready(per), task.around.ratio)
    mode = task.mode or RatioMode.PARTS
    prediction = predict_ratio(parts, task.spec, mode=mode, events=task.learned, exposure=task.exposure)
    return Answer(prediction, (parts.events, parts.exposure), mode)
