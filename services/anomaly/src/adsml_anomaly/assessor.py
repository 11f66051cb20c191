"""Assesses entities of one account, and says what happened to the account."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Final

import numpy as np
from adsml_common.collecting import collector_paused
from adsml_common.domain.calendar import AVAILABLE as CALENDAR_AVAILABLE
from adsml_common.domain.calendar import country_of, named_days
from adsml_common.domain.degradation import Degradation, DegradationReason, Dependency
from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.domain.errors import AdsmlError, InsufficientHistory, InvalidInput, NotFound, Unavailable

from adsml_anomaly.account import AccountContext, AccountReader
from adsml_anomaly.artifacts import entity_model
from adsml_anomaly.decoding import Asked
from adsml_anomaly.models import grouping
from adsml_anomaly.models.assessment import HISTORY_NEEDED, Subject
from adsml_anomaly.models.channels import COLUMNS, Days
from adsml_anomaly.models.completeness import Completeness, of_days
from adsml_anomaly.models.detection import assess
from adsml_anomaly.models.incidents import incident_id
from adsml_anomaly.models.results import Delivery, Incident, IncidentState, Kind, Report, Scope
from adsml_anomaly.models.thresholds import USUAL
from adsml_anomaly.resolver import Provenance, ScorerResolver
from adsml_anomaly.settings import AnomalySettings

MOST_DAYS_AHEAD: Final = 400
"""How far behind the last row a question may look."""


@dataclass(frozen=True, slots=True)
class Assessment:
    """A report and what gave it."""

    report: Report
    provenance: Provenance


Outcome = Assessment | AdsmlError


@dataclass(frozen=True)
class Assessor:
    """Assesses series with what the account's reader and the resolver find; threads share it."""

    reader: AccountReader
    resolver: ScorerResolver
    settings: AnomalySettings

    def stored(
        self, config_id: int, refs: Sequence[EntityRef], asked: Asked
    ) -> tuple[AccountContext, dict[EntityRef, Outcome]]:
        """Assess stored entities of one account; a few queries, whatever their number."""
        with collector_paused():
            context = self.reader.read(config_id, refs, first=asked.first_date, as_of=asked.last_date)
            options, degradations = self._options(context, asked)
            if context.last_day is not None:
                _check_ahead(context.last_day, context.as_of)
            self.resolver.models.prefetch(entity_model(ref) for ref in refs if ref in context.series)
            return context, {ref: self._stored(ref, context, options, degradations) for ref in refs}

    def inline(
        self, ref: EntityRef, days: Days, asked: Asked, *, what: str
    ) -> tuple[AccountContext | None, Assessment]:
        """Assess a series sent along; `what` is where it stands in the request, for errors as of `SeriesAssessment`.

        Where `ref` names an entity of an account (not account 0), it is assessed by the models, judgements and changes
        that its stored rows would be.
        """
        clock = days.last_day
        as_of = asked.last_date or clock
        first = asked.first_date or as_of
        _check_ahead(clock, as_of)
        if as_of > clock:
            days = days.until(days.index(as_of))
        context: AccountContext | None = None
        degradations: tuple[Degradation, ...] = ()
        if ref.config_id > 0 and ref.entity_id:
            try:
                context = self.reader.read(
                    ref.config_id, [ref], first=asked.first_date, as_of=as_of, sent={ref: days}
                )
                asked, degradations = self._options(context, asked)
            except Unavailable as error:
                detail = f"{error.message}: recorded changes and judgements were left out"
                degradations = (Degradation(Dependency.DATABASE, DegradationReason.UNAVAILABLE, detail),)
        scorer = self.resolver.for_sent(ref, days, first, context.profiles if context is not None else {})
        young = of_days(
            len(days.rows), youngest_age=(clock - days.last_day).days, filling_days=asked.lag_days or 0
        )
        subject = Subject(
            name=str(ref) if ref.entity_id else what,
            days=days,
            model=scorer.model,
            threshold=context.thresholds[ref] if context is not None else USUAL,
            changes=context.changes_of(ref) if context is not None else (),
            completeness=young,
        )
        return context, Assessment(assess(subject, asked), scorer.provenance.without(degradations))

    def grouped(
        self, context: AccountContext, outcomes: Mapping[EntityRef, Outcome], asked: Asked
    ) -> list[Incident]:
        """What happened, by cause; see `grouping`."""
        names = {ref: entity.name or "" for ref, entity in context.entities.items()}
        reports = {ref: one.report for ref, one in outcomes.items() if isinstance(one, Assessment)}
        nodes = [
            grouping.Node(ref, context.parent(ref), names.get(ref, ""), one.usual_spend, one.incidents)
            for ref, one in reports.items()
        ]
        everything = self._covers_account(context, outcomes)
        account = self._account(context, asked) if everything else []
        out = grouping.group(nodes, account, config_id=context.config_id, whole=everything)
        out = _with_load(context, out) if everything else out
        least = self.settings.min_stake_per_day if asked.min_stake is None else asked.min_stake
        return [one for one in out if one.stake_per_day >= least]

    # -- inside ----------------------------------------------------------------------------------------------

    def _stored(
        self, ref: EntityRef, context: AccountContext, asked: Asked, degradations: tuple[Degradation, ...]
    ) -> Outcome:
        if ref not in context.entities:
            return NotFound(f"{ref} is not stored")
        days = context.series.get(ref)
        try:
            if days is None:
                return self._stopped(ref, context)
            scorer = self.resolver.scorer(ref, days, context.profiles)
            subject = Subject(
                name=str(ref),
                days=days,
                model=scorer.model,
                threshold=context.thresholds[ref],
                changes=context.changes_of(ref),
                switched_off=context.switched_off(ref),
                completeness=self._completeness(context, days, asked),
            )
            return Assessment(assess(subject, asked), scorer.provenance.without(degradations))
        except AdsmlError as error:
            return error

    def _stopped(self, ref: EntityRef, context: AccountContext) -> Assessment:
        """An entity whose rows ended before all history that is read."""
        rows = self.reader.metrics.daily(
            ref.config_id, entity_type=ref.entity_type, entity_ids=[ref.entity_id]
        )
        if rows.empty:
            raise InsufficientHistory(str(ref), had=0, needed=HISTORY_NEEDED)
        last = rows["date"].max().date()
        delivery = Delivery(last, last, (context.as_of - last).days, stopped=True)
        report = Report((), (), context.thresholds[ref], delivery)
        return Assessment(report, Provenance(None, False, "last_delivery", "it has stopped"))

    def _account(self, context: AccountContext, asked: Asked) -> list[Incident]:
        """Incidents of the account as a whole: of the sums over its highest level with rows."""
        total = _summed(context)
        if total is None or int(total.delivered.sum()) < HISTORY_NEEDED:
            return []
        options, _ = self._options(context, asked)
        name = f"account {context.config_id}"
        try:
            subject = Subject(
                name=name,
                days=total,
                model=self.resolver.profile(context.config_id, None, total, context.profiles).model,
                threshold=USUAL,
                completeness=self._completeness(context, total, asked),
            )
            incidents = assess(subject, replace(options, anomalous_only=True)).incidents
        except AdsmlError:
            return []
        return [replace(one, title=name) for one in incidents]

    def _options(self, context: AccountContext, asked: Asked) -> tuple[Asked, tuple[Degradation, ...]]:
        """The options with the days and the calendar filled in."""
        options = replace(asked, first_date=context.first, last_date=context.as_of)
        if asked.calendar_off:
            return options, ()
        by_zone = country_of(context.details.time_zone) if CALENDAR_AVAILABLE else ""
        country = asked.country or by_zone or self.settings.country_code
        if not country:
            return options, ()
        if not CALENDAR_AVAILABLE:
            detail = "the holidays package is not installed: days were compared without a calendar"
            return options, (Degradation(Dependency.CALENDAR, DegradationReason.NOT_CONFIGURED, detail),)
        try:
            holidays = named_days(country, context.first - self.reader.history, context.as_of)
        except InvalidInput:
            if country != by_zone:
                raise
            return options, ()  # a country whose holidays are not known, and nobody named it
        return replace(options, named_days={**holidays, **asked.named_days}), ()

    def _completeness(self, context: AccountContext, days: Days, asked: Asked) -> Completeness:
        """How complete a stored series' days are: as learnt from restated rows, else by what was asked for or set."""
        lag, curve = asked.lag_days, context.curve
        if lag == 0 or context.last_day is None:
            return Completeness.whole(len(days.rows))
        return of_days(
            len(days.rows),
            youngest_age=(context.last_day - days.last_day).days,
            curve=curve if curve is None or lag is None else curve.youngest(lag),
            filling_days=self.settings.attribution_lag_days if lag is None else lag,
        )

    def _covers_account(self, context: AccountContext, outcomes: Mapping[EntityRef, Outcome]) -> bool:
        """Whether the assessed entities include all that delivered lately right below the account."""
        metrics, config_id = self.reader.metrics, context.config_id
        levels = {ref.entity_type for ref in outcomes}
        top = next((one for one in EntityType if one in levels), None)
        with_rows = next((one for one in EntityType if metrics.data_version(config_id, one) != "0"), None)
        if top is None or top is not with_rows:
            return False
        since = context.first - timedelta(days=7)
        rows = metrics.each(config_id, entity_type=top, start=since, end=context.as_of)
        return all(ref in outcomes for ref, _, values in rows if values[:, 0].any())


def _with_load(context: AccountContext, incidents: list[Incident]) -> list[Incident]:
    """Where no row at all came since the account's last day, that is one incident of the load."""
    last = context.last_day
    if last is None or context.as_of <= last:
        return incidents
    began = last + timedelta(days=1)
    absent = [
        one
        for one in incidents
        if one.kind in (Kind.ABSENT_DATA, Kind.NO_DELIVERY)
        and one.state is IncidentState.OPEN
        and one.first >= began
    ]
    if not absent:
        return incidents
    worst = grouping.ranked(absent)[0]
    leaves = {leaf.incident_id: leaf for one in absent for leaf in (one.children or (one,))}
    load = replace(
        worst,
        incident_id=incident_id(f"load of account {context.config_id}", began),
        first=began,
        kind=Kind.ABSENT_DATA,
        scope=Scope.LOAD,
        entity=None,
        title=f"account {context.config_id}",
        stake_per_day=max(sum(one.stake_per_day for one in absent), worst.stake_per_day),
        summary=f"Open since {began}: no rows of any entity since {last}: nothing was loaded, or nothing delivered",
        children=tuple(leaves.values()),
    )
    return grouping.ranked([load, *(one for one in incidents if one not in absent)])


def _check_ahead(last_row: date, as_of: date) -> None:
    if (as_of - last_row).days > MOST_DAYS_AHEAD:
        raise InvalidInput.at(
            "options.as_of_date",
            f"is {as_of}, more than {MOST_DAYS_AHEAD} days after the last row of {last_row}",
        )


def _summed(context: AccountContext) -> Days | None:
    """The account's days: sums over its highest level with rows; reach does not add up, and is unknown."""
    level = min((ref.entity_type for ref in context.series), key=list(EntityType).index, default=None)
    if level is None:
        return None
    parts = [days for ref, days in context.series.items() if ref.entity_type is level]
    first, last = min(days.first_day for days in parts), max(days.last_day for days in parts)
    rows = np.zeros(((last - first).days + 1, len(COLUMNS)))
    present = np.zeros(len(rows), dtype=np.bool_)
    for days in parts:
        at = (days.first_day - first).days
        rows[at : at + len(days.rows)] += np.nan_to_num(days.rows)
        present[at : at + len(days.rows)] |= True if days.present is None else days.present
    rows[:, -1] = np.nan
    return Days(first, rows, present)
