"""From requests to arrays: options, and daily rows that came with a call as few panels for vectorised passes."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import numpy as np
import pandas as pd
from adsml.classifier.v1 import classifier_service_pb2 as pb
from adsml.common.v1 import entity_pb2
from adsml_common.domain.degradation import Degradation, DegradationReason, Dependency
from adsml_common.domain.errors import AdsmlError, InvalidInput, NotFound
from adsml_common.serving.contract_rules import number
from adsml_common.serving.messages import ENTITY_TYPE, optional_day, series_frame
from adsml_common.serving.rows import daily_rows

from adsml_classifier.accounts import AccountData, AccountDays
from adsml_classifier.models.features import LOOKBACK_DAYS
from adsml_classifier.models.panel import Panel

_BACK: Final = timedelta(days=LOOKBACK_DAYS - 1)


@dataclass(frozen=True, slots=True)
class Options:
    """What may be asked of a classification beside the entity."""

    as_of: date | None  # None: the account's last day less the lag
    contributions: int
    reasons: int
    rules_only: bool
    lag_days: int | None  # None: the default

    def day(self, last: date, *, default_lag: int = 0) -> date:
        """The day to look back from, given the last one with rows: never after it."""
        if self.as_of is not None:
            return min(self.as_of, last)
        return last - timedelta(days=default_lag if self.lag_days is None else self.lag_days)


def options(message: pb.ClassificationOptions) -> Options:
    """The options of a request that was checked; unset ones at their defaults."""
    return Options(
        as_of=optional_day(message, "as_of_date", "options.as_of_date"),
        contributions=number(message, "max_contributions"),
        reasons=number(message, "max_reasons"),
        rules_only=message.rules_only,
        lag_days=number(message, "attribution_lag_days"),
    )


def entity_of(subject: entity_pb2.Subject) -> entity_pb2.EntityRef:
    """The subject as the answer names it: as the caller wrote it, right or wrong."""
    return subject.entity if subject.WhichOneof("source") == "entity" else entity_sent(subject.inline)


def entity_sent(series: entity_pb2.InlineSeries) -> entity_pb2.EntityRef:
    """The same of rows that came with a call."""
    return entity_pb2.EntityRef(
        config_id=series.config_id, entity_type=series.entity_type, entity_id=series.entity_id
    )


@dataclass(frozen=True, slots=True)
class InlineGroup:
    """Series that are looked at together: as of the same day, compared with the same account."""

    places: tuple[int, ...]  # which of the series, by their place among those given
    config_id: int  # 0 where none was named
    panel: Panel  # entity ids are the places, since callers may name two series alike
    as_of: date
    last: date | None  # the last day of their account with a row; None where it is not known
    account: AccountDays | None  # their stored account, where there is one
    degradations: tuple[Degradation, ...]  # what is missing where there is no account to compare with


@dataclass(frozen=True, slots=True)
class _Baseline:
    """The account that series are compared with: stored, sent along, or unknown."""

    last: date | None
    rows: pd.DataFrame | None = None  # None: stored, or unknown
    missing: str = ""  # why nothing is known of it


def group_inline(
    series: Sequence[entity_pb2.InlineSeries], paths: Sequence[str], accounts: AccountData, wanted: Options
) -> tuple[list[InlineGroup], dict[int, AdsmlError]]:
    """Arrange series, checked but for their rows, in groups; each stands in one, or has an error by its place.

    A series that names a stored account is looked at as its entity there would be: as of the account's last day, and
    beside its siblings. `paths` are their dotted paths, for errors. `Unavailable` where an account is needed and the
    database does not answer.
    """
    read = daily_rows(series)
    violations = read.violations(lambda i: f"{paths[i]}.rows")
    errors: dict[int, AdsmlError] = {place: InvalidInput(wrong) for place, wrong in violations.items()}
    good = ~np.isin(read.series, list(errors))
    levels = [
        ENTITY_TYPE.from_wire(one.entity_type, f"{path}.entity_type")
        for one, path in zip(series, paths, strict=True)
    ]
    frame = read.where(good).frame([(level, str(place)) for place, level in enumerate(levels)])
    last = np.full(len(series), np.datetime64(date.min, "D"))
    np.maximum.at(last, read.series[good], read.date[good].astype("datetime64[D]"))
    baselines: dict[object, _Baseline] = {}
    alike: defaultdict[tuple[object, date], list[int]] = defaultdict(list)
    for place in np.unique(read.series[good]).tolist():
        one, day = series[place], last[place].astype(object)
        # An account that was sent along is this series' own; a stored one, or none, is shared.
        key: object = ("sent", place) if one.account_rows else one.config_id or None
        try:
            if key not in baselines:
                baselines[key] = _baseline(one, paths[place], accounts)
        except InvalidInput as error:
            errors[place] = error
            continue
        alike[key, wanted.day(max(day, baselines[key].last or day))].append(place)
    groups: list[InlineGroup] = []
    for (key, day), places in alike.items():
        try:
            groups.append(_group(series, places, frame, day, baselines[key], accounts))
        except (InvalidInput, NotFound):
            # A sum too large to be money, or days that the account has not: one series must not spoil the others.
            for place in places:
                try:
                    groups.append(_group(series, [place], frame, day, baselines[key], accounts))
                except (InvalidInput, NotFound) as error:
                    errors[place] = error
    return groups, errors


def _group(
    series: Sequence[entity_pb2.InlineSeries],
    places: list[int],
    frame: pd.DataFrame,
    as_of: date,
    baseline: _Baseline,
    accounts: AccountData,
) -> InlineGroup:
    config_id, start = series[places[0]].config_id, as_of - _BACK
    if len(places) < len(series):
        frame = frame[frame["entity_id"].isin([str(place) for place in places])]
    panel = Panel.of(frame, start=start, end=as_of)
    degradations: tuple[Degradation, ...] = ()
    account, against, own = None, None, None
    if baseline.missing:
        text = (
            f"{baseline.missing}: features relative to the account are missing and the rule can't be applied"
        )
        degradations = (Degradation(Dependency.ACCOUNT_BASELINE, DegradationReason.NO_DATA, text),)
    elif baseline.rows is not None:
        against = Panel.of(baseline.rows, start=start, end=as_of)
    else:
        account = accounts.days(config_id, as_of=as_of)
        against = account.panel
        own = against.rows_of([(level, series[int(place)].entity_id) for level, place in panel.keys])
    panel = panel.compared_with(against, own)
    return InlineGroup(tuple(places), config_id, panel, as_of, baseline.last, account, degradations)


def _baseline(series: entity_pb2.InlineSeries, path: str, accounts: AccountData) -> _Baseline:
    if series.account_rows:
        rows = series_frame(series, path, account=True)
        return _Baseline(rows["date"].max().date(), rows)
    if not series.HasField("config_id"):
        return _Baseline(None, missing="account_rows and config_id are both unset")
    try:
        return _Baseline(accounts.recent(series.config_id).last)
    except NotFound as error:
        return _Baseline(None, missing=error.message)
