from datetime import date, timedelta

import pytest
from adsml_anomaly.models.thresholds import Judgement, moved, of_contamination

TODAY = date(2025, 6, 1)


def words(judgement: Judgement, count: int, *, ago: int = 0) -> list[tuple[date, Judgement]]:
    return [(TODAY - timedelta(days=ago), judgement)] * count


def test_judgements_move_the_rate_the_right_way_and_not_without_end() -> None:
    assert moved([], today=TODAY).false_alarms_per_month == 1.0
    rates = [
        moved(words(Judgement.FALSE_ALARM, n), today=TODAY).false_alarms_per_month for n in (1, 2, 6, 100)
    ]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(1 / 8)
    assert moved(words(Judgement.MISSED_ALARM, 1), today=TODAY).false_alarms_per_month > 1
    assert moved(words(Judgement.MISSED_ALARM, 100), today=TODAY).false_alarms_per_month <= 10
    assert moved(words(Judgement.TRUE_ALARM, 5), today=TODAY).false_alarms_per_month == 1.0


def test_judgements_fade() -> None:
    fresh = moved(words(Judgement.FALSE_ALARM, 2), today=TODAY).false_alarms_per_month
    old = moved(words(Judgement.FALSE_ALARM, 2, ago=90), today=TODAY).false_alarms_per_month
    # Half of two half-steps: 2 ** -0.5 against 2 ** -1.
    assert (fresh, old) == (pytest.approx(0.5), pytest.approx(2**-0.5))


def test_contamination_is_alarms_per_30_days() -> None:
    assert of_contamination(1 / 30) == pytest.approx(1.0)
