"""What is known of whole accounts: what their entities have in common, and their calendars."""

from collections.abc import Mapping, Sequence
from datetime import date
from threading import Lock
from typing import Final

import numpy as np
from adsml.common.v1 import calendar_pb2
from adsml_common.domain.calendar import country_of
from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import InvalidInput
from adsml_common.domain.metrics import STORED
from adsml_common.serving.messages import day
from adsml_common.store.metrics import MetricStore
from cachetools import LRUCache

from adsml_forecasting.decoding import day_number, day_of
from adsml_forecasting.models import calendar as calendars
from adsml_forecasting.models.account import NO_ACCOUNT, AccountProfile, profile_account
from adsml_forecasting.models.events import Calendar
from adsml_forecasting.models.history import EntityHistory

_LEVELS: Final = (EntityType.CAMPAIGN, EntityType.ADSET, EntityType.AD)
_MOST_ENTITIES: Final = 100
_KEPT: Final = 256


class AccountProfiles:
    """Profiles by account and day, learnt when first needed and again when its rows change."""

    def __init__(self, metrics: MetricStore) -> None:
        self._metrics = metrics
        self._lock = Lock()
        self._kept: LRUCache[tuple[object, ...], AccountProfile] = LRUCache(_KEPT)

    def profile(self, config_id: int, *, until: int, calendar: Calendar) -> AccountProfile:
        """What the account's entities of its highest stored level have in common, by rows up to a day."""
        if config_id < 1:
            return NO_ACCOUNT
        version = self._metrics.data_version(config_id)
        key = (config_id, version, until, repr(sorted(calendar.items())))
        with self._lock:
            found = self._kept.get(key)
        if found is None:
            found = profile_account(self._histories(config_id, until), calendar)
            with self._lock:
                self._kept[key] = found
        return found

    def _histories(self, config_id: int, until: int) -> list[EntityHistory]:
        for level in _LEVELS:
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


class Calendars:
    """Named days by account: its country's, its own, and those that trade is about everywhere.

    Countries as ISO 3166-1 alpha-2: `country` of accounts that are not listed (empty for none), `countries` by
    account.
    """

    def __init__(
        self,
        *,
        country: str = "",
        countries: Mapping[int, str] | None = None,
        named_days: Mapping[int, Mapping[str, Sequence[date]]] | None = None,
    ) -> None:
        self._country = country
        self._countries = countries or {}
        self._named = named_days or {}

    def calendar(
        self,
        config_id: int,
        asked: calendar_pb2.CalendarOptions,
        *,
        time_zone: str | None,
        first_day: int,
        last_day: int,
    ) -> Calendar:
        """The named days from the year of `first_day` to that of `last_day` (days since 1970-01-01).

        The country is the request's, the one set for the account, that of its time zone, or the one set for all.
        `InvalidInput` where the request names one whose holidays are not known.
        """
        if asked.disabled:
            return {}
        years = day_of(first_day).year, day_of(last_day).year
        by_zone = country_of(time_zone)
        code = asked.country_code or self._countries.get(config_id) or by_zone or self._country
        sent = [
            (one.name, day_number(day(one.date, f"options.calendar.named_days[{at}].date")))
            for at, one in enumerate(asked.named_days)
        ]
        own = self._named.get(config_id, {})
        days = [(name, day_number(one)) for name, listed in own.items() for one in listed]
        parts = [calendars.of_days((*sent, *days))]
        if code:
            try:
                parts.append(calendars.country_holidays(code, *years))
            except KeyError:
                if code != by_zone:
                    text = f"is {code!r}, whose holidays are not known here"
                    raise InvalidInput.at("options.calendar.country_code", text) from None
        return calendars.merged(*parts, calendars.trading_days(*years))
