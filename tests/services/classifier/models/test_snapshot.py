"""Entities at the end of a day: who stopped, who is alone, who is new."""

import numpy as np
from adsml_classifier.models.panel import Panel
from adsml_classifier.models.snapshot import AccountSnapshot

from ..accounts import days_of, frame_of

DAYS = 28
ON = [10.0] * DAYS


def snapshot_of(**spend: list[float]) -> AccountSnapshot:
    """Ad sets by their daily spend; each has a lead a day that it spends."""
    parts = [
        days_of(name, spend=each, leads=[float(one > 0) for one in each]) for name, each in spend.items()
    ]
    panel = Panel.of(frame_of(*parts))
    return AccountSnapshot.of(panel, panel.day(len(panel.days) - 1))


def of(snapshot: AccountSnapshot, values: np.ndarray) -> dict[str, object]:
    return {name: values[row].item() for (_, name), row in snapshot.rows.items()}


def test_who_no_longer_delivers_has_stopped_but_not_who_only_runs_on_weekdays() -> None:
    # The first day is a Monday, the last a Sunday.
    weekdays = ([10.0] * 5 + [0.0] * 2) * 4
    found = snapshot_of(on=ON, off=ON[:-3] + [0.0] * 3, yesterday=[*ON[:-1], 0.0], weekdays=weekdays)
    assert of(found, found.stopped) == {"on": False, "off": True, "yesterday": False, "weekdays": False}
    assert of(found, found.since_delivery) == {"on": 0, "off": 3, "yesterday": 1, "weekdays": 2}
    # Three more days of silence are no weekend.
    longer = snapshot_of(on=ON, weekdays=weekdays[:-5] + [0.0] * 5)
    assert of(longer, longer.stopped)["weekdays"] is True


def test_when_the_whole_account_is_silent_no_entity_has_stopped_by_itself() -> None:
    found = snapshot_of(a=ON[:-3] + [0.0] * 3, b=ON[:-3] + [0.0] * 3)
    assert not found.stopped.any()
    assert found.paused.all()


def test_who_spends_all_of_the_account_is_alone() -> None:
    alone = snapshot_of(a=ON)
    assert alone.alone.all()
    assert snapshot_of(a=ON, small=[0.1] * DAYS).alone.tolist() == [True, False]
    assert not snapshot_of(a=ON, b=[1.0] * DAYS).alone.any()


def test_a_full_week_counts_from_the_first_delivery() -> None:
    found = snapshot_of(old=ON, seven=[0.0] * 21 + [10.0] * 7, six=[0.0] * 22 + [10.0] * 6)
    assert of(found, found.full_week) == {"old": True, "seven": True, "six": False}
