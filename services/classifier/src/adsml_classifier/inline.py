"""Daily rows that came with a call: many series as few panels, so that a batch is a few vectorised passes."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import numpy as np
import pandas as pd
from adsml.common.v1 import entity_pb2
from adsml_common.domain.degradation import Degradation, DegradationReason
from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import AdsmlError, InvalidInput, NotFound
from adsml_common.serving.messages import ENTITY_TYPE, series_frame
from adsml_common.serving.rows import daily_rows

from adsml_classifier.account_data import AccountData
from adsml_classifier.answering import compared_with
from adsml_classifier.features import LOOKBACK_DAYS
from adsml_classifier.panel import Panel

_BACK: Final = timedelta(days=LOOKBACK_DAYS - 1)


@dataclass(frozen=True, slots=True)
class InlineGroup:
    """Series that are looked at together: as of the same day, compared with the same account.

    Attributes
    ----------
    places
        Which of the series, by their place among those given.
    panel
        Their days; entity ids are the places, since callers may name two series alike.
    as_of
        The day.
    degradations
        A word on what is missing, where there is no account to compare with.
    """

    places: tuple[int, ...]
    panel: Panel
    as_of: date
    degradations: tuple[Degradation, ...]


def level_of(series: entity_pb2.InlineSeries) -> EntityType:
    """The level of a series; campaign where none is said, as the contract has it."""
    return ENTITY_TYPE.find(series.entity_type) or EntityType.CAMPAIGN


def grouped(
    series: Sequence[entity_pb2.InlineSeries],
    paths: Sequence[str],
    accounts: AccountData,
    *,
    as_of: date | None,
) -> tuple[list[InlineGroup], dict[int, AdsmlError]]:
    """Arrange series in groups.

    Parameters
    ----------
    series
        Validated but for their rows.
    paths
        Dotted path of each, for errors.
    accounts
        Where the accounts are that they name.
    as_of
        The day; None for each one's last.

    Returns
    -------
    groups, errors
        Every series stands in one group, or has an error.

    Raises
    ------
    Unavailable
        An account is needed and the database does not answer.
    """
    read = daily_rows(series)
    errors: dict[int, AdsmlError] = {
        place: InvalidInput(found) for place, found in read.violations(lambda i: f"{paths[i]}.rows").items()
    }
    good = ~np.isin(read.series, list(errors))
    frame = read.where(good).frame([(level_of(one), str(place)) for place, one in enumerate(series)])
    place_of = frame["entity_id"].astype(np.int64)
    last = frame["date"].groupby(place_of).max()
    alike: defaultdict[tuple[object, date], list[int]] = defaultdict(list)
    for place, day in zip(last.index.tolist(), last.dt.date.tolist(), strict=True):
        one = series[place]
        # An account that was sent along is this series' own; a stored one, or none, is shared.
        account: object = ("sent", place) if one.account_rows else one.config_id or None
        alike[account, as_of or day].append(place)
    groups: list[InlineGroup] = []
    for (_, day), places in alike.items():
        mine = frame if len(places) == len(last) else frame[place_of.isin(places)]
        try:
            groups.append(_group(series, paths, places, mine, day, accounts))
        except InvalidInput:
            # A sum too large to be money: one series must not spoil the others.
            for place in places:
                try:
                    alone = frame[place_of == place]
                    groups.append(_group(series, paths, [place], alone, day, accounts))
                except InvalidInput as error:
                    errors[place] = error
    return groups, errors


def _group(
    series: Sequence[entity_pb2.InlineSeries],
    paths: Sequence[str],
    places: list[int],
    frame: pd.DataFrame,
    as_of: date,
    accounts: AccountData,
) -> InlineGroup:
    panel = Panel.of(frame, start=as_of - _BACK, end=as_of)
    account, lacking = _account(series[places[0]], paths[places[0]], as_of, accounts)
    return InlineGroup(tuple(places), compared_with(panel, account), as_of, lacking)


def _account(
    series: entity_pb2.InlineSeries, path: str, as_of: date, accounts: AccountData
) -> tuple[Panel | None, tuple[Degradation, ...]]:
    """The account that a series is compared with, or a word on why there is none."""
    if series.account_rows:
        rows = series_frame(series, path, account=True)
        return Panel.of(rows, start=as_of - _BACK, end=as_of), ()
    if not series.HasField("config_id"):
        return None, (_lacks_account("account_rows and config_id are both unset"),)
    try:
        return accounts.days(series.config_id, as_of=as_of).panel, ()
    except NotFound as error:
        return None, (_lacks_account(error.message),)


def _lacks_account(why: str) -> Degradation:
    return Degradation(
        "account baseline",
        DegradationReason.NO_DATA,
        f"{why}: features relative to the account are missing and the rule can't be applied",
    )
