"""Whose holidays count for an account: the request's, the one set for it, its time zone's, the one set for all."""

import pytest
from adsml.common.v1 import calendar_pb2
from adsml_common.domain.calendar import country_of
from adsml_common.domain.errors import InvalidInput
from adsml_forecasting.accounts import account_calendar
from adsml_forecasting.settings import ForecastingSettings

YEAR = {"first_day": 20_454, "last_day": 20_818}  # 2026
UNITY, BASTILLE, REPUBLIC = "German Unity Day", "National Day", "Republic Day"


def named(settings: ForecastingSettings, country: str = "", time_zone: str | None = None) -> set[str]:
    asked = calendar_pb2.CalendarOptions(country_code=country)
    return set(account_calendar(settings, 7, asked, time_zone=time_zone, **YEAR))


@pytest.mark.parametrize(
    ("zone", "country"),
    [("Europe/Berlin", "DE"), ("America/New_York", "US"), ("Asia/Kolkata", "IN"), ("UTC", ""), (None, "")],
)
def test_a_time_zone_names_its_country(zone: str | None, country: str) -> None:
    assert country_of(zone) == country


def test_the_nearest_word_on_the_country_counts() -> None:
    everywhere = ForecastingSettings(country_code="FR")
    assert BASTILLE in named(everywhere)
    assert named(everywhere, time_zone="Europe/Berlin") >= {UNITY}
    assert BASTILLE not in named(everywhere, time_zone="Europe/Berlin")
    assert REPUBLIC in named(ForecastingSettings(country_codes={7: "IN"}), time_zone="Europe/Berlin")
    assert UNITY in named(ForecastingSettings(country_codes={7: "IN"}), "DE")
    assert UNITY not in named(ForecastingSettings(country_codes={8: "DE"}))


def test_a_country_without_a_calendar_is_refused_where_it_was_asked_for() -> None:
    with pytest.raises(InvalidInput, match="XX"):
        named(ForecastingSettings(), "XX")
