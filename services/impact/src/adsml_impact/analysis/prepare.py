"""From a query and an account's data to the matrices and windows of one analysis."""

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from adsml.common.v1 import answer_pb2
from adsml.impact.v1 import impact_service_pb2 as pb
from adsml_common.domain.changes import ChangeEvent
from adsml_common.domain.errors import FailedPrecondition, InsufficientHistory, Violations
from adsml_common.domain.metrics import Metric
from adsml_common.serving.messages import day_message

from adsml_impact.analysis.controls import Choice, choose_controls
from adsml_impact.analysis.plan import Plan, columns_of, make_plan
from adsml_impact.analysis.query import (
    FEWEST_DAYS,
    USUAL_BASELINE,
    USUAL_DAYS,
    AccountData,
    ImpactQuery,
)
from adsml_impact.analysis.series import Series, from_daily
from adsml_impact.models.arrays import BoolArray
from adsml_impact.models.design import LOOKBACK, Design
from adsml_impact.models.estimators import Estimator


@dataclass(frozen=True, slots=True)
class AnalysisContext:
    """What is the same for every metric of one analysis."""

    query: ImpactQuery
    data: AccountData
    plan: Plan
    design: Design
    series: Series  # all entities of the level around the change
    treated: list[int]  # positions in it
    # what is compared, outliers replaced: the treated (or the account) in row 0, then the controls
    subject: Series
    choice: Choice
    changed: BoolArray  # (rows of `subject`, days): recorded changes
    # other changes of the treated, and of what is above and below them, inside the windows
    overlapping: list[ChangeEvent]
    outliers: dict[str, BoolArray]

    @property
    def whose(self) -> str:
        """Whose figures are compared, for a message."""
        if self.plan.account:
            return "the account"
        names = self.query.treated
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        return f"{self.query.entity_type} {shown}"

    def label(self, name: str) -> str:
        """An entity of the treated's level as people know it."""
        return self.data.tree.label(self.query.entity_type, name)

    def outlier_days(self, metric: Metric) -> list[tuple[str | None, date, Metric]]:
        """Days that were replaced in what a metric is made of: whose (None: the treated's), when, and of what."""
        return [
            (None if row == 0 else self.subject.names[row], self.subject.day(int(day)), Metric(column))
            for column in columns_of(metric)
            if column in self.outliers
            for row, day in zip(*np.nonzero(self.outliers[column]), strict=True)
        ]

    def windows(self) -> pb.Windows:
        """The days compared."""
        design = self.design
        before, change = design.before_window, design.change
        ends = (design.base.start, before.start, change - 1, design.after.start, design.after.stop - 1)
        days = (day_message(self.series.day(at)) for at in ends)
        return pb.Windows(**dict(zip(pb.Windows.DESCRIPTOR.fields_by_name, days, strict=True)))

    def freshness(self) -> answer_pb2.DataFreshness:
        """How old the rows are."""
        everything = self.data.series
        rows = everything.rows(self.query.treated)
        present = np.flatnonzero(everything.present[rows].any(axis=0))
        shown = (everything.values["spend"][rows] + everything.values["impressions"][rows]).sum(axis=0) > 0
        delivered = np.flatnonzero(shown)
        idle = everything.days - 1 - int(delivered[-1]) if delivered.size else 0
        return answer_pb2.DataFreshness(
            account_last_date=day_message(everything.last),
            last_row_date=day_message(everything.day(int(present[-1]))),
            last_delivery_date=day_message(everything.day(int(delivered[-1]))) if delivered.size else None,
            days_without_delivery=idle,
            stopped=idle > 1,
        )


def _checked(query: ImpactQuery, *, today: date | None) -> None:
    violations = Violations()
    for k, name in enumerate(query.treated):
        if name in query.treated[:k]:
            violations.add(f"treated[{k}]", f"{name} is given twice")
    for k, name in enumerate(query.controls):
        if name in query.treated:
            wrong = f"{name} is treated itself; a control must not have been changed"
            violations.add(f"controls[{k}]", wrong)
        if name in query.controls[:k]:
            violations.add(f"controls[{k}]", f"{name} is given twice")
    if today is not None and query.day is not None and query.day > today:
        wrong = f"is {query.day}, in the future (today is {today}); there is nothing to see yet"
        violations.add("change.date", wrong)
    violations.raise_if_any()


def prepare(query: ImpactQuery, data: AccountData, *, planned: bool) -> AnalysisContext:
    """Matrices, windows, plan and controls of one analysis; `planned`: only the days before the change are looked at.

    Raises as `adsml_impact.analysis.change.analyse` does.
    """
    _checked(query, today=None if planned else data.today)
    options = query.options
    everything = None if data.rows.empty else data.series
    absent = [name for name in query.treated if everything is None or name not in everything.names]
    if everything is None or absent:
        raise InsufficientHistory(f"{query.entity_type} {absent[0]}", had=0, needed=FEWEST_DAYS)
    without = [name for name in query.controls if name not in everything.names]
    if without:
        raise FailedPrecondition(
            f"controls without any daily rows: {', '.join(without[:10])}; leave them out"
        )
    usable = everything.days - options.attribution_lag_days
    if options.as_of is not None:
        usable = min(everything.index(options.as_of) + 1, everything.days)
    if usable < 1:
        begin = f"the data up to the last day to look at (they begin on {everything.first})"
        raise InsufficientHistory(begin, had=0, needed=FEWEST_DAYS)
    rows = everything.rows(query.treated)
    change = usable if query.day is None else everything.index(query.day)
    plan = make_plan(query.change_type, metrics=options.metrics, primary=options.primary_metric)
    start = 0 if plan.account else int(np.flatnonzero(everything.present[rows].any(axis=0))[0])
    horizon = options.after_days or USUAL_DAYS
    if planned:
        change = min(change, usable)
    else:
        _check_day(query, everything, change, start, usable)
        left = usable - change - options.washout_days
        horizon = min(horizon, left)
        if horizon < FEWEST_DAYS:
            washed = f" and a washout of {options.washout_days}" if options.washout_days else ""
            raise _too_short(query, f"after the change on {everything.day(change)}{washed}", left)
    before = change - start
    if before < FEWEST_DAYS:
        raise _too_short(query, "before the change", before)
    baseline = options.baseline_days or USUAL_BASELINE
    # Days further back serve nothing: the earliest placebo date with its baseline.
    first = max(start, change - LOOKBACK - baseline - options.washout_days - horizon)
    series = everything.cut(first, change if planned else change + options.washout_days + horizon)
    design = Design(
        change=change - first,
        horizon=horizon,
        washout=options.washout_days,
        before=min(options.before_days or USUAL_DAYS, before),
        baseline=min(baseline, change - first),
        estimator=options.estimator,
        alpha=options.alpha,
        most_placebos=options.max_placebos,
        observed=not planned,
    )
    choice = Choice()
    if not plan.account and options.estimator is not Estimator.STRUCTURAL:
        choice = choose_controls(series, design, query, data.tree)
    if not plan.account:
        subject = series.stacked([("treated", rows), *((series.names[i], [i]) for i in choice.rows)])
    elif data.account is None:
        subject = series.stacked([("account", list(range(len(series.names))))])
    else:
        subject = from_daily(data.account.assign(entity_id="account"), days=(series.first, series.last))
    subject, outliers = subject.without_outliers(design.change)
    changed = _changed(query, data, subject)
    overlapping = _overlapping(query, data, design, series)
    return AnalysisContext(
        query, data, plan, design, series, rows, subject, choice, changed, overlapping, outliers
    )


def _too_short(query: ImpactQuery, where: str, had: int) -> InsufficientHistory:
    what = f"{query.entity_type} {query.treated[0]} {where}"
    return InsufficientHistory(what, had=max(had, 0), needed=FEWEST_DAYS)


def _check_day(query: ImpactQuery, everything: Series, change: int, start: int, usable: int) -> None:
    day = everything.day(change)
    last = everything.day(usable - 1)
    if change < 0 or change > usable:
        raise FailedPrecondition(
            f"the change on {day} lies outside the data, which run from {everything.first} to {last}",
            metadata={"first_date": str(everything.first), "last_date": str(last)},
        )
    if change <= start:
        first = f"its first day with rows is {everything.day(start)}"
        raise _too_short(query, f"before the change on {day} ({first})", 0)


def _changed(query: ImpactQuery, data: AccountData, subject: Series) -> BoolArray:
    """Days of recorded changes, by row of what is compared."""
    out = np.zeros((len(subject.names), subject.days), dtype=np.bool_)
    for row, name in enumerate(subject.names):
        for entity in query.treated if row == 0 else (name,):
            for day in data.tree.change_days((query.entity_type, entity)):
                if subject.first <= day <= subject.last:
                    out[row, subject.index(day)] = True
    return out


def _overlapping(query: ImpactQuery, data: AccountData, design: Design, series: Series) -> list[ChangeEvent]:
    """Other changes of the treated, of what is above and of what is below them, inside the windows."""
    tree = data.tree
    own = {(query.entity_type, name) for name in query.treated}
    keys = {key for one in own for key in (*tree.lineage(one), *tree.descendants(one))}
    day = series.day(design.change)
    first, last = day - timedelta(days=design.before), series.day(design.after.stop - 1)
    return [
        event
        for event in tree.changes(sorted(keys), first, last)
        if (event.date, event.change_type) != (day, query.change_type)
        or (event.entity.entity_type, event.entity.entity_id) not in own
    ]
