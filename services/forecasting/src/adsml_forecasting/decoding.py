"""From the forecasting contract's messages to arrays and the domain."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import numpy as np
import pandas as pd
from adsml.common.v1 import change_pb2, entity_pb2
from adsml.forecasting.v1 import forecasting_service_pb2 as pb
from adsml_common.domain.changes import ChangeEvent
from adsml_common.domain.entities import EntityType
from adsml_common.domain.metrics import RATIOS, STORED, Metric
from adsml_common.serving.messages import CHANGE_TYPE, ENTITY_TYPE, EnumCodec, day, optional_day

from adsml_forecasting.models.backtest import DEFAULT_METHODS, BacktestSpec
from adsml_forecasting.models.combining import Combiner
from adsml_forecasting.models.history import EntityHistory
from adsml_forecasting.models.level_shifts import Change
from adsml_forecasting.models.method import Method
from adsml_forecasting.models.prediction import ForecastSpec
from adsml_forecasting.models.prophet.settings import Backend
from adsml_forecasting.models.ratios import RatioMode

METHOD: Final[EnumCodec[Method]] = EnumCodec(Method, pb.ForecastMethod, "FORECAST_METHOD_")
COMBINER: Final[EnumCodec[Combiner]] = EnumCodec(Combiner, pb.Combiner, "COMBINER_")
MODE: Final[EnumCodec[RatioMode]] = EnumCodec(RatioMode, pb.RatioMode, "RATIO_MODE_")
BACKEND: Final[EnumCodec[Backend]] = EnumCodec(Backend, pb.ProphetBackend, "PROPHET_BACKEND_")
_EPOCH: Final = date(1970, 1, 1)
HORIZON: Final = 7
LEVEL: Final = 0.9


@dataclass(frozen=True, slots=True)
class Options:
    """`ForecastOptions` with its defaults; days since 1970-01-01.

    Attributes
    ----------
    named_days
        Names and days that the request adds to the calendar.
    country
        None: the account's.
    """

    horizon: int
    as_of: int | None
    level: float
    lag: int | None
    plan: dict[int, float]
    changes: tuple[Change, ...]
    mode: RatioMode | None
    backend: Backend
    mask_anomalies: bool
    use_change_events: bool
    use_tiers: bool
    country: str | None
    named_days: tuple[tuple[str, int], ...]
    no_calendar: bool


def day_number(value: date) -> int:
    """Days since 1970-01-01."""
    return (value - _EPOCH).days


def day_of(number: int) -> date:
    """The day that is so many days after 1970-01-01."""
    return _EPOCH + timedelta(days=number)


def options(message: pb.ForecastOptions, path: str = "options") -> Options:
    """What was asked, or the contract's defaults."""
    peers, calendar = message.peers, message.calendar
    as_of = optional_day(message, "as_of_date", f"{path}.as_of_date")
    return Options(
        horizon=message.horizon_days if message.HasField("horizon_days") else HORIZON,
        as_of=None if as_of is None else day_number(as_of),
        level=message.interval_level if message.HasField("interval_level") else LEVEL,
        lag=message.attribution_lag_days if message.HasField("attribution_lag_days") else None,
        plan={
            day_number(day(one.date, f"{path}.planned_budgets[{at}].date")): one.budget
            for at, one in enumerate(message.planned_budgets)
        },
        changes=tuple(sent_change(one, f"{path}.changes[{at}]") for at, one in enumerate(message.changes)),
        mode=MODE.find(message.ratio_mode),
        backend=BACKEND.find(message.prophet_backend) or Backend.KERNEL,
        mask_anomalies=peers.mask_anomalies if peers.HasField("mask_anomalies") else True,
        use_change_events=peers.use_change_events if peers.HasField("use_change_events") else True,
        use_tiers=peers.use_tiers if peers.HasField("use_tiers") else True,
        country=calendar.country_code or None,
        named_days=tuple(
            (one.name, day_number(day(one.date, f"{path}.calendar.named_days[{at}].date")))
            for at, one in enumerate(calendar.named_days)
        ),
        no_calendar=calendar.disabled,
    )


def spec(asked: Options, method: Method, ensemble: pb.EnsembleOptions) -> ForecastSpec:
    """What to forecast by."""
    return ForecastSpec(
        method=method,
        horizon=asked.horizon,
        level=asked.level,
        members=tuple(
            METHOD.from_wire(one, f"ensemble.members[{at}]") for at, one in enumerate(ensemble.members)
        ),
        combiner=COMBINER.find(ensemble.combiner),
        backend=asked.backend,
    )


def sent_change(message: change_pb2.ChangeEvent, path: str) -> Change:
    """A change that came with a request."""
    return Change(
        day_number(day(message.date, f"{path}.date")),
        CHANGE_TYPE.from_wire(message.change_type, f"{path}.change_type"),
        message.value_before if message.HasField("value_before") else None,
        message.value_after if message.HasField("value_after") else None,
    )


def stored_change(event: ChangeEvent) -> Change:
    """A change of the log, which nobody has judged yet."""

    def amount(name: str) -> float | None:
        value = event.detail.get(name)
        return float(value) if isinstance(value, int | float) else None

    return Change(day_number(event.date), event.change_type, amount("budget_before"), amount("budget_after"))


def subject_entity(subject: entity_pb2.Subject) -> entity_pb2.EntityRef:
    """The entity as named in the request; ``config_id`` is 0 for an inline series without one."""
    if subject.WhichOneof("source") == "entity":
        return subject.entity
    return entity_pb2.EntityRef(
        config_id=subject.inline.config_id,
        entity_type=subject.inline.entity_type,
        entity_id=subject.inline.entity_id,
    )


def label(entity: entity_pb2.EntityRef) -> str:
    """What to call an entity in a message."""
    kind = (ENTITY_TYPE.find(entity.entity_type) or EntityType.CAMPAIGN).value
    return f"{kind} {entity.entity_id}" if entity.entity_id else "the series"


def needed_columns(metric: Metric) -> Collection[str]:
    """Columns that rows must hold to forecast a metric."""
    ratio = RATIOS.get(metric)
    return (metric.value,) if ratio is None else (ratio.numerator, ratio.denominator)


def history(frame: pd.DataFrame, *, name: str, until: int | None) -> EntityHistory:
    """One entity's daily rows on a calendar.

    Raises
    ------
    InsufficientHistory
        No row up to `until`.
    """
    days = frame["date"].to_numpy(dtype="datetime64[D]").astype(np.int64)
    columns = {column: frame[column].to_numpy(dtype=np.float64) for column in STORED}
    return EntityHistory.of_rows(days, columns, name=name, until=until)


def backtest_spec(request: pb.BacktestRequest) -> BacktestSpec:
    """What to compare, and where to cut."""
    methods = tuple(METHOD.from_wire(one, f"methods[{at}]") for at, one in enumerate(request.methods))
    members: Sequence[int] = request.ensemble.members
    return BacktestSpec(
        methods=methods or DEFAULT_METHODS,
        horizon=request.horizon_days if request.HasField("horizon_days") else HORIZON,
        cutoffs=request.cutoffs if request.HasField("cutoffs") else 4,
        step=int(request.step_days) if request.HasField("step_days") else None,
        minimum_days=request.min_history_days if request.HasField("min_history_days") else 30,
        level=request.interval_level if request.HasField("interval_level") else LEVEL,
        members=tuple(METHOD.from_wire(one, f"ensemble.members[{at}]") for at, one in enumerate(members)),
        combiner=COMBINER.find(request.ensemble.combiner),
        bootstrap_samples=request.bootstrap_samples if request.HasField("bootstrap_samples") else 1000,
        seed=request.seed if request.HasField("seed") else 0,
    )
