"""Public holidays and trading days."""

from datetime import date

import pytest
from adsml_common.domain.calendar import named_days
from adsml_common.domain.errors import InvalidInput


def test_holidays_of_a_country_and_the_days_of_shops() -> None:
    days = named_days("DE", date(2025, 11, 1), date(2026, 1, 1))
    assert days[date(2025, 12, 26)] == "Second Day of Christmas"
    # Black Friday is the day after the fourth Thursday of November.
    assert days[date(2025, 11, 28)] == "Black Friday"
    assert days[date(2025, 12, 1)] == "Cyber Monday"
    assert date(2025, 10, 3) not in days
    assert list(days) == sorted(days)


def test_mother_s_day_is_the_second_sunday_of_may() -> None:
    assert named_days("US", date(2026, 5, 1), date(2026, 5, 31))[date(2026, 5, 10)] == "Mother's Day"


def test_without_a_country_there_are_the_days_of_shops_alone() -> None:
    days = named_days("", date(2025, 12, 20), date(2026, 1, 6))
    assert list(days.values()) == [
        "Christmas Eve", "Christmas Day", "Boxing Day", "New Year's Eve", "New Year's Day",
    ]  # fmt: skip


def test_a_country_without_a_calendar_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no calendar"):
        named_days("XX", date(2026, 1, 1), date(2026, 1, 2))
