"""`adsml forecast`: one entity's coming days, from the store, without a server."""

from datetime import date, timedelta
from typing import Annotated

import typer
from adsml_common.cli.output import JsonOption, console, print_json, table


def forecast(
    config_id: Annotated[int, typer.Option(min=1, help="Ad account.")],
    entity_id: Annotated[str, typer.Option(help="Entity, as Meta writes its id.")],
    entity_type: Annotated[str, typer.Option(help="campaign, adset or ad.")] = "campaign",
    metric: Annotated[str, typer.Option(help="spend, impressions, clicks, leads, cpl, ...")] = "leads",
    method: Annotated[str, typer.Option(help="A method, or ENSEMBLE.")] = "ENSEMBLE",
    horizon: Annotated[int, typer.Option(min=1, max=90, help="Days to forecast.")] = 7,
    drop_last_days: Annotated[int, typer.Option(min=0, max=28, help="Days still filling up.")] = 0,
    json_output: JsonOption = False,
) -> None:
    """Forecast a stored entity by the code that the service runs, with registered models; asks no peer.

    Example: adsml forecast --config-id 1 --entity-id CAMPAIGN --metric cpl
    """
    from adsml_common.cli.context import open_database, open_registry, settings  # noqa: PLC0415
    from adsml_common.domain.entities import EntityRef, EntityType  # noqa: PLC0415
    from adsml_common.domain.errors import InvalidInput  # noqa: PLC0415
    from adsml_common.domain.metrics import Metric  # noqa: PLC0415
    from adsml_common.registry.loader import ModelLoader  # noqa: PLC0415
    from adsml_common.store.entities import EntityStore  # noqa: PLC0415
    from adsml_common.store.metrics import MetricStore  # noqa: PLC0415

    from adsml_forecasting import registered  # noqa: PLC0415
    from adsml_forecasting.models.answering import Question, answer  # noqa: PLC0415
    from adsml_forecasting.models.method import Method  # noqa: PLC0415
    from adsml_forecasting.models.prediction import Wanted  # noqa: PLC0415
    from adsml_forecasting.models.preparation import prepare  # noqa: PLC0415
    from adsml_forecasting.resolver import Knowledge  # noqa: PLC0415

    if entity_type not in {one.value for one in EntityType}:
        raise InvalidInput.at("--entity-type", f"is {entity_type!r}; expected campaign, adset or ad")
    if metric not in {one.value for one in Metric}:
        raise InvalidInput.at("--metric", f"is {metric!r}; expected {', '.join(one.value for one in Metric)}")
    if method.upper() not in {one.value for one in Method if one is not Method.TRANSFER}:
        raise InvalidInput.at("--method", f"is {method!r}; expected {', '.join(one.value for one in Method)}")
    kind, asked = EntityType(entity_type), Metric(metric)
    config = settings()
    with open_database(config) as database:
        frame = MetricStore(database).daily(config_id, entity_type=kind, entity_ids=[entity_id])
        if frame.empty:
            EntityStore(database).get(EntityRef(config_id, kind, entity_id))
        loader: ModelLoader[registered.Model] = ModelLoader(
            open_registry(config, database), registered.parse, poll_seconds=3600, capacity=100
        )
        knowledge = Knowledge(loader)
        known = knowledge.of(config_id, kind, entity_id, asked)
        parts = knowledge.parts(config_id, kind, entity_id, asked) or (known, known)
        prepared = prepare(frame, asked, label=f"{kind} {entity_id}", drop_last_days=drop_last_days)
        found = answer(
            Question(
                prepared.series,
                Wanted(method=Method(method.upper()), horizon=horizon),
                learned=known.learned,
                numerator=parts[0].learned,
                denominator=parts[1].learned,
            )
        ).prediction
    first = date(1970, 1, 1) + timedelta(days=found.cutoff + 1)
    days = [
        {"date": first + timedelta(days=step), "value": value, "lower": low, "upper": high}
        for step, (value, low, high) in enumerate(
            zip(found.point.tolist(), found.lower.tolist(), found.upper.tolist(), strict=True)
        )
    ]
    if json_output:
        print_json(
            {
                "days": days,
                "total": {"value": found.total, "lower": found.total_lower, "upper": found.total_upper},
                "method": found.method,
                "answered_by": {"source": found.source, "reason": found.reason},
                "members": {member.method.value: member.weight for member in found.members},
                "interval_method": found.interval_method,
                "measured_coverage": found.coverage,
                "warnings": found.warnings,
            }
        )
        return
    table(
        f"{metric} of {entity_type} {entity_id}",
        ["day", "forecast", "from", "to"],
        [[day["date"], *(f"{day[name]:.2f}" for name in ("value", "lower", "upper"))] for day in days],
        right=["forecast", "from", "to"],
    )
    console.print(f"by {found.method} ({found.source.value.lower()}); {found.reason}".rstrip("; "))
    for warning in found.warnings:
        console.print(f"note: {warning}")
