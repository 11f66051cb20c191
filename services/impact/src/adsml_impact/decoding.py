"""From the impact contract's requests to queries and data."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

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
from adsml_impact.models.estimators import Estimator

AMOUNTS: Final = {"value_before": "budget_before", "value_after": "budget_after"}
"""The contract's names of a change's amounts, and the change log's."""
ESTIMATOR: EnumCodec[Estimator] = EnumCodec(Estimator, pb.Estimator, "ESTIMATOR_")


@dataclass(frozen=True, slots=True)
class PanelEntities:
    """The entities of a panel: the names used inside, and the references the caller knows them by."""

    config_id: int  # of a stored panel, or 0
    entity_type: EntityType  # level of the treated
    # names
    treated: tuple[str, ...]
    controls: tuple[str, ...]
    excluded: tuple[str, ...]
    refs: dict[str, entity_pb2.EntityRef]  # name -> reference

    def ref(self, name: str) -> entity_pb2.EntityRef:
        """The reference of an entity of the panel, or of its account."""
        known = self.refs.get(name)
        if known is not None:
            return known
        return entity_pb2.EntityRef(
            config_id=self.config_id,
            entity_type=ENTITY_TYPE.to_wire(self.entity_type),  # type: ignore[arg-type]  # an enum's number
            entity_id=name,
        )


def options(message: pb.ImpactOptions, *, attribution_lag_days: int, equivalence_margin: float) -> Options:
    """Options of a validated request; the arguments hold where it does not say."""
    numbers = ("before_days", "after_days", "baseline_days", "equivalence_margin")
    given: dict[str, Any] = {name: getattr(message, name) for name in numbers if message.HasField(name)}  # type: ignore[arg-type]
    as_of = optional_day(message, "as_of_date", "options.as_of_date")
    if message.HasField("attribution_lag_days"):
        attribution_lag_days = message.attribution_lag_days
    return Options(
        **{"equivalence_margin": equivalence_margin} | given,
        washout_days=number(message, "washout_days"),
        alpha=number(message, "alpha"),
        max_placebos=number(message, "max_placebos"),
        metrics=tuple(
            METRIC.from_wire(metric, f"options.metrics[{k}]") for k, metric in enumerate(message.metrics)
        ),
        primary_metric=METRIC.find(message.primary_metric),
        estimator=ESTIMATOR.find(message.estimator),
        attribution_lag_days=0 if as_of is not None else attribution_lag_days,
        as_of=as_of,
        with_series=not message.omit_series,
    )


def stored_panel(panel: pb.StoredPanel, path: str) -> PanelEntities:
    """The entities of a stored panel; InvalidInput if they are of two accounts or two levels."""
    wrong = Violations()
    first = entity_ref(panel.treated[0], f"{path}.treated[0]")

    def names(refs: Iterable[entity_pb2.EntityRef], field: str) -> tuple[str, ...]:
        out = []
        for k, message in enumerate(refs):
            ref = entity_ref(message, f"{path}.{field}[{k}]")
            if (ref.config_id, ref.entity_type) != (first.config_id, first.entity_type):
                wrong.add(
                    f"{path}.{field}[{k}]",
                    f"is {ref}; expected a {first.entity_type} of account {first.config_id}, as the first treated",
                )
            out.append(ref.entity_id)
        return tuple(out)

    treated, controls = names(panel.treated, "treated"), names(panel.controls, "controls")
    excluded = names(panel.excluded_controls, "excluded_controls")
    wrong.raise_if_any()
    return PanelEntities(first.config_id, first.entity_type, treated, controls, excluded, {})


def inline_panel(panel: pb.InlinePanel, path: str) -> tuple[PanelEntities, AccountData]:
    """The entities of an inline panel and their rows.

    Raises
    ------
    InvalidInput
        Rows that no model may see; two series of one name.
    """
    series = [*panel.treated, *panel.controls]
    paths = [
        *(f"{path}.treated[{k}]" for k in range(len(panel.treated))),
        *(f"{path}.controls[{k}]" for k in range(len(panel.controls))),
    ]
    entity_type = ENTITY_TYPE.find(panel.treated[0].entity_type) or EntityType.CAMPAIGN
    # A series may go without a name; inside, its place stands for it.
    names = [one.entity_id or f"#{k + 1}" for k, one in enumerate(series)]
    wrong = Violations()
    for k, name in enumerate(names):
        if name in names[:k]:
            wrong.add(f"{paths[k]}.entity_id", f"{name!r} names an earlier series of the panel too")
    rows = daily_rows(series)
    for violations in rows.violations(lambda k: f"{paths[k]}.rows").values():
        wrong.found.extend(violations)
    account = daily_rows([panel], "account_rows")
    for violations in account.violations(lambda _: f"{path}.account_rows").values():
        wrong.found.extend(violations)
    wrong.raise_if_any()
    config_id = panel.treated[0].config_id
    events = [
        change_event(
            one.change,
            EntityRef(config_id or 1, entity_type, one.entity_id),
            f"{path}.changes[{k}].change",
        )
        for k, one in enumerate(panel.changes)
    ]
    refs = {
        name: entity_pb2.EntityRef(
            config_id=one.config_id, entity_type=one.entity_type, entity_id=one.entity_id
        )
        for name, one in zip(names, series, strict=True)
    }
    data = AccountData(
        rows=rows.frame([(entity_type, name) for name in names]),
        account=account.frame([(entity_type, "account")]) if panel.account_rows else None,
        account_known=bool(panel.account_rows),
        tree=Tree(events=events),
    )
    treated = len(panel.treated)
    return PanelEntities(
        config_id, entity_type, tuple(names[:treated]), tuple(names[treated:]), (), refs
    ), data


def change_event(message: change_pb2.ChangeEvent, entity: EntityRef, path: str) -> ChangeEvent:
    """A recorded change that was sent along."""
    detail = {
        key: getattr(message, name)
        for name, key in AMOUNTS.items()
        if message.HasField(name)  # type: ignore[arg-type]
    }
    return ChangeEvent(
        entity,
        CHANGE_TYPE.from_wire(message.change_type, f"{path}.change_type"),
        day(message.date, f"{path}.date"),
        detail,
    )


def amounts(event: ChangeEvent) -> tuple[float | None, float | None]:
    """The budgets before and after a recorded change, where they are known."""
    before, after = (
        float(amount) if isinstance(amount := event.detail.get(key), int | float) else None
        for key in AMOUNTS.values()
    )
    return before, after


def change_day(change: change_pb2.ChangeEvent, path: str) -> date | None:
    """The day of a change; None for a planned one that does not say."""
    return optional_day(change, "date", f"{path}.date")


def with_amounts(
    change: change_pb2.ChangeEvent, entities: PanelEntities, data: AccountData, path: str
) -> change_pb2.ChangeEvent:
    """The change with the amounts that the change log has for it, where the request names none."""
    if change.HasField("value_before") or change.HasField("value_after") or not change.HasField("date"):
        return change
    when = day(change.date, f"{path}.date")
    kind = CHANGE_TYPE.from_wire(change.change_type, f"{path}.change_type")
    treated = [(entities.entity_type, name) for name in entities.treated]
    events = [event for event in data.tree.changes(treated, when, when) if event.change_type is kind]
    out = change_pb2.ChangeEvent()
    out.CopyFrom(change)
    for name, values in zip(AMOUNTS, zip(*map(amounts, events), strict=True), strict=False):
        if None not in values:
            setattr(out, name, sum(value for value in values if value is not None))
    return out


def query(entities: PanelEntities, change: change_pb2.ChangeEvent, chosen: Options, path: str) -> ImpactQuery:
    """The query of a validated request."""
    return ImpactQuery(
        treated=entities.treated,
        entity_type=entities.entity_type,
        change_type=CHANGE_TYPE.from_wire(change.change_type, f"{path}.change_type"),
        day=change_day(change, path),
        value_before=change.value_before if change.HasField("value_before") else None,
        value_after=change.value_after if change.HasField("value_after") else None,
        controls=entities.controls,
        excluded_controls=entities.excluded,
        options=chosen,
    )
