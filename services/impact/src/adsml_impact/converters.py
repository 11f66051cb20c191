"""Between the impact contract's messages and the domain's questions and reports."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from adsml.common.v1 import answer_pb2, change_pb2, entity_pb2, metrics_pb2
from adsml.impact.v1 import impact_service_pb2 as pb
from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import InvalidInput, Violations
from adsml_common.serving.messages import (
    CHANGE_TYPE,
    ENTITY_TYPE,
    METRIC,
    EnumCodec,
    day_message,
    entity_ref,
    optional_day,
)
from adsml_common.serving.rows import daily_rows

from adsml_impact.effect import Effect, Interval
from adsml_impact.estimators import Estimator
from adsml_impact.naive import NaiveComparison
from adsml_impact.plan import Scope
from adsml_impact.power import Detectable
from adsml_impact.query import AccountData, Options, Question
from adsml_impact.report import (
    Caution,
    DetectableReport,
    ImpactReport,
    MetricReport,
    WarningType,
    Windows,
)
from adsml_impact.verdict import Verdict

ESTIMATOR: Final[EnumCodec[Estimator]] = EnumCodec(Estimator, pb.Estimator, "ESTIMATOR_")
SCOPE: Final[EnumCodec[Scope]] = EnumCodec(Scope, pb.EffectScope, "EFFECT_SCOPE_")
WARNING: Final[EnumCodec[WarningType]] = EnumCodec(WarningType, pb.WarningType, "WARNING_TYPE_")
VERDICT: Final[EnumCodec[Verdict]] = EnumCodec(Verdict, change_pb2.Verdict, "VERDICT_")


@dataclass(frozen=True, slots=True)
class Named:
    """The entities of a panel: the names used inside, and the references the caller knows them by.

    Attributes
    ----------
    config_id
        Of a stored panel, or 0.
    entity_type
        Level of the treated.
    treated, controls, excluded
        Names.
    refs
        Name -> reference.
    """

    config_id: int
    entity_type: EntityType
    treated: tuple[str, ...]
    controls: tuple[str, ...]
    excluded: tuple[str, ...]
    refs: dict[str, entity_pb2.EntityRef]


def options(message: pb.ImpactOptions, *, drop_last_days: int) -> Options:
    """Options of a validated request; `drop_last_days` is what holds where the request does not say."""

    def given(name: str) -> int | None:
        return getattr(message, name) if message.HasField(name) else None  # type: ignore[arg-type]

    usual = Options()
    return Options(
        before_days=given("before_days"),
        after_days=given("after_days"),
        washout_days=message.washout_days,
        baseline_days=given("baseline_days"),
        metrics=tuple(
            METRIC.from_wire(metric, f"options.metrics[{k}]") for k, metric in enumerate(message.metrics)
        ),
        primary_metric=METRIC.find(message.primary_metric),
        estimator=ESTIMATOR.find(message.estimator),
        alpha=message.alpha if message.HasField("alpha") else usual.alpha,
        equivalence_margin_percent=message.equivalence_margin_percent
        if message.HasField("equivalence_margin_percent")
        else usual.equivalence_margin_percent,
        max_placebos=message.max_placebos if message.HasField("max_placebos") else usual.max_placebos,
        drop_last_days=message.drop_last_days if message.HasField("drop_last_days") else drop_last_days,
        with_series=not message.omit_series,
    )


def stored(panel: pb.StoredPanel, path: str) -> Named:
    """The entities of a stored panel.

    Raises
    ------
    InvalidInput
        Entities of two accounts or two levels.
    """
    found = Violations()
    first = entity_ref(panel.treated[0], f"{path}.treated[0]")

    def names(refs: Iterable[entity_pb2.EntityRef], field: str) -> tuple[str, ...]:
        out = []
        for k, message in enumerate(refs):
            ref = entity_ref(message, f"{path}.{field}[{k}]")
            if (ref.config_id, ref.entity_type) != (first.config_id, first.entity_type):
                found.add(
                    f"{path}.{field}[{k}]",
                    f"is {ref}; expected a {first.entity_type} of account {first.config_id}, as the first treated",
                )
            out.append(ref.entity_id)
        return tuple(out)

    treated, controls = names(panel.treated, "treated"), names(panel.controls, "controls")
    excluded = names(panel.excluded_controls, "excluded_controls")
    found.raise_if_any()
    refs = {
        name: entity_pb2.EntityRef(
            config_id=first.config_id,
            entity_type=ENTITY_TYPE.to_wire(first.entity_type),  # type: ignore[arg-type]  # an enum's number
            entity_id=name,
        )
        for name in (*treated, *controls)
    }
    return Named(first.config_id, first.entity_type, treated, controls, excluded, refs)


def inline(panel: pb.InlinePanel, path: str) -> tuple[Named, AccountData]:
    """The entities of an inline panel and their rows.

    Raises
    ------
    InvalidInput
        Rows that no model may see; two series of one name.
    """
    series = [*panel.treated, *panel.controls]
    paths = [
        *(f"{path}.treated[{k}]" for k in range(len(panel.treated))),
        *(f"{path}.controls[{k}]" for k in range(len(panel.controls))),
    ]
    entity_type = ENTITY_TYPE.find(panel.treated[0].entity_type) or EntityType.CAMPAIGN
    # A series may go without a name; inside, its place stands for it.
    names = [one.entity_id or f"#{k + 1}" for k, one in enumerate(series)]
    found = Violations()
    for k, name in enumerate(names):
        if name in names[:k]:
            found.add(f"{paths[k]}.entity_id", f"{name!r} names an earlier series of the panel too")
    rows = daily_rows(series)
    for violations in rows.violations(lambda k: f"{paths[k]}.rows").values():
        found.found.extend(violations)
    account = daily_rows([panel], "account_rows")
    for violations in account.violations(lambda _: f"{path}.account_rows").values():
        found.found.extend(violations)
    found.raise_if_any()
    refs = {
        name: entity_pb2.EntityRef(
            config_id=one.config_id, entity_type=one.entity_type, entity_id=one.entity_id
        )
        for name, one in zip(names, series, strict=True)
    }
    data = AccountData(
        rows=rows.frame([(entity_type, name) for name in names]),
        account=account.frame([(entity_type, "account")]) if panel.account_rows else None,
        account_known=bool(panel.account_rows),
    )
    treated = len(panel.treated)
    named = Named(
        panel.treated[0].config_id, entity_type, tuple(names[:treated]), tuple(names[treated:]), (), refs
    )
    return named, data


def level(number: int) -> EntityType:
    """The level of validated entities."""
    return ENTITY_TYPE.from_wire(number, "entity_type")


def change_day(change: change_pb2.ChangeEvent, path: str, *, planned: bool = False) -> date | None:
    """The day of a change; None only for a planned one that does not say.

    Raises
    ------
    InvalidInput
        No day, or none of the calendar.
    """
    found = optional_day(change, "date", f"{path}.date")
    if found is None and not planned:
        raise InvalidInput.at(f"{path}.date", "is not set; expected the first day of the change")
    return found


def question(
    named: Named, change: change_pb2.ChangeEvent, chosen: Options, path: str, *, planned: bool = False
) -> Question:
    """The question of a request.

    Raises
    ------
    InvalidInput
        The change has no type, or (unless it is planned) no day.
    """
    return Question(
        treated=named.treated,
        entity_type=named.entity_type,
        change_type=CHANGE_TYPE.from_wire(change.change_type, f"{path}.change_type"),
        day=change_day(change, path, planned=planned),
        value_before=change.value_before if change.HasField("value_before") else None,
        value_after=change.value_after if change.HasField("value_after") else None,
        controls=named.controls,
        excluded_controls=named.excluded,
        options=chosen,
    )


def report_message(report: ImpactReport, named: Named, change: change_pb2.ChangeEvent) -> pb.ImpactReport:
    """The contract's report."""
    out = pb.ImpactReport(
        treated=[named.refs[name] for name in named.treated],
        change=change,
        windows=_windows(report.windows),
        verdict=VERDICT.to_wire(report.verdict),  # type: ignore[arg-type]  # an enum's number
        recommendation=report.recommendation,
        primary_metric=METRIC.to_wire(report.primary_metric),  # type: ignore[arg-type]
        effects=[_effect(one, report) for one in report.metrics],
        controls=[
            pb.Control(entity=_ref(named, one.entity_id), weight=one.weight) for one in report.controls
        ],
        false_positive_rate=pb.FalsePositiveRate(
            nominal=report.false_positive_rate.nominal, analyses=report.false_positive_rate.analyses
        ),
        detectable_effect=_detectable(
            report.detectable,
            METRIC.to_wire(report.primary_metric),
            SCOPE.to_wire(report.primary.scope),
            report.detectable_level,
        ),
        warnings=_warnings(report.cautions),
        answered_by=_answered(report.estimator, report.estimator_reason),
    )
    fit = out.fit
    fit.rmse, fit.days, fit.effective_controls = (
        report.fit.rmse,
        report.fit.days,
        report.fit.effective_controls,
    )
    _set(fit, "rmse_percent", report.fit.rmse_percent)
    _set(fit, "r_squared", report.fit.r_squared)
    rate = report.false_positive_rate
    if rate.rate is not None and rate.interval is not None:
        out.false_positive_rate.rate = rate.rate
        out.false_positive_rate.interval.CopyFrom(_interval(rate.interval))
    if (check := report.manipulation_check) is not None:
        out.manipulation_check.CopyFrom(
            pb.ManipulationCheck(
                metric=metrics_pb2.METRIC_SPEND,
                before=check.before,
                after=check.after,
                passed=check.passed,
                message=check.message,
            )
        )
    for shift in report.budget_shifts:
        message = out.budget_shifts.add(
            entity=_ref(named, shift.entity_id),
            spend_per_day=shift.spend_per_day,
            share_percent=shift.share_percent,
        )
        _set(message, "cpl_after", shift.cpl_after)
    return out


def detectable_message(report: DetectableReport) -> pb.EstimateDetectableEffectResponse:
    """The contract's answer to what a window could show."""
    return pb.EstimateDetectableEffectResponse(
        effects=[
            _detectable(found, METRIC.to_wire(metric), SCOPE.to_wire(scope), level)
            for metric, scope, found, level in report.effects
        ],
        placebos=report.placebos,
        warnings=_warnings(report.cautions),
        answered_by=_answered(report.estimator, report.estimator_reason),
    )


def _ref(named: Named, entity_id: str) -> entity_pb2.EntityRef:
    known = named.refs.get(entity_id)
    if known is not None:
        return known
    return entity_pb2.EntityRef(
        config_id=named.config_id,
        entity_type=ENTITY_TYPE.to_wire(named.entity_type),  # type: ignore[arg-type]
        entity_id=entity_id,
    )


def _set(message: object, field: str, value: float | None) -> None:
    """Set an optional field where there is a value; NaN is none."""
    if value is not None and not math.isnan(value):
        setattr(message, field, value)


def _interval(found: Interval) -> metrics_pb2.Interval:
    return metrics_pb2.Interval(lower=found.lower, upper=found.upper, level=found.level)


def _windows(found: Windows) -> pb.Windows:
    return pb.Windows(
        baseline_first_date=day_message(found.baseline_first),
        before_first_date=day_message(found.before_first),
        before_last_date=day_message(found.before_last),
        after_first_date=day_message(found.after_first),
        after_last_date=day_message(found.after_last),
    )


def _effect(report: MetricReport, whole: ImpactReport) -> pb.MetricEffect:
    out = pb.MetricEffect(
        metric=METRIC.to_wire(report.metric),  # type: ignore[arg-type]
        scope=SCOPE.to_wire(report.scope),  # type: ignore[arg-type]
        verdict=VERDICT.to_wire(report.verdict),  # type: ignore[arg-type]
        naive=_naive(report.naive),
        missing_reason=report.missing_reason,
    )
    _set(out, "before", report.before)
    _set(out, "after", report.after)
    effect = report.effect
    if effect is None:
        return out
    for name in ("counterfactual", "absolute", "percent", "p_value", "effect_size"):
        _set(out, name, getattr(effect, name))
    _set(out, "adjusted_p_value", report.adjusted_p_value)
    out.absolute_interval.CopyFrom(_interval(effect.absolute_interval))
    if not math.isnan(effect.percent):
        out.percent_interval.CopyFrom(_interval(effect.percent_interval))
    placebos = effect.placebos
    out.placebos.CopyFrom(
        pb.PlaceboSummary(
            dates=placebos.dates,
            entities=placebos.controls,
            smallest_p_value=placebos.smallest_p_value,
            mean=placebos.mean,
            standard_deviation=placebos.standard_deviation,
            quantiles=placebos.quantiles,
        )
    )
    _series(out, effect, whole)
    return out


def _series(out: pb.MetricEffect, effect: Effect, whole: ImpactReport) -> None:
    if not effect.series:
        return
    first = whole.windows.before_last.toordinal() + 1 - effect.comparison.baseline
    level = 1.0 - whole.question.options.alpha
    for one in effect.series:
        message = out.series.add(date=day_message(date.fromordinal(first + one.day)))
        _set(message, "actual", one.actual)
        _set(message, "counterfactual", one.counterfactual)
        if not math.isnan(one.counterfactual):
            message.interval.CopyFrom(_interval(Interval(one.lower, one.upper, level)))
        _set(message, "cumulative_effect", one.cumulative)


def _naive(found: NaiveComparison) -> pb.NaiveComparison:
    out = pb.NaiveComparison()
    for name in ("percent_change", "t_statistic", "p_value", "cohens_d"):
        _set(out, name, getattr(found, name))
    return out


def _detectable(found: Detectable, metric: int, scope: int, level: float) -> pb.DetectableEffect:
    out = pb.DetectableEffect(
        metric=metric,  # type: ignore[arg-type]
        scope=scope,  # type: ignore[arg-type]
        power=found.power,
        alpha=found.alpha,
        after_days=found.after_days,
    )
    _set(out, "absolute", found.relative * level)
    _set(out, "percent", 100.0 * found.relative)
    if found.days_needed is not None:
        out.days_needed = found.days_needed
    if found.target is not None:
        out.target_percent = 100.0 * found.target
    return out


def _warnings(cautions: Sequence[Caution]) -> list[pb.Warning]:
    return [
        pb.Warning(type=WARNING.to_wire(one.type), message=one.message)  # type: ignore[arg-type]
        for one in cautions
    ]


def _answered(estimator: Estimator, reason: str) -> answer_pb2.AnsweredBy:
    source = answer_pb2.ANSWER_SOURCE_FALLBACK if reason else answer_pb2.ANSWER_SOURCE_METHOD
    return answer_pb2.AnsweredBy(source=source, method=estimator.value, reason=reason)
