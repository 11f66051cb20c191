"""From a query and an account's data to the matrices and windows of one analysis."""

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from adsml_common.domain.changes import ChangeEvent
from adsml_common.domain.errors import (
    FailedPrecondition,
    InsufficientHistory,
    Violations,
)
from adsml_common.domain.metrics import Metric

from adsml_impact.analysis.controls import Choice, choose_controls
from adsml_impact.analysis.plan import Plan, Scope, make_plan
from adsml_impact.analysis.query import (
    FEWEST_DAYS,
    USUAL_BASELINE,
    USUAL_DAYS,
    AccountData,
    ImpactQuery,
)
from adsml_impact.analysis.report import Freshness, Outlier, Windows
from adsml_impact.analysis.series import Series, from_daily
from adsml_impact.models.arrays import BoolArray
from adsml_impact.models.design import LOOKBACK, Design
from adsml_impact.models.estimators import Estimator


@dataclass(frozen=True, slots=True)
class AnalysisContext:
    """What is the same for every metric of one analysis."""

    query: ImpactQuery
    plan: Plan
    design: Design
    series: Series  # all entities of the level around the change
    treated: Series  # the treated together, as they were
    treated_rows: tuple[int, ...]
    # what is compared, outliers replaced: the treated (or the account) in row 0, then the controls
    subject: Series
    choice: Choice
    changed: BoolArray  # (rows of `subject`, days): recorded changes
    # other changes of the treated, and of what is above and below them, inside the windows
    overlapping: tuple[ChangeEvent, ...]
    outliers: dict[str, BoolArray]
    freshness: Freshness  # how old the rows are

    def outlier_days(self, metric: Metric) -> tuple[Outlier, ...]:
        """Days that were replaced in what a metric is made of."""
        from_metric = {"spend": Metric.SPEND, "impressions": Metric.IMPRESSIONS, "clicks": Metric.CLICKS}
        out = []
        for column in self.subject.columns(metric):
            for row, day in zip(*np.nonzero(self.outliers.get(column, np.zeros((0, 0)))), strict=True):
                name = None if row == 0 else self.subject.names[row]
                out.append(Outlier(name, self.subject.day(int(day)), from_metric.get(column, Metric.LEADS)))
        return tuple(out)


def whose(context: AnalysisContext) -> str:
    """Whose figures are compared, for a message."""
    if context.plan.scope is Scope.ACCOUNT:
        return "the account"
    names = context.query.treated
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"{context.query.entity_type} {shown}"


def windows(context: AnalysisContext) -> Windows:
    """The days compared."""
    design, series = context.design, context.series
    return Windows(
        baseline_first_date=series.day(design.base.start),
        before_first_date=series.day(design.change - design.before),
        before_last_date=series.day(design.change - 1),
        after_first_date=series.day(design.after.start),
        after_last_date=series.day(design.after.stop - 1),
    )


def _checked(query: ImpactQuery, *, today: date | None) -> None:
    violations = Violations()
    if not query.treated:
        violations.add("treated", "is empty; name the entities that were changed")
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
    present = np.flatnonzero(everything.present[rows].any(axis=0))
    change = usable if query.day is None else everything.index(query.day)
    plan = make_plan(query.change_type, metrics=options.metrics, primary=options.primary_metric)
    start = int(present[0]) if plan.scope is Scope.TREATED else 0
    if planned:
        change = min(change, usable)
        horizon = options.after_days or USUAL_DAYS
    else:
        _check_day(query, everything, change, start, usable)
        horizon = min(options.after_days or USUAL_DAYS, usable - change - options.washout_days)
        if horizon < FEWEST_DAYS:
            washed = f" and a washout of {options.washout_days}" if options.washout_days else ""
            where = f"after the change on {everything.day(change)}{washed}"
            raise _too_short(query, where, usable - change - options.washout_days)
    before = change - start
    if before < FEWEST_DAYS:
        raise _too_short(query, "before the change", before)
    baseline = options.baseline_days or USUAL_BASELINE
    # Days further back serve nothing: the earliest placebo date with its baseline.
    first = max(start, change - LOOKBACK - baseline - options.washout_days - horizon)
    end = change if planned else change + options.washout_days + horizon
    series = everything.cut(first, end)
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
    treated = series.stacked([rows], ["treated"])
    choice = Choice()
    subject = treated
    if plan.scope is Scope.ACCOUNT:
        subject = _account_series(data, series)
    elif options.estimator is not Estimator.STRUCTURAL:
        choice = choose_controls(series, design, query, data.tree)
        names = ["treated", *(series.names[i] for i in choice.rows)]
        subject = series.stacked([rows, *([i] for i in choice.rows)], names)
    subject, outliers = subject.without_outliers(design.change)
    return AnalysisContext(
        query=query,
        plan=plan,
        design=design,
        series=series,
        treated=treated,
        treated_rows=tuple(rows),
        subject=subject,
        choice=choice,
        changed=_changed(query, data, subject),
        overlapping=_overlapping(query, data, design, series),
        outliers=outliers,
        freshness=_freshness(everything, rows),
    )


def _too_short(query: ImpactQuery, where: str, had: int) -> InsufficientHistory:
    what = f"{query.entity_type} {query.treated[0]} {where}"
    return InsufficientHistory(what, had=max(had, 0), needed=FEWEST_DAYS)


def _freshness(series: Series, rows: list[int]) -> Freshness:
    present = np.flatnonzero(series.present[rows].any(axis=0))
    shown = (series.values["spend"][rows] + series.values["impressions"][rows]).sum(axis=0) > 0
    delivered = np.flatnonzero(shown)
    return Freshness(
        account_last_date=series.last,
        last_row_date=series.day(int(present[-1])),
        last_delivery_date=series.day(int(delivered[-1])) if delivered.size else None,
    )


def _changed(query: ImpactQuery, data: AccountData, subject: Series) -> BoolArray:
    """Days of recorded changes, by row of what is compared."""
    out = np.zeros((len(subject.names), subject.days), dtype=np.bool_)
    for row, name in enumerate(subject.names):
        for entity in query.treated if row == 0 else (name,):
            for day in data.tree.change_days((query.entity_type, entity)):
                if subject.first <= day <= subject.last:
                    out[row, subject.index(day)] = True
    return out


def _overlapping(
    query: ImpactQuery, data: AccountData, design: Design, series: Series
) -> tuple[ChangeEvent, ...]:
    """Other changes of the treated, of what is above and of what is below them, inside the windows."""
    tree = data.tree
    own = {(query.entity_type, name) for name in query.treated}
    keys = {key for one in own for key in (*tree.lineage(one), *tree.descendants(one))}
    day = series.day(design.change)
    first = day - timedelta(days=design.before)
    last = series.day(design.after.stop - 1)
    return tuple(
        event
        for event in tree.changes(sorted(keys), first, last)
        if not (
            event.date == day
            and event.change_type is query.change_type
            and (event.entity.entity_type, event.entity.entity_id) in own
        )
    )


def _check_day(query: ImpactQuery, everything: Series, change: int, start: int, usable: int) -> None:
    day = everything.day(change)
    last = everything.day(usable - 1)
    if change < 0 or change >= usable + 1:
        raise FailedPrecondition(
            f"the change on {day} lies outside the data, which run from {everything.first} to {last}",
            metadata={"first_date": str(everything.first), "last_date": str(last)},
        )
    if change <= start:
        first = f"its first day with rows is {everything.day(start)}"
        raise _too_short(query, f"before the change on {day} ({first})", 0)


def _account_series(data: AccountData, series: Series) -> Series:
    """The whole account by day, on the days of `series`."""
    if data.account is None:
        return series.stacked([list(range(len(series.names)))], ["account"])
    frame = data.account.assign(entity_id="account")
    days = frame["date"].to_numpy(dtype="datetime64[D]").astype(object)
    inside = [series.first <= day <= series.last for day in days]
    frame = frame[np.array(inside, dtype=np.bool_)]
    out = series.stacked([[]], ["account"])
    if frame.empty:
        return out
    account = from_daily(frame)
    offset = series.index(account.first)
    for name, values in account.values.items():
        out.values[name][0, offset : offset + account.days] = values[0]
    out.present[0, offset : offset + account.days] = account.present[0]
    return out
