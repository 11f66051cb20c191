"""One cause, one incident: incidents of single entities grouped over the account's tree.

From the bottom up. A node's own incident and like ones of its children (same kind of fault, at the same time) have one
cause. It is the node's where children with most of its money are hit, or where what its children lose does not explain
what it loses; else it is the children's. What is left over is grouped by a part that the names share, such as a
placement, where that is evident: nearly all with it are hit, and nearly none without.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Final

from adsml_common.domain.entities import EntityRef, EntityType

from adsml_anomaly.models.incidents import NO_DELIVERY, family, incident_id, span_in_words
from adsml_anomaly.models.results import Direction, Incident, IncidentState, Kind, Scope

MOST: Final = 0.8
"""Share of a node's money that makes a fault of its children one of its own."""
EXPLAINED: Final = 0.7
"""Share of what a node loses that makes it a fault of the children that lose it."""
_SLACK: Final = timedelta(days=1)
_SAME_START: Final = timedelta(days=3)
_PATTERN_LEAST: Final = 3
_PATTERN_RARE: Final = 0.2
_PARTS: Final = re.compile(r"[|/_\-–—:;,>\[\]()\s]+")
_SHORTEST_PART: Final = 3
_PLURALS: Final = {EntityType.CAMPAIGN: "campaigns", EntityType.ADSET: "ad sets", EntityType.AD: "ads"}


@dataclass(frozen=True, slots=True)
class Node:
    """An entity with its incidents; None as parent: right below the account. `usual_spend` as in `results.Report`."""

    ref: EntityRef
    parent: EntityRef | None
    name: str
    usual_spend: float
    incidents: tuple[Incident, ...]


def group(
    nodes: Sequence[Node], account: Sequence[Incident] = (), *, config_id: int, whole: bool = True
) -> list[Incident]:
    """Incidents by cause: open ones first, then by money at stake, then by severity.

    `account` are the incidents of the account's summed rows, `whole` whether the nodes right below the account are all
    that deliver: else nothing is said of the account.
    """
    by_ref = {node.ref: node for node in nodes}
    children: defaultdict[EntityRef | None, list[Node]] = defaultdict(list)
    for node in nodes:
        children[node.parent if node.parent in by_ref else None].append(node)
    top = children[None]
    tops = [node for node in top if node.parent is None] or top
    causes = [cause for node in top for cause in _of_subtree(node, children)]
    if whole:
        causes = _merged(None, account, causes, tops, f"account {config_id}")
    else:
        causes += [replace(one, scope=Scope.ACCOUNT) for one in account]
    return ranked(_by_name_part(causes, nodes))


def ranked(incidents: Iterable[Incident]) -> list[Incident]:
    """Open ones first, then by money at stake per day, then by severity, the newest first."""
    return sorted(
        incidents,
        key=lambda one: (
            one.state is not IncidentState.OPEN,
            *_worst(one)[:2],
            -one.first.toordinal(),
            one.incident_id,
        ),
    )


def _worst(one: Incident) -> tuple[float, int, str]:
    """A key that sorts by money at stake, then by severity."""
    return -one.stake_per_day, -one.severity, one.incident_id


def _of_subtree(node: Node, children: Mapping[EntityRef | None, Sequence[Node]]) -> list[Incident]:
    below = children.get(node.ref, ())
    causes = [cause for child in below for cause in _of_subtree(child, children)]
    title = node.name or node.ref.entity_id
    own = [replace(one, entity=node.ref, title=title) for one in node.incidents]
    if not below:
        return own
    return _merged(node, own, causes, below, title)


def _merged(
    node: Node | None, own: Sequence[Incident], causes: Sequence[Incident], below: Sequence[Node], title: str
) -> list[Incident]:
    """Causes of a node (None: the account), of its own incidents and those from below."""
    ref = None if node is None else node.ref
    spend = {child.ref: child.usual_spend for child in below}
    total = max(0.0 if node is None else node.usual_spend, sum(spend.values()))
    active = sum(usual > 0 for usual in spend.values())
    left: defaultdict[Kind, list[Incident]] = defaultdict(list)
    for cause in causes:
        left[family(cause.kind)].append(cause)
    out: list[Incident] = []

    def like(incident: Incident) -> tuple[list[Incident], set[EntityRef], float]:
        """What of below is of one cause with an incident, which children it hits, and their share of the money."""
        same = [one for one in left[family(incident.kind)] if _one_cause(incident, one)]
        hit = {one.entity for one in same if one.entity is not None and one.entity in spend}
        return same, hit, sum(spend[one] for one in hit) / total if total > 0 else 0.0

    def take(incident: Incident | None, same: list[Incident], hit: int, kind: Kind) -> None:
        taken = {id(one) for one in same}
        left[family(kind)] = [one for one in left[family(kind)] if id(one) not in taken]
        level = _PLURALS[below[0].ref.entity_type] if below else "entities"
        out.append(_parent(incident, same, ref, f"{hit} of {active} {level}" if hit > 1 else "", title))

    for incident in own:
        same, hit, share = like(incident)
        lost = sum(cause.stake_per_day for cause in same)
        few = share < MOST or len(hit) < min(active, 2)
        explained = bool(same) and few and lost >= EXPLAINED * incident.stake_per_day > 0
        if explained or (same and active == 1 and ref is None):
            continue  # the children's own incidents say it
        take(incident, same, len(hit), incident.kind)
    # Children hit together, though the node itself was not seen to be.
    for seed in [one for several in left.values() for one in several if one.entity in spend]:
        if any(one is seed for one in left[family(seed.kind)]):
            same, hit, share = like(seed)
            if len(hit) >= 2 and share >= MOST:
                take(None, same, len(hit), seed.kind)
    return [*out, *(one for several in left.values() for one in several)]


def _one_cause(a: Incident, b: Incident) -> bool:
    opposite = Direction.UP in (a.direction, b.direction) and a.direction is not b.direction
    if opposite or family(a.kind) is not family(b.kind):
        return False
    if a.kind in NO_DELIVERY and b.kind in NO_DELIVERY:
        return abs(a.first - b.first) <= _SAME_START
    return a.first <= b.last + _SLACK and b.first <= a.last + _SLACK


def _leaves(incident: Incident) -> tuple[Incident, ...]:
    own = () if incident.entity is None else (replace(incident, children=()),)
    return (*own, *incident.children)


def _parent(
    own: Incident | None, causes: Sequence[Incident], ref: EntityRef | None, hit: str, title: str
) -> Incident:
    """One incident of a node for what happened to it and below it; `hit` says to how many of what."""
    every = {leaf.incident_id: leaf for cause in causes for leaf in _leaves(cause)}
    leaves = tuple(sorted(every.values(), key=_worst))
    scope = Scope.ACCOUNT if ref is None else Scope.SUBTREE if leaves else Scope.ENTITY
    if own is not None:
        summary = f"{own.summary}; {hit}" if hit else own.summary
        return replace(own, scope=scope, entity=ref, title=title, summary=summary, children=leaves)
    worst = max(leaves, key=lambda one: (one.severity, one.stake_per_day))
    first, last = min(leaf.first for leaf in leaves), max(leaf.last for leaf in leaves)
    states = {leaf.state for leaf in leaves}
    # As the first of open, new normal, resolved that any of them is in.
    state = min(states, key=(IncidentState.OPEN, IncidentState.NEW_NORMAL, IncidentState.RESOLVED).index)
    said = worst.summary.partition(": ")[2] or worst.summary
    return replace(
        worst,
        incident_id=incident_id(f"{title if ref is None else ref}|{worst.kind}", first),
        first=first,
        last=last,
        state=state,
        severity=max(leaf.severity for leaf in leaves),
        summary=f"{span_in_words(first, last, state)}: {hit}, among them {worst.title}: {said}",
        stake_per_day=sum(cause.stake_per_day for cause in causes),
        scope=scope,
        entity=ref,
        title=title,
        children=leaves,
    )


def parts_of(name: str) -> set[str]:
    """The parts of a name that may say a format or a placement: words of three letters or more, in lower case."""
    return {part for part in _PARTS.split(name.lower()) if len(part) >= _SHORTEST_PART and not part.isdigit()}


def _by_name_part(incidents: list[Incident], nodes: Sequence[Node]) -> list[Incident]:
    """Group single entities of several campaigns whose names share what the others' do not."""
    by_ref = {node.ref: node for node in nodes}
    out = {one.incident_id: one for one in incidents}
    for level in (EntityType.ADSET, EntityType.AD):
        everyone = [node for node in nodes if node.ref.entity_type is level and node.usual_spend > 0]
        parts = {node.ref: parts_of(node.name) for node in everyone}
        with_part = Counter(part for several in parts.values() for part in several)
        begun: defaultdict[tuple[Kind, date], list[Incident]] = defaultdict(list)
        for one in incidents:
            if one.entity in parts:
                begun[family(one.kind), one.first].append(one)
        for (kind, day), several in sorted(begun.items(), key=lambda item: (item[0][1], item[0][0])):
            near = [*several, *begun.get((kind, day + timedelta(days=1)), ())]
            same = [one for one in near if one.incident_id in out and _one_cause(near[0], one)]
            part = _evident({one.entity for one in same if one.entity is not None}, parts, with_part)
            if part is None:
                continue
            causes = [one for one in same if one.entity and part in parts[one.entity]]
            if len({_campaign(one.entity, by_ref) for one in causes if one.entity}) < 2:
                continue
            hit = f"{len(causes)} of {with_part[part]} {_PLURALS[level]}"
            whole = _parent(None, causes, None, hit, f"“{part}”")
            for one in causes:
                del out[one.incident_id]
            out[whole.incident_id] = replace(whole, scope=Scope.NAME_PATTERN)
    return list(out.values())


def _evident(hit: set[EntityRef], parts: Mapping[EntityRef, set[str]], with_part: Counter[str]) -> str | None:
    """The part that nearly all hit have, nearly all with it being hit; None where there is none."""
    if len(hit) < _PATTERN_LEAST:
        return None
    counts = Counter(part for ref in hit for part in parts[ref])
    evident = [
        (n, part)
        for part, n in counts.items()
        if n >= max(_PATTERN_LEAST, MOST * with_part[part], MOST * len(hit))
        and len(hit) - n <= _PATTERN_RARE * (len(parts) - with_part[part])
        and len(parts) > with_part[part]
    ]
    return max(evident)[1] if evident else None


def _campaign(ref: EntityRef, by_ref: Mapping[EntityRef, Node]) -> EntityRef:
    at = ref
    while (node := by_ref.get(at)) is not None and node.parent is not None:
        at = node.parent
    return at
