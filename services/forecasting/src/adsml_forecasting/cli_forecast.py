"""`adsml forecast`: one entity's coming days, by the service."""

from datetime import date, datetime, timedelta
from functools import partial
from typing import Annotated, Any, Final

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
from adsml_common.cli.output import JsonOption, console, errors, print_json, table
from adsml_common.cli.remote import Remote, with_server
from adsml_common.domain.errors import InvalidInput
from adsml_common.domain.metrics import Metric

_METHODS = [name.removeprefix("FORECAST_METHOD_") for name in pb.ForecastMethod.keys()[1:]]
_BACKENDS = [name.removeprefix("PROPHET_BACKEND_") for name in pb.ProphetBackend.keys()[1:]]
_ENSEMBLE = "ENSEMBLE"
_WORDS: Final = {
    Metric.CPL: "cost per lead",
    Metric.CTR: "click-through rate",
    Metric.CPC: "cost per click",
    Metric.CPM: "cost per thousand impressions",
    Metric.CONVERSION_RATE: "conversion rate",
}
_MONEY: Final = (Metric.SPEND, Metric.CPL, Metric.CPC, Metric.CPM)
_PERCENT: Final = (Metric.CTR, Metric.CONVERSION_RATE)


def _open() -> OpenService:
    from adsml_common.settings import load_settings  # noqa: PLC0415

    from adsml_forecasting.server import open_service  # noqa: PLC0415
    from adsml_forecasting.settings import ForecastingSettings  # noqa: PLC0415

    return open_service(load_settings(ForecastingSettings))


_number = partial(contract_option, pb.ForecastOptions)
DOOR = Door("adsml.forecasting.v1.ForecastingService", _open)


@with_server
def forecast(
    config_id: ConfigIdOption,
    entity_id: Annotated[str, typer.Option(help="Entity, as Meta writes its id.")],
    entity_type: EntityTypeOption = DEFAULT_ENTITY_TYPE,
    metric: MetricOption = Metric.LEADS,
    method: Annotated[str, typer.Option(help=f"One of {', '.join(_METHODS)}.")] = _ENSEMBLE,
    horizon_days: Annotated[int | None, _number("horizon_days", help_text="Days to forecast.")] = None,
    as_of_date: AsOfDateOption = None,
    attribution_lag_days: Annotated[
        int | None,
        _number("attribution_lag_days", help_text="Days still filling up.  [default: the service's setting]"),
    ] = None,
    interval_level: Annotated[
        float | None, _number("interval_level", help_text="Probability of the ranges.")
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
            help="Country whose holidays count, such as DE.  [default: the account's]", show_default=False
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
    name = method.upper()
    if name not in _METHODS:
        raise InvalidInput.at("--method", f"is {method!r}; expected one of {', '.join(_METHODS)}")
    if backend.upper() not in _BACKENDS:
        raise InvalidInput.at("--backend", f"is {backend!r}; expected one of {', '.join(_BACKENDS).lower()}")
    given: dict[str, Any] = {
        "horizon_days": horizon_days,
        "attribution_lag_days": attribution_lag_days,
        "interval_level": interval_level,
        "as_of_date": _day(as_of_date),
        "prophet_backend": f"PROPHET_BACKEND_{backend.upper()}",
    }
    options = pb.ForecastOptions(**given)
    if country is not None:
        options.calendar.country_code = country.upper()
    if budget is not None:
        first = budget_from or (as_of_date and as_of_date + timedelta(days=1))
        if first is None:
            text = "goes with --budget-from or --as-of-date: which days is it for?"
            raise InvalidInput.at("--budget", text)
        for step in range(horizon_days or 7):
            options.planned_budgets.add(budget=budget, date=_day(first + timedelta(days=step)))
    entity = {
        "config_id": config_id,
        "entity_type": f"ENTITY_TYPE_{entity_type.name}",
        "entity_id": entity_id,
    }
    question: dict[str, Any] = {
        "subject": {"entity": entity},
        "metric": f"METRIC_{metric.name}",
        "options": options,
    }
    request = (
        pb.ForecastEnsembleRequest(**question)
        if name == _ENSEMBLE
        else pb.ForecastRequest(**question | {"method": f"FORECAST_METHOD_{name}"})
    )
    with errors.status(f"forecasting {metric.value}"):
        response = ask(DOOR, request, remote=remote)
    if json_output:
        print_json(to_dict(response))
    else:
        _show(response.forecast, metric, f"{entity_type.value} {entity_id}")


def _day(day: datetime | None) -> dict[str, int] | None:
    return None if day is None else {"year": day.year, "month": day.month, "day": day.day}


def _show(found: pb.Forecast, metric: Metric, entity: str) -> None:
    console.print(_sentence(found, metric, entity), highlight=False)
    rows = [[str(_date(one)), *_cells(one)] for one in found.days] + [["all days", *_cells(found.total)]]
    right = ["forecast", "from", "to"]
    table(f"{metric.value} of {entity}", ["day", *right], rows, right=right)
    method = pb.ForecastMethod.Name(found.method).removeprefix("FORECAST_METHOD_").replace("_", " ").lower()
    model = found.answered_by.model
    by = f"{model.name} v{model.version}" if found.answered_by.HasField("model") else found.answered_by.reason
    notes = [f"Answered by: {method}" + (f"; {by}" if by else "")]
    notes += [f"Note: {one.message}" for one in found.warnings]
    for note in (*notes, *(f"Without: {one.detail}" for one in found.degradations)):
        console.print(note, highlight=False)


def _sentence(found: pb.Forecast, metric: Metric, entity: str) -> str:
    """The total with its range, beside what the week before brought."""
    name = _WORDS.get(metric, metric.value)
    days = len(found.days)
    when = f"the {days} days from {_date(found.days[0])}" if days > 1 else str(_date(found.days[0]))

    def amount(value: float, *, currency: bool = True) -> str:
        if metric in _MONEY:
            return f"{value:,.2f} {found.currency_code if currency else ''}".strip()
        if metric in _PERCENT:
            return f"{value:.2f}%"
        return f"{value:,.2f}" if metric is Metric.FREQUENCY else f"{value:,.{0 if value >= 10 else 1}f}"

    before = "what the week before had is not known"
    if found.HasField("last_week_total"):
        before = f"the week before had {amount(found.last_week_total)}"
        if days != 7 and not metric.is_ratio:
            before += f", {amount(found.last_week_total / 7)} a day"
    if not found.total.HasField("value"):
        return f"No {name} is forecast for {entity} in {when}; {before}."
    text = f"{name[0].upper()}{name[1:]} of {entity} in {when}: {amount(found.total.value)} expected"
    if found.total.HasField("interval"):
        span = found.total.interval
        ends = f"{amount(span.lower, currency=False)} to {amount(span.upper, currency=False)}"
        text += f", with {span.level:.0%} probability {ends}"
    if days != 7 and not metric.is_ratio:
        text += f" ({amount(found.total.value / days)} a day)"
    return f"{text}; {before}."


def _date(one: pb.ForecastDay) -> date:
    return date(one.date.year, one.date.month, one.date.day)


def _cells(one: pb.ForecastDay | pb.ForecastTotal) -> list[str]:
    value = f"{one.value:.2f}" if one.HasField("value") else "-"
    if not one.HasField("interval"):
        return [value, "-", "-"]
    return [value, f"{one.interval.lower:.2f}", f"{one.interval.upper:.2f}"]
