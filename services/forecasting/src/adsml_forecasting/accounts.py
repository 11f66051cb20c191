"""What is known of whole accounts: what their entities have in common, and their calendars."""

from datetime import date
from operator import attrgetter
from threading import Lock
from typing import Final

import numpy as np
from adsml.common.v1 import calendar_pb2
from adsml_common.domain.calendar import country_of, named_days
from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import InvalidInput
from adsml_common.domain.metrics import STORED
from adsml_common.serving.messages import day
from adsml_common.store.metrics import MetricStore
from cachetools import LRUCache, cachedmethod

from adsml_forecasting.decoding import day_of
from adsml_forecasting.models.account import profile_account
from adsml_forecasting.models.events import Calendar, calendar_of
from adsml_forecasting.models.prepared import NO_ACCOUNT, AccountProfile
from adsml_forecasting.models.series import EntityHistory
from adsml_forecasting.settings import ForecastingSettings

_MOST_ENTITIES: Final = 100
_KEPT: Final = 256


class AccountProfiles:
    """Profiles by account and day, learnt when first needed and again when its rows change."""

    def __init__(self, metrics: MetricStore) -> None:
        self._metrics = metrics
        self._lock = Lock()
        self._kept: LRUCache[str, AccountProfile] = LRUCache(_KEPT)

    def profile(self, config_id: int, *, until: int, calendar: Calendar) -> AccountProfile:
        """What the account's entities of its highest stored level have in common, by rows up to a day."""
        if config_id < 1:
            return NO_ACCOUNT
        return self._profile(config_id, self._metrics.data_version(config_id), until, calendar)

    @cachedmethod(attrgetter("_kept"), key=lambda _, *asked: repr(asked), lock=attrgetter("_lock"))
    def _profile(self, config_id: int, _version: object, until: int, calendar: Calendar) -> AccountProfile:
        return profile_account(self._histories(config_id, until), calendar)

    def _histories(self, config_id: int, until: int) -> list[EntityHistory]:
        for level in EntityType:
            out = []
            for ref, days, values in self._metrics.each(config_id, entity_type=level, end=day_of(until)):
                numbers = days.astype("datetime64[D]").astype(np.int64)
                columns = dict(zip(STORED, values.T, strict=True))
                out.append(EntityHistory.of_rows(numbers, columns, name=ref.entity_id))
            if out:
                # By id: the store gives them in no order, and sums of floats depend on it.
                out.sort(key=lambda one: (-len(one), one.name))
                return out[:_MOST_ENTITIES]
        return []


def account_calendar(
    settings: ForecastingSettings,
    config_id: int,
    asked: calendar_pb2.CalendarOptions,
    *,
    time_zone: str | None,
    first_day: int,
    last_day: int,
) -> Calendar:
    """An account's named days from the year of `first_day` to that of `last_day` (days since 1970-01-01).

    Its country's, its own, and those that trade is about everywhere. The country is the request's, the one set for the
    account, that of its time zone, or the one set for all. `InvalidInput` where the holidays of one that was named are
    not known.
    """
    if asked.disabled:
        return {}
    first, last = date(day_of(first_day).year, 1, 1), date(day_of(last_day).year, 12, 31)
    by_zone = country_of(time_zone)
    code = asked.country_code or settings.country_codes.get(config_id) or by_zone or settings.country_code
    try:
        named = named_days(code, first, last)
    except InvalidInput:
        if code != by_zone:
            raise
        named = named_days("", first, last)
    for name, days in settings.named_days.get(config_id, {}).items():
        named |= dict.fromkeys(days, name)
    for at, one in enumerate(asked.named_days):
        named[day(one.date, f"options.calendar.named_days[{at}].date")] = one.name
    return calendar_of(named)
