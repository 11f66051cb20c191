"""`adsml forecast`: one entity's coming days, by the service."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer
from adsml.forecasting.v1 import forecasting_service_pb2 as pb
from adsml_common.cli.ask import Door, OpenService, ask, to_dict
from adsml_common.cli.options import (
    DEFAULT_ENTITY_TYPE,
    AsOfDateOption,
    ConfigIdOption,
    EntityTypeOption,
    MetricOption,
    contract_option,
    day_option,
)
from adsml_common.cli.output import JsonOption, console, print_json, table
from adsml_common.cli.remote import Remote, with_server
from adsml_common.domain.errors import InvalidInput
from adsml_common.domain.metrics import Metric

if TYPE_CHECKING:
    from google.type import date_pb2

_METHODS = [name.removeprefix("FORECAST_METHOD_") for name in pb.ForecastMethod.keys()[1:]]
_BACKENDS = [name.removeprefix("PROPHET_BACKEND_") for name in pb.ProphetBackend.keys()[1:]]
_ENSEMBLE = "ENSEMBLE"


def _open() -> OpenService:
    from adsml_common.settings import load_settings  # noqa: PLC0415

    from adsml_forecasting.server import open_service  # noqa: PLC0415
    from adsml_forecasting.settings import ForecastingSettings  # noqa: PLC0415

    return open_service(load_settings(ForecastingSettings))


DOOR = Door("adsml.forecasting.v1.ForecastingService", _open)


@with_server
def forecast(
    config_id: ConfigIdOption,
    entity_id: Annotated[str, typer.Option(help="Entity, as Meta writes its id.")],
    entity_type: EntityTypeOption = DEFAULT_ENTITY_TYPE,
    metric: MetricOption = Metric.LEADS,
    method: Annotated[str, typer.Option(help=f"One of {', '.join(_METHODS)}.")] = _ENSEMBLE,
    horizon_days: Annotated[
        int | None,
        contract_option(pb.ForecastOptions, "horizon_days", help_text="Days to forecast.  [default: 7]"),
    ] = None,
    as_of_date: AsOfDateOption = None,
    attribution_lag_days: Annotated[
        int | None,
        contract_option(
            pb.ForecastOptions,
            "attribution_lag_days",
            help_text="Days still filling up.  [default: the service's setting]",
        ),
    ] = None,
    interval_level: Annotated[
        float | None,
        contract_option(
            pb.ForecastOptions, "interval_level", help_text="Probability of the ranges.  [default: 0.9]"
        ),
    ] = None,
    budget: Annotated[
        float | None, typer.Option(min=0, help="Budget planned for every day of the horizon.")
    ] = None,
    budget_from: Annotated[
        datetime | None,
        day_option("--budget-from", "First day of that budget.  [default: the first forecast]"),
    ] = None,
    country: Annotated[
        str | None,
        typer.Option(
            help="Country whose holidays count, such as DE.  [default: the service's setting]",
            show_default=False,
        ),
    ] = None,
    backend: Annotated[
        str, typer.Option(help="What fits Prophet: kernel, or stan as the reference (slow).")
    ] = "kernel",
    json_output: JsonOption = False,
    *,
    remote: Remote | None = None,
) -> None:
    """Forecast a stored entity, with its registered models, recorded changes and the other services' help.

    Example: adsml forecast --config-id 1 --entity-type campaign --entity-id CAMPAIGN --metric cpl
    """  # fmt: skip
    if method.upper() not in _METHODS:
        raise InvalidInput.at("--method", f"is {method!r}; expected one of {', '.join(_METHODS)}")
    if backend.upper() not in _BACKENDS:
        raise InvalidInput.at("--backend", f"is {backend!r}; expected one of {', '.join(_BACKENDS).lower()}")
    request: Any = (
        pb.ForecastEnsembleRequest()
        if method.upper() == _ENSEMBLE
        else pb.ForecastRequest(method=pb.ForecastMethod.Value(f"FORECAST_METHOD_{method.upper()}"))
    )
    named = request.subject.entity
    named.config_id, named.entity_id = config_id, entity_id
    named.entity_type = (
        named.DESCRIPTOR.fields_by_name["entity_type"]
        .enum_type.values_by_name[f"ENTITY_TYPE_{entity_type.name}"]
        .number
    )
    request.metric = (
        request.DESCRIPTOR.fields_by_name["metric"].enum_type.values_by_name[f"METRIC_{metric.name}"].number
    )
    options = request.options
    if horizon_days is not None:
        options.horizon_days = horizon_days
    if attribution_lag_days is not None:
        options.attribution_lag_days = attribution_lag_days
    if interval_level is not None:
        options.interval_level = interval_level
    if as_of_date is not None:
        _set_day(options.as_of_date, as_of_date)
    if country is not None:
        options.calendar.country_code = country.upper()
    options.prophet_backend = pb.ProphetBackend.Value(f"PROPHET_BACKEND_{backend.upper()}")
    if budget is not None:
        first = budget_from or (as_of_date and as_of_date + timedelta(days=1))
        if first is None:
            raise InvalidInput.at(
                "--budget", "goes with --budget-from or --as-of-date: which days is it for?"
            )
        _plan(options, budget, first, horizon_days or 7)
    response = ask(DOOR, request, remote=remote)
    if json_output:
        print_json(to_dict(response))
        return
    _show(response.forecast, f"{metric.value} of {entity_type.value} {entity_id}")


def _set_day(message: "date_pb2.Date", day: datetime) -> None:
    message.year, message.month, message.day = day.year, day.month, day.day


def _plan(options: pb.ForecastOptions, budget: float, first: datetime, days: int) -> None:
    for step in range(days):
        planned = options.planned_budgets.add(budget=budget)
        _set_day(planned.date, first + timedelta(days=step))


def _show(found: pb.Forecast, title: str) -> None:
    rows: list[list[object]] = []
    for one in found.days:
        day = f"{one.date.year}-{one.date.month:02d}-{one.date.day:02d}"
        rows.append([day, *_cells(one)])
    rows.append(["all days", *_cells(found.total)])
    right = ["forecast", "from", "to"]
    table(title, ["day", *right], rows, right=right)
    method = pb.ForecastMethod.Name(found.method).removeprefix("FORECAST_METHOD_")
    model = found.answered_by.model
    by = f"{model.name} v{model.version}" if found.answered_by.HasField("model") else found.answered_by.reason
    console.print(f"by {method}" + (f"; {by}" if by else ""))
    for warning in found.warnings:
        console.print(f"note: {warning.message}")
    for degradation in found.degradations:
        console.print(f"note: {degradation.detail}")


def _cells(one: pb.ForecastDay | pb.ForecastTotal) -> list[str]:
    value = f"{one.value:.2f}" if one.HasField("value") else "-"
    if not one.HasField("interval"):
        return [value, "-", "-"]
    return [value, f"{one.interval.lower:.2f}", f"{one.interval.upper:.2f}"]
