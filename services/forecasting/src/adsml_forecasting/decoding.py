"""From the forecasting contract's messages to arrays and the domain; days are since 1970-01-01."""

from datetime import date, timedelta
from typing import Final

import numpy as np
import pandas as pd
from adsml.common.v1 import entity_pb2
from adsml.forecasting.v1 import forecasting_service_pb2 as pb
from adsml_common.domain.changes import ChangeEvent
from adsml_common.domain.metrics import STORED
from adsml_common.serving.contract_rules import number
from adsml_common.serving.messages import CHANGE_TYPE, EnumCodec, day, optional_day

from adsml_forecasting.models.backtest import DEFAULT_METHODS, BacktestSpec
from adsml_forecasting.models.calibration import Combiner
from adsml_forecasting.models.level_shifts import Change
from adsml_forecasting.models.method import Method
from adsml_forecasting.models.prediction import ForecastSpec
from adsml_forecasting.models.prophet.settings import Backend
from adsml_forecasting.models.ratios import RatioMode
from adsml_forecasting.models.series import EntityHistory

METHOD: Final[EnumCodec[Method]] = EnumCodec(Method, pb.ForecastMethod, "FORECAST_METHOD_")
COMBINER: Final[EnumCodec[Combiner]] = EnumCodec(Combiner, pb.Combiner, "COMBINER_")
MODE: Final[EnumCodec[RatioMode]] = EnumCodec(RatioMode, pb.RatioMode, "RATIO_MODE_")
_BACKEND: Final[EnumCodec[Backend]] = EnumCodec(Backend, pb.ProphetBackend, "PROPHET_BACKEND_")
_EPOCH: Final = date(1970, 1, 1)


def day_number(value: date) -> int:
    """Days since 1970-01-01."""
    return (value - _EPOCH).days


def day_of(number: int) -> date:
    """The day that is so many days after 1970-01-01."""
    return _EPOCH + timedelta(days=number)


def options(message: pb.ForecastOptions) -> pb.ForecastOptions:
    """What was asked, and the contract's defaults where nothing was."""
    out = pb.ForecastOptions(
        horizon_days=number(message, "horizon_days"), interval_level=number(message, "interval_level")
    )
    out.peers.mask_anomalies = out.peers.use_change_events = out.peers.use_tiers = True
    out.MergeFrom(message)
    return out


def as_of(asked: pb.ForecastOptions) -> int | None:
    """The last day to use, None where none was named."""
    found = optional_day(asked, "as_of_date", "options.as_of_date")
    return None if found is None else day_number(found)


def plan(asked: pb.ForecastOptions) -> dict[int, float]:
    """Planned budget by day."""
    return {
        day_number(day(one.date, f"options.planned_budgets[{at}].date")): one.budget
        for at, one in enumerate(asked.planned_budgets)
    }


def changes(asked: pb.ForecastOptions) -> list[Change]:
    """Those that came with a request."""
    return [
        Change(
            day_number(day(one.date, f"options.changes[{at}].date")),
            CHANGE_TYPE.from_wire(one.change_type, f"options.changes[{at}].change_type"),
            one.value_before if one.HasField("value_before") else None,
            one.value_after if one.HasField("value_after") else None,
        )
        for at, one in enumerate(asked.changes)
    ]


def stored_change(event: ChangeEvent) -> Change:
    """A change of the log, which nobody has judged yet."""

    def amount(name: str) -> float | None:
        value = event.detail.get(name)
        return float(value) if isinstance(value, int | float) else None

    return Change(day_number(event.date), event.change_type, amount("budget_before"), amount("budget_after"))


def _members(ensemble: pb.EnsembleOptions) -> tuple[Method, ...]:
    return tuple(METHOD.from_wire(one, f"ensemble.members[{at}]") for at, one in enumerate(ensemble.members))


def spec(asked: pb.ForecastOptions, method: Method, ensemble: pb.EnsembleOptions) -> ForecastSpec:
    """What to forecast by."""
    return ForecastSpec(
        method=method,
        horizon=asked.horizon_days,
        level=asked.interval_level,
        members=_members(ensemble),
        combiner=COMBINER.find(ensemble.combiner),
        backend=_BACKEND.find(asked.prophet_backend) or Backend.KERNEL,
    )


def backtest_spec(request: pb.BacktestRequest) -> BacktestSpec:
    """What to compare, and where to cut."""
    methods = tuple(METHOD.from_wire(one, f"methods[{at}]") for at, one in enumerate(request.methods))
    return BacktestSpec(
        methods=methods or DEFAULT_METHODS,
        members=_members(request.ensemble),
        combiner=COMBINER.find(request.ensemble.combiner),
        horizon_days=number(request, "horizon_days"),
        cutoffs=number(request, "cutoffs"),
        step_days=number(request, "step_days"),
        min_history_days=number(request, "min_history_days"),
        interval_level=number(request, "interval_level"),
        bootstrap_samples=number(request, "bootstrap_samples"),
        seed=number(request, "seed"),
    )


def subject_entity(subject: entity_pb2.Subject) -> entity_pb2.EntityRef:
    """The entity as named in the request; ``config_id`` is 0 for an inline series without one."""
    if subject.WhichOneof("source") == "entity":
        return subject.entity
    return entity_pb2.EntityRef(
        config_id=subject.inline.config_id,
        entity_type=subject.inline.entity_type,
        entity_id=subject.inline.entity_id,
    )


def history(frame: pd.DataFrame, *, name: str, until: int | None) -> EntityHistory:
    """One entity's daily rows on a calendar; `InsufficientHistory` where there is none up to `until`."""
    days = frame["date"].to_numpy(dtype="datetime64[D]").astype(np.int64)
    columns = {column: frame[column].to_numpy(dtype=np.float64) for column in STORED}
    return EntityHistory.of_rows(days, columns, name=name, until=until)
