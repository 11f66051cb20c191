"""How complete young days are, learnt from rows that were loaded young and restated later."""

import numpy as np
import pandas as pd
import pytest
from adsml_common.domain.completion import CompletionCurve
from adsml_common.store.completion import LONGEST_DAYS, learn_curve

START = pd.Timestamp("2026-01-01")
DELIVERY = ("spend", "impressions", "clicks")


def versions(
    days: int, leads_in: list[float], *, delivery_in: list[float] | None = None, per_day: float = 4000.0
) -> pd.DataFrame:
    """Rows of one campaign as loads of each next morning find them: at age a, this share is in."""
    delivery_in = delivery_in or [1.0]
    rng, rows = np.random.default_rng(1), []
    final = rng.uniform(0.8, 1.2, days) * per_day
    for day in range(days):
        last: tuple[float, float] | None = None
        for age in range(days - day):
            leads = final[day] * leads_in[min(age, len(leads_in) - 1)]
            spend = final[day] * delivery_in[min(age, len(delivery_in) - 1)]
            if (leads, spend) == last:
                continue  # a load that brings nothing new leaves the row as it is
            last = (leads, spend)
            date = START + pd.Timedelta(days=day)
            loaded = (date + pd.Timedelta(days=age + 1, hours=5)).tz_localize("UTC")
            rows.append(
                {"entity_id": "1", "date": date, "loaded_at": loaded, "leads": leads}
                | dict.fromkeys(DELIVERY, spend)
            )
    return pd.DataFrame(rows)


def test_the_shares_by_age_are_found_and_older_days_are_complete() -> None:
    curve = learn_curve(versions(60, [0.4, 0.7, 0.9, 1.0]))
    assert curve is not None
    assert curve.leads == pytest.approx((0.4, 0.7, 0.9), abs=0.005)
    assert curve.delivery == pytest.approx((1.0, 1.0, 1.0))
    assert len(curve.youngest(2)) == 2


def test_delivery_has_a_curve_of_its_own() -> None:
    """Loaded in the middle of a day, that day is half in, whatever comes of leads."""
    curve = learn_curve(versions(60, [0.1, 0.8, 1.0], delivery_in=[0.5, 1.0]))
    assert curve is not None
    assert curve.delivery == pytest.approx((0.5, 1.0), abs=0.005)
    assert curve.leads == pytest.approx((0.1, 0.8), abs=0.005)


def test_complete_from_the_first_load_on_is_no_curve() -> None:
    assert learn_curve(versions(60, [1.0])) is None


@pytest.mark.parametrize("days", [5, LONGEST_DAYS, LONGEST_DAYS + 4])
def test_too_few_days_teach_nothing(days: int) -> None:
    assert learn_curve(versions(days, [0.4, 1.0])) is None
    assert learn_curve(pd.DataFrame()) is None


def test_days_that_were_loaded_late_say_nothing_of_their_youth() -> None:
    frame = versions(60, [0.4, 0.7, 1.0])
    late = (
        frame.groupby("date")
        .tail(1)
        .assign(entity_id="2", loaded_at=frame["loaded_at"].max(), leads=lambda rows: rows["leads"] * 3)
    )
    curve = learn_curve(pd.concat([frame, late]))
    assert curve is not None
    assert curve.leads == pytest.approx((0.4, 0.7), abs=0.005)


def test_a_curve_never_falls_with_age() -> None:
    curve = learn_curve(versions(60, [0.6, 0.5, 0.9, 1.0]))
    assert isinstance(curve, CompletionCurve)
    assert list(curve.leads) == sorted(curve.leads)
