"""Who may stand in for the treated: same level, other budget, unchanged, delivering."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import numpy as np
from adsml_common.domain.changes import ChangeEvent
from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import FailedPrecondition, Violations

from adsml_impact.analysis.series import Series
from adsml_impact.models.comparison import Design

MOST_CONTROLS: Final = 40
"""The largest spenders; more add noise, not information, and time."""
ENOUGH_CONTROLS: Final = 3
"""With fewer there is no placebo test over entities: the treated's own past is used, they as regressors."""
_DELIVERED_SHARE = 0.7
_RECENT_DAYS = 14


@dataclass(frozen=True, slots=True)
class Relation:
    """What is known of an entity's place in the account's tree.

    Attributes
    ----------
    parent_id
        One level above.
    shares_budget
        Whether its budget is set at its parent; None: not known.
    """

    parent_id: str | None = None
    shares_budget: bool | None = None


Tree = Mapping[tuple[EntityType, str], Relation]
"""(level, id) -> relation, over all levels that are known."""


def budget_pool(tree: Tree, entity_type: EntityType, entity_id: str) -> tuple[EntityType, str]:
    """The entity at which the budget is set: itself or an ancestor.

    Ads never have a budget of their own; an ad set has one unless its campaign's is shared.
    """
    relation = tree.get((entity_type, entity_id), Relation())
    parent_type = entity_type.parent_type
    if parent_type is None or relation.parent_id is None:
        return entity_type, entity_id
    if entity_type is EntityType.AD or relation.shares_budget:
        return budget_pool(tree, parent_type, relation.parent_id)
    return entity_type, entity_id


def lineage(tree: Tree, entity_type: EntityType, entity_id: str) -> list[tuple[EntityType, str]]:
    """The entity and its ancestors."""
    out = [(entity_type, entity_id)]
    relation = tree.get(out[0], Relation())
    if entity_type.parent_type is not None and relation.parent_id is not None:
        out += lineage(tree, entity_type.parent_type, relation.parent_id)
    return out


@dataclass(frozen=True, slots=True)
class Choice:
    """Controls, and why others are not among them.

    Attributes
    ----------
    rows
        Positions in the series.
    contaminated
        Given controls that share the budget or were changed, with the reason.
    left_out
        Candidates that were not taken: reason -> how many.
    """

    rows: tuple[int, ...]
    contaminated: tuple[tuple[str, str], ...]
    left_out: Mapping[str, int]


def _taint(
    name: str,
    *,
    entity_type: EntityType,
    pools: Collection[tuple[EntityType, str]],
    tree: Tree,
    changed: Mapping[tuple[EntityType, str], date],
) -> str | None:
    if budget_pool(tree, entity_type, name) in pools:
        return "shares the treated's budget"
    for key in lineage(tree, entity_type, name):
        if key in changed:
            whose = "was changed" if key[1] == name else f"its {key[0]} {key[1]} was changed"
            return f"{whose} on {changed[key]}"
    return None


def choose_controls(
    series: Series,
    design: Design,
    *,
    entity_type: EntityType,
    treated: Sequence[str],
    given: Sequence[str] = (),
    excluded: Collection[str] = (),
    tree: Tree,
    events: Sequence[ChangeEvent] = (),
    window_end: date,
) -> Choice:
    """Controls for a change.

    Chosen ones delivered on 70% of the baseline's days, in the week before and in the window after, do not
    share the treated's budget, and were not changed (nor any ancestor) from two weeks before the change to
    the window's end; the largest spenders first. Given ones are taken as they are; those tainted are named.

    Raises
    ------
    InvalidInput
        If a given control is treated itself, or is given twice.
    FailedPrecondition
        If a given control has no rows on more than 30% of the days.
    """
    pools = {budget_pool(tree, entity_type, name) for name in treated}
    changed = _recent_changes(events, design=design, series=series, until=window_end)
    base = slice(max(0, design.change - design.baseline), design.change)
    delivering = series.values["impressions"] + series.values["spend"] > 0
    spend = series.values["spend"][:, base].sum(axis=1)
    if given:
        return _given(series, design, entity_type, treated, given, pools, tree, changed)
    left_out: dict[str, int] = {}
    rows: list[int] = []
    for i, name in enumerate(series.names):
        if name in treated:
            continue
        taint = _taint(name, entity_type=entity_type, pools=pools, tree=tree, changed=changed)
        if name in excluded:
            reason = "excluded by the caller"
        elif delivering[i, base].mean() < _DELIVERED_SHARE or not delivering[i, base][-7:].any():
            reason = "too few days with delivery before"
        elif design.observed and not delivering[i, design.after].any():
            reason = "no delivery after"
        elif taint is not None:
            reason = "shares the treated's budget" if taint.startswith("shares") else "changed recently"
        else:
            rows.append(i)
            continue
        left_out[reason] = left_out.get(reason, 0) + 1
    if len(rows) > MOST_CONTROLS:
        left_out["smaller spenders"] = len(rows) - MOST_CONTROLS
        rows = sorted(sorted(rows, key=lambda i: (-spend[i], series.names[i]))[:MOST_CONTROLS])
    return Choice(rows=tuple(rows), contaminated=(), left_out=left_out)


def _recent_changes(
    events: Sequence[ChangeEvent], *, design: Design, series: Series, until: date
) -> dict[tuple[EntityType, str], date]:
    start = series.day(design.change) - timedelta(days=_RECENT_DAYS)
    return {
        (event.entity.entity_type, event.entity.entity_id): event.date
        for event in events
        if start <= event.date <= until
    }


def _given(
    series: Series,
    design: Design,
    entity_type: EntityType,
    treated: Sequence[str],
    given: Sequence[str],
    pools: Collection[tuple[EntityType, str]],
    tree: Tree,
    changed: Mapping[tuple[EntityType, str], date],
) -> Choice:
    found = Violations()
    seen: set[str] = set()
    for k, name in enumerate(given):
        if name in treated:
            found.add(f"controls[{k}]", f"{name} is treated itself; a control must not have been changed")
        if name in seen:
            found.add(f"controls[{k}]", f"{name} is given twice")
        seen.add(name)
    found.raise_if_any()
    start, end = max(0, design.change - design.baseline), design.change + design.ahead
    rows = series.rows(given)
    gaps = []
    for i in rows:
        present = series.present[i, start:end]
        if present.mean() < _DELIVERED_SHARE:
            gaps.append(f"{series.names[i]} has rows on {int(present.sum())} of {present.size} days")
    if gaps:
        raise FailedPrecondition(
            f"controls with gaps between {series.day(start)} and {series.day(end - 1)}: " + "; ".join(gaps)
            + ". Leave them out, or send rows with 0 for days without delivery",
            metadata={"controls_with_gaps": str(len(gaps))},
        )  # fmt: skip
    contaminated = tuple(
        (name, taint)
        for name in given
        if (taint := _taint(name, entity_type=entity_type, pools=pools, tree=tree, changed=changed))
        is not None
    )
    left_out: dict[str, int] = {}
    if len(rows) > MOST_CONTROLS:
        spend = series.values["spend"][:, start : design.change].sum(axis=1)
        left_out["smaller spenders"] = len(rows) - MOST_CONTROLS
        rows = sorted(rows, key=lambda i: (-spend[i], series.names[i]))[:MOST_CONTROLS]
    return Choice(rows=tuple(np.sort(rows).tolist()), contaminated=contaminated, left_out=left_out)
