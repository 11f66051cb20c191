"""From the impact contract's requests to queries and data."""

from dataclasses import replace
from typing import Any

from adsml.common.v1 import change_pb2, entity_pb2
from adsml.impact.v1 import impact_service_pb2 as pb
from adsml_common.domain.changes import ChangeEvent
from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.domain.errors import Violations
from adsml_common.serving.contract_rules import number
from adsml_common.serving.messages import (
    CHANGE_TYPE,
    ENTITY_TYPE,
    METRIC,
    EnumCodec,
    day,
    entity_ref,
    optional_day,
)
from adsml_common.serving.rows import daily_rows

from adsml_impact.analysis.query import AccountData, ImpactQuery, Options
from adsml_impact.analysis.tree import Tree
from adsml_impact.encoding import AMOUNTS, amounts
from adsml_impact.models.estimators import Estimator

ESTIMATOR: EnumCodec[Estimator] = EnumCodec(Estimator, pb.Estimator, "ESTIMATOR_")
_NUMBERS = ("before_days", "after_days", "baseline_days", "equivalence_margin")


def options(message: pb.ImpactOptions, *, attribution_lag_days: int, equivalence_margin: float) -> Options:
    """Options of a validated request; the arguments hold where it does not say."""
    given: dict[str, Any] = {name: getattr(message, name) for name in _NUMBERS if message.HasField(name)}  # type: ignore[arg-type]
    as_of = optional_day(message, "as_of_date", "options.as_of_date")
    if message.HasField("attribution_lag_days"):
        attribution_lag_days = message.attribution_lag_days
    return Options(
        **{"equivalence_margin": equivalence_margin} | given,
        washout_days=number(message, "washout_days"),
        alpha=number(message, "alpha"),
        max_placebos=number(message, "max_placebos"),
        metrics=tuple(METRIC.from_wire(metric, "options.metrics") for metric in message.metrics),
        primary_metric=METRIC.find(message.primary_metric),
        estimator=ESTIMATOR.find(message.estimator),
        attribution_lag_days=0 if as_of is not None else attribution_lag_days,
        as_of=as_of,
        with_series=not message.omit_series,
    )


def query(item: pb.AnalyzeImpactItem, chosen: Options, path: str) -> tuple[ImpactQuery, AccountData | None]:
    """The query of a validated item, which `path` leads to (``items[3].``), and the data that came with it.

    Raises
    ------
    InvalidInput
        Stored entities of two accounts or two levels; rows that no model may see; two series of one name.
    """
    if item.panel.WhichOneof("source") == "stored":
        entities, data = _stored(item.panel.stored, f"{path}panel.stored"), None
    else:
        entities, data = _inline(item.panel.inline, f"{path}panel.inline")
    kind = CHANGE_TYPE.from_wire(item.change.change_type, f"{path}change.change_type")
    when = optional_day(item.change, "date", f"{path}change.date")
    return ImpactQuery(**entities, change_type=kind, day=when, change=item.change, options=chosen), data


def _stored(panel: pb.StoredPanel, path: str) -> dict[str, Any]:
    wrong = Violations()
    first = entity_ref(panel.treated[0], f"{path}.treated[0]")
    out: dict[str, Any] = {"config_id": first.config_id, "entity_type": first.entity_type}
    for field in ("treated", "controls", "excluded_controls"):
        refs = [
            entity_ref(message, f"{path}.{field}[{k}]") for k, message in enumerate(getattr(panel, field))
        ]
        for k, ref in enumerate(refs):
            if (ref.config_id, ref.entity_type) != (first.config_id, first.entity_type):
                wrong.add(
                    f"{path}.{field}[{k}]",
                    f"is {ref}; expected a {first.entity_type} of account {first.config_id}, as the first treated",
                )
        out[field] = tuple(ref.entity_id for ref in refs)
    wrong.raise_if_any()
    return out


def _inline(panel: pb.InlinePanel, path: str) -> tuple[dict[str, Any], AccountData]:
    series, treated = [*panel.treated, *panel.controls], len(panel.treated)
    paths = [
        *(f"{path}.treated[{k}]" for k in range(treated)),
        *(f"{path}.controls[{k}]" for k in range(len(panel.controls))),
    ]
    config_id = panel.treated[0].config_id
    entity_type = ENTITY_TYPE.find(panel.treated[0].entity_type) or EntityType.CAMPAIGN
    # A series may go without a name; inside, its place stands for it.
    names = [one.entity_id or f"#{k + 1}" for k, one in enumerate(series)]
    wrong = Violations()
    for k, name in enumerate(names):
        if name in names[:k]:
            wrong.add(f"{paths[k]}.entity_id", f"{name!r} names an earlier series of the panel too")
    rows, account = daily_rows(series), daily_rows([panel], "account_rows")
    for violations in (
        *rows.violations(lambda k: f"{paths[k]}.rows").values(),
        *account.violations(lambda _: f"{path}.account_rows").values(),
    ):
        wrong.found.extend(violations)
    wrong.raise_if_any()
    events = [
        _change_event(one, EntityRef(config_id or 1, entity_type, one.entity_id), f"{path}.changes[{k}]")
        for k, one in enumerate(panel.changes)
    ]
    data = AccountData(
        rows=rows.frame([(entity_type, name) for name in names]),
        account=account.frame([(entity_type, "account")]) if panel.account_rows else None,
        account_known=bool(panel.account_rows),
        tree=Tree(events=events),
    )
    entities = {
        "config_id": config_id,
        "entity_type": entity_type,
        "treated": tuple(names[:treated]),
        "controls": tuple(names[treated:]),
        "refs": dict(zip(names, map(series_ref, series), strict=True)),
    }
    return entities, data


def series_ref(one: entity_pb2.InlineSeries) -> entity_pb2.EntityRef:
    """What the caller knows an entity by whose rows were sent."""
    return entity_pb2.EntityRef(config_id=one.config_id, entity_type=one.entity_type, entity_id=one.entity_id)


def _change_event(one: pb.EntityChange, entity: EntityRef, path: str) -> ChangeEvent:
    """A recorded change that was sent along."""
    change = one.change
    detail = {key: getattr(change, name) for name, key in AMOUNTS.items() if change.HasField(name)}  # type: ignore[arg-type]
    kind = CHANGE_TYPE.from_wire(change.change_type, f"{path}.change.change_type")
    return ChangeEvent(entity, kind, day(change.date, f"{path}.change.date"), detail)


def with_amounts(query: ImpactQuery, data: AccountData) -> ImpactQuery:
    """The query with the amounts that the change log has for its change, where the request names none."""
    change = query.change
    if change.HasField("value_before") or change.HasField("value_after") or query.day is None:
        return query
    treated = [(query.entity_type, name) for name in query.treated]
    events = data.tree.changes(treated, query.day, query.day)
    recorded = [amounts(event) for event in events if event.change_type is query.change_type]
    out = change_pb2.ChangeEvent()
    out.CopyFrom(change)
    for name, values in zip(AMOUNTS, zip(*recorded, strict=True), strict=False):
        if None not in values:
            setattr(out, name, sum(value for value in values if value is not None))
    return replace(query, change=out)
