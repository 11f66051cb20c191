"""One cause, one incident."""

from collections.abc import Sequence
from datetime import date, timedelta

import pytest
from adsml_anomaly.models.grouping import Node, group, parts_of
from adsml_anomaly.models.results import Direction, Incident, IncidentState, Kind, Scope, Severity
from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.domain.metrics import Metric

DAY = date(2026, 3, 10)
CAMPAIGN, ADSET, AD = EntityType.CAMPAIGN, EntityType.ADSET, EntityType.AD


def ref(level: EntityType, name: str) -> EntityRef:
    return EntityRef(1, level, name)


def fault(
    kind: Kind = Kind.NO_DELIVERY, *, stake: float, of: str = "", since: date = DAY, last: date = DAY
) -> Incident:
    return Incident(
        incident_id=f"{of}-{kind}-{stake}-{since}",
        first=since,
        last=last,
        state=IncidentState.OPEN,
        kind=kind,
        severity=Severity.CRITICAL,
        direction=Direction.DOWN,
        main_metric=Metric.SPEND,
        summary=f"Open since {since}: no spend",
        stake_per_day=stake,
    )


def tree(hit: Sequence[str], kind: Kind = Kind.NO_DELIVERY, **given: date) -> list[Node]:
    """Three campaigns of 100, 60 and 40 a day with two ad sets each of half of it."""
    nodes = []
    for name, spend in (("a", 100.0), ("b", 60.0), ("c", 40.0)):
        campaign = ref(CAMPAIGN, name)
        parts = [f"{name}{i}" for i in (1, 2)]
        lost = sum(part in hit for part in parts) * spend / 2
        own = (fault(kind, stake=lost, of=name, **given),) if name in hit else ()
        nodes.append(Node(campaign, None, f"Campaign {name}", spend, own))
        for part in parts:
            incidents = (fault(kind, stake=spend / 2, of=part, **given),) if part in hit else ()
            nodes.append(
                Node(
                    ref(ADSET, part),
                    campaign,
                    f"{part} | Reels" if part.endswith("1") else part,
                    spend / 2,
                    incidents,
                )
            )
    return nodes


EVERYTHING = ["a", "a1", "a2", "b", "b1", "b2", "c", "c1", "c2"]


def test_everything_hit_is_one_incident_of_the_account() -> None:
    [one] = group(tree(EVERYTHING), [fault(stake=200.0)], config_id=1)
    assert (one.scope, one.entity, one.title) == (Scope.ACCOUNT, None, "account 1")
    assert len(one.children) == len(EVERYTHING)
    assert one.stake_per_day == 200.0
    assert "3 of 3 campaigns" in one.summary
    stakes = [child.stake_per_day for child in one.children]
    assert stakes == sorted(stakes, reverse=True)


def test_most_of_the_money_hit_is_one_of_the_account_without_its_own_alarm() -> None:
    [one] = group(tree([*EVERYTHING[:6]]), config_id=1)
    assert one.scope is Scope.ACCOUNT  # 160 of 200
    assert one.stake_per_day == 160.0


def test_one_campaign_hit_is_that_campaign_s_and_the_account_s_own_alarm_adds_nothing() -> None:
    [one] = group(tree(["a", "a1", "a2"]), [fault(stake=100.0)], config_id=1)
    assert (one.scope, one.entity, one.title) == (Scope.SUBTREE, ref(CAMPAIGN, "a"), "Campaign a")
    assert {child.title for child in one.children} == {"a1 | Reels", "a2"}


def test_one_ad_set_hit_is_that_ad_set_s_though_its_campaign_alarms_too() -> None:
    [one] = group(tree(["a", "a1"]), config_id=1)
    assert (one.scope, one.entity) == (Scope.ENTITY, ref(ADSET, "a1"))


def test_one_campaign_with_most_of_the_money_is_still_one_campaign() -> None:
    nodes = [
        Node(ref(CAMPAIGN, "big"), None, "big", 900.0, (fault(stake=900.0, of="big"),)),
        Node(ref(CAMPAIGN, "small"), None, "small", 100.0, ()),
    ]
    [one] = group(nodes, [fault(Kind.DELIVERY_DROP, stake=880.0, of="account")], config_id=1)
    assert (one.scope, one.entity) == (Scope.ENTITY, ref(CAMPAIGN, "big"))


def test_what_its_children_do_not_explain_is_the_campaign_s() -> None:
    """The campaign loses 100 a day and one ad set 10 of it: the others are too small to be seen."""
    nodes = tree([])
    nodes[0] = Node(ref(CAMPAIGN, "a"), None, "Campaign a", 100.0, (fault(stake=100.0),))
    nodes[1] = Node(ref(ADSET, "a1"), ref(CAMPAIGN, "a"), "a1", 10.0, (fault(stake=10.0),))
    [one] = group(nodes, config_id=1)
    assert (one.scope, one.entity, len(one.children)) == (Scope.SUBTREE, ref(CAMPAIGN, "a"), 1)


def test_faults_of_other_kinds_or_other_days_are_other_incidents() -> None:
    nodes = tree(["a1"])
    other = Node(ref(ADSET, "b1"), ref(CAMPAIGN, "b"), "b1", 30.0, (fault(Kind.LEADS_LOST, stake=30.0),))
    earlier = DAY - timedelta(days=6)
    third = Node(ref(ADSET, "c1"), ref(CAMPAIGN, "c"), "c1", 20.0, (fault(stake=20.0, since=earlier),))
    found = group([*(n for n in nodes if n.ref.entity_id not in ("b1", "c1")), other, third], config_id=1)
    assert [(one.entity.entity_id if one.entity else "", one.kind) for one in found] == [
        ("a1", Kind.NO_DELIVERY), ("b1", Kind.LEADS_LOST), ("c1", Kind.NO_DELIVERY),
    ]  # fmt: skip


def test_ranked_by_state_then_money_then_severity() -> None:
    resolved = fault(stake=500.0)
    nodes = [
        Node(ref(CAMPAIGN, "a"), None, "a", 1.0, (fault(Kind.LEADS_LOST, stake=5.0),)),
        Node(ref(CAMPAIGN, "b"), None, "b", 1.0, (fault(Kind.COST_RISE, stake=50.0),)),
        Node(
            ref(CAMPAIGN, "c"), None, "c", 1.0,
            (Incident(**{f: getattr(resolved, f) for f in resolved.__slots__} | {"state": IncidentState.RESOLVED}),),
        ),
    ]  # fmt: skip
    assert [one.stake_per_day for one in group(nodes, config_id=1)] == [50.0, 5.0, 500.0]


def test_a_placement_in_several_campaigns_is_grouped_by_its_name() -> None:
    [one] = group(tree(["a1", "b1", "c1"]), config_id=1, whole=True)
    assert (one.scope, one.title) == (Scope.NAME_PATTERN, "“reels”")
    assert {child.entity.entity_id for child in one.children if child.entity} == {"a1", "b1", "c1"}
    assert one.stake_per_day == 100.0


def test_where_others_without_the_name_are_hit_too_it_is_not_evident() -> None:
    found = group(tree(["a1", "b1", "b2", "c2"]), config_id=1)
    assert Scope.NAME_PATTERN not in {one.scope for one in found}


def test_part_of_an_account_says_nothing_of_the_account() -> None:
    found = group(tree(EVERYTHING), config_id=1, whole=False)
    assert [one.scope for one in found] == [Scope.SUBTREE] * 3


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("Spring 26 | Reels - DE", {"spring", "reels"}),
        ("LAL_3%_Stories/2026", {"lal", "stories"}),
        ("", set()),
    ],
)
def test_parts_of_a_name(name: str, parts: set[str]) -> None:
    assert parts_of(name) == parts
