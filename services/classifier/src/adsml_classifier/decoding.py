"""From requests to arrays: options, and daily rows that came with a call as few panels for vectorised passes."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import numpy as np
import pandas as pd
from adsml.classifier.v1 import classifier_service_pb2 as pb
from adsml.common.v1 import entity_pb2
from adsml_common.domain.degradation import Degradation, DegradationReason, Dependency
from adsml_common.domain.errors import AdsmlError, InvalidInput, NotFound
from adsml_common.serving.messages import ENTITY_TYPE, optional_day, series_frame
from adsml_common.serving.rows import daily_rows

from adsml_classifier.accounts import AccountData, AccountDays
from adsml_classifier.models.features import LOOKBACK_DAYS
from adsml_classifier.models.panel import Panel

DEFAULT_CONTRIBUTIONS: Final = 5
DEFAULT_REASONS: Final = 3
_BACK: Final = timedelta(days=LOOKBACK_DAYS - 1)


@dataclass(frozen=True, slots=True)
class Options:
    """What may be asked of a classification beside the entity.

    Attributes
    ----------
    as_of
        The day; None for the account's last one less the lag.
    contributions, reasons
        How many to return at most.
    rules_only
        Whether the rule should answer even where there is a model.
    lag_days
        Trailing days that are still filling up; None for the default.
    """

    as_of: date | None
    contributions: int
    reasons: int
    rules_only: bool
    lag_days: int | None

    def day(self, last: date, *, default_lag: int = 0) -> date:
        """The day to look back from, given the last one with rows: never after it."""
        if self.as_of is not None:
            return min(self.as_of, last)
        return last - timedelta(days=default_lag if self.lag_days is None else self.lag_days)


def options(message: pb.ClassificationOptions) -> Options:
    """The options of a request that was checked; unset ones at their defaults."""
    return Options(
        as_of=optional_day(message, "as_of_date", "options.as_of_date"),
        contributions=message.max_contributions
        if message.HasField("max_contributions")
        else DEFAULT_CONTRIBUTIONS,
        reasons=message.max_reasons if message.HasField("max_reasons") else DEFAULT_REASONS,
        rules_only=message.rules_only,
        lag_days=message.attribution_lag_days if message.HasField("attribution_lag_days") else None,
    )


def entity_of(subject: entity_pb2.Subject) -> entity_pb2.EntityRef:
    """The subject as the answer names it: as the caller wrote it, right or wrong."""
    if subject.WhichOneof("source") == "entity":
        return subject.entity
    series = subject.inline
    return entity_pb2.EntityRef(
        config_id=series.config_id, entity_type=series.entity_type, entity_id=series.entity_id
    )


@dataclass(frozen=True, slots=True)
class InlineGroup:
    """Series that are looked at together: as of the same day, compared with the same account.

    Attributes
    ----------
    places
        Which of the series, by their place among those given.
    config_id
        Their account; 0 where none was named.
    panel
        Their days; entity ids are the places, since callers may name two series alike.
    as_of
        The day.
    last
        The last day of their account with a row; None where it is not known.
    account
        Their stored account, where there is one.
    degradations
        What is missing where there is no account to compare with.
    """

    places: tuple[int, ...]
    config_id: int
    panel: Panel
    as_of: date
    last: date | None
    account: AccountDays | None
    degradations: tuple[Degradation, ...]


@dataclass(frozen=True, slots=True)
class _Baseline:
    """The account that series are compared with.

    Attributes
    ----------
    last
        Its last day with a row.
    panel
        Gives its days up to a day; None where nothing is known of an account.
    stored
        Gives them with what is stored beside; None where rows were sent.
    reason
        Why nothing is known of it.
    """

    last: date | None
    panel: Callable[[date], Panel] | None = None
    stored: Callable[[date], AccountDays] | None = None
    reason: str = ""


def group_inline(
    series: Sequence[entity_pb2.InlineSeries], paths: Sequence[str], accounts: AccountData, wanted: Options
) -> tuple[list[InlineGroup], dict[int, AdsmlError]]:
    """Arrange series in groups.

    A series that names a stored account is looked at as its entity there would be: as of the account's last day, and
    beside its siblings.

    Parameters
    ----------
    series
        Checked but for their rows.
    paths
        Dotted path of each, for errors.
    accounts
        Where the accounts are that they name.
    wanted
        Options of the request.

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
        place: InvalidInput(wrong) for place, wrong in read.violations(lambda i: f"{paths[i]}.rows").items()
    }
    good = ~np.isin(read.series, list(errors))
    levels = [
        ENTITY_TYPE.from_wire(one.entity_type, f"{path}.entity_type")
        for one, path in zip(series, paths, strict=True)
    ]
    frame = read.where(good).frame([(level, str(place)) for place, level in enumerate(levels)])
    last = np.full(len(series), np.datetime64(date.min, "D"))
    np.maximum.at(last, read.series[good], read.date[good].astype("datetime64[D]"))
    sound = [place for place in np.unique(read.series[good]).tolist() if place not in errors]
    baselines: dict[object, _Baseline] = {}
    alike: defaultdict[tuple[object, date], list[int]] = defaultdict(list)
    for place in sound:
        one, day = series[place], last[place].astype(object)
        # An account that was sent along is this series' own; a stored one, or none, is shared.
        key: object = ("sent", place) if one.account_rows else one.config_id or None
        try:
            if key not in baselines:
                baselines[key] = _baseline(one, paths[place], accounts)
        except InvalidInput as error:
            errors[place] = error
            continue
        clock = max(day, baselines[key].last or day)
        alike[key, wanted.day(clock)].append(place)
    groups: list[InlineGroup] = []
    for (key, day), places in alike.items():
        mine = frame if len(places) == len(sound) else frame[_of(frame, places)]
        try:
            groups.append(_group(series, places, mine, day, baselines[key]))
        except InvalidInput:
            # A sum too large to be money: one series must not spoil the others.
            for place in places:
                try:
                    groups.append(_group(series, [place], frame[_of(frame, [place])], day, baselines[key]))
                except InvalidInput as error:
                    errors[place] = error
    return groups, errors


def _of(frame: pd.DataFrame, places: Sequence[int]) -> "pd.Series[bool]":
    """Which rows are of these series."""
    return frame["entity_id"].isin([str(place) for place in places])


def _group(
    series: Sequence[entity_pb2.InlineSeries],
    places: list[int],
    frame: pd.DataFrame,
    as_of: date,
    baseline: _Baseline,
) -> InlineGroup:
    panel = Panel.of(frame, start=as_of - _BACK, end=as_of)
    degradations: tuple[Degradation, ...] = ()
    account, own = None, None
    if baseline.stored is not None:
        account = baseline.stored(as_of)
        own = account.panel.rows_of([(level, series[int(place)].entity_id) for level, place in panel.keys])
    elif baseline.panel is None:
        degradations = (
            Degradation(
                Dependency.ACCOUNT_BASELINE,
                DegradationReason.NO_DATA,
                f"{baseline.reason}: features relative to the account are missing and the rule can't be applied",
            ),
        )
    against = account.panel if account is not None else baseline.panel(as_of) if baseline.panel else None
    return InlineGroup(
        tuple(places),
        series[places[0]].config_id,
        panel.compared_with(against, own),
        as_of,
        baseline.last,
        account,
        degradations,
    )


def _baseline(series: entity_pb2.InlineSeries, path: str, accounts: AccountData) -> _Baseline:
    if series.account_rows:
        rows = series_frame(series, path, account=True)
        return _Baseline(
            rows["date"].max().date(), panel=lambda as_of: Panel.of(rows, start=as_of - _BACK, end=as_of)
        )
    if not series.HasField("config_id"):
        return _Baseline(None, reason="account_rows and config_id are both unset")
    config_id = series.config_id
    try:
        last = accounts.recent(config_id).last
    except NotFound as error:
        return _Baseline(None, reason=error.message)
    return _Baseline(last, stored=lambda as_of: accounts.days(config_id, as_of=as_of))
