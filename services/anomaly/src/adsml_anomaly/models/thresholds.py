"""How eager an entity's alarms are, and how people's judgements move that."""

from collections.abc import Sequence
from datetime import date
from enum import StrEnum
from typing import Final

from adsml_anomaly.models.results import Threshold

DEFAULT_FALSE_ALARMS: Final = 1.0
"""Per entity and 30 days."""
USUAL: Final = Threshold(DEFAULT_FALSE_ALARMS)
MOST_FALSE_ALARMS: Final = 10.0
HALF_LIFE_DAYS: Final = 90.0
MOST_STEPS: Final = 3.0
"""Judgements move the rate by a factor of 8 at most, either way."""


class Judgement(StrEnum):
    """What a person says of an alarm, or of its absence."""

    TRUE_ALARM = "true_alarm"
    FALSE_ALARM = "false_alarm"
    MISSED_ALARM = "missed_alarm"


_STEPS: Final = {Judgement.TRUE_ALARM: 0.0, Judgement.FALSE_ALARM: -0.5, Judgement.MISSED_ALARM: 0.5}
"""Doublings of the rate by one judgement."""


def of_contamination(share: float) -> float:
    """False alarms per month for a share of days taken for anomalous."""
    return 30.0 * share


def moved(judged: Sequence[tuple[date, Judgement]], *, today: date) -> Threshold:
    """The default threshold, moved by people's latest judgements of days.

    A false alarm divides the rate by the square root of 2, a missed one multiplies by it, a true one confirms it;
    a judgement fades by half in 90 days, so that one bad month does not silence an entity for ever.
    """
    steps = sum(
        _STEPS[judgement] * 0.5 ** (max((today - day).days, 0) / HALF_LIFE_DAYS) for day, judgement in judged
    )
    steps = min(max(steps, -MOST_STEPS), MOST_STEPS)
    return Threshold(min(DEFAULT_FALSE_ALARMS * 2.0**steps, MOST_FALSE_ALARMS), len(judged))
