"""A question at the command line: from the store to a report, and a report as one JSON object."""

from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta
from typing import Any

from adsml_common.cli.context import open_database, settings
from adsml_common.database import Database
from adsml_common.domain.changes import ChangeEvent, ChangeType
from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.domain.errors import InvalidInput, NotFound
from adsml_common.domain.metrics import Metric
from adsml_common.store.changes import ChangeStore

from adsml_impact.account_data import StoredAccounts, days_back
from adsml_impact.analysis.query import ImpactQuery, Options
from adsml_impact.analysis.report import ImpactReport, MetricReport
from adsml_impact.analysis.single import analyse


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What was asked for; see `adsml_impact.analysis.query.ImpactQuery`.

    Attributes
    ----------
    day, change_type
        None: of the latest recorded change of the first entity.
    """

    config_id: int
    entity_type: EntityType
    entity_ids: tuple[str, ...]
    day: date | None
    change_type: ChangeType | None
    controls: tuple[str, ...]
    options: Options


def ask(asked: Asked) -> ImpactReport:
    """Answer from the store that the settings name.

    Raises
    ------
    NotFound
        No such entity, or no recorded change where the question names none.
    InvalidInput, FailedPrecondition, Unavailable
        See `adsml_impact.analysis.single.analyse`.
    """
    with open_database(settings()) as database:
        day, change_type, recorded = _change(database, asked)
        question = ImpactQuery(
            treated=asked.entity_ids,
            entity_type=asked.entity_type,
            change_type=change_type,
            day=day,
            value_before=_amount(recorded, "budget_before"),
            value_after=_amount(recorded, "budget_after"),
            controls=asked.controls,
            options=asked.options,
        )
        data = StoredAccounts(database).read(
            asked.config_id,
            asked.entity_type,
            named=(*asked.entity_ids, *asked.controls),
            since=day - timedelta(days=days_back(asked.options)),
        )
    return analyse(question, data)


def metric_named(text: str, option: str) -> Metric:
    """A metric by the name a person gave.

    Raises
    ------
    InvalidInput
        No such metric.
    """
    try:
        return Metric(text.lower())
    except ValueError:
        raise InvalidInput.at(option, f"is {text!r}; expected one of {', '.join(Metric)}") from None


def _change(database: Database, asked: Asked) -> tuple[date, ChangeType, ChangeEvent | None]:
    ref = EntityRef(asked.config_id, asked.entity_type, asked.entity_ids[0])
    events = [
        event
        for event in ChangeStore(database).list(asked.config_id, entity=ref)
        if (asked.day is None or event.date == asked.day)
        and (asked.change_type is None or event.change_type is asked.change_type)
    ]
    if events:
        found = events[-1]
        return found.date, found.change_type, found
    if asked.day is None or asked.change_type is None:
        what = "change" if asked.change_type is None else asked.change_type.replace("_", " ")
        when = "" if asked.day is None else f" on {asked.day}"
        raise NotFound(f"no {what} of {ref} is recorded{when}; say which with --date and --change-type")
    return asked.day, asked.change_type, None


def _amount(event: ChangeEvent | None, name: str) -> float | None:
    value = None if event is None else event.detail.get(name)
    return float(value) if isinstance(value, int | float) else None


def as_object(report: ImpactReport) -> dict[str, Any]:
    """A report as one object for ``--json``; figures that are missing or infinite are null."""
    return {
        "verdict": report.verdict,
        "recommendation": report.recommendation,
        "primary_metric": report.primary_metric,
        "change": {
            "change_type": report.query.change_type,
            "date": report.query.day,
            "treated": report.query.treated,
            "entity_type": report.query.entity_type,
        },
        "windows": asdict(report.windows),
        "effects": [_effect_object(one) for one in report.metrics],
        "controls": [asdict(one) for one in report.controls],
        "fit": asdict(report.fit),
        "false_positive_rate": {
            "rate": report.false_positive_rate.rate,
            "analyses": report.false_positive_rate.analyses,
            "nominal": report.false_positive_rate.nominal,
        },
        "detectable_effect": asdict(replace(report.detectable)),
        "manipulation_check": None
        if report.manipulation_check is None
        else asdict(report.manipulation_check),
        "budget_shifts": [asdict(one) for one in report.budget_shifts],
        "warnings": [asdict(one) for one in report.cautions],
        "estimator": report.estimator,
        "estimator_reason": report.estimator_reason,
    }


def _effect_object(report: MetricReport) -> dict[str, Any]:
    out: dict[str, Any] = {
        "metric": report.metric,
        "scope": report.scope,
        "before": report.before,
        "after": report.after,
        "verdict": report.verdict,
        "naive": asdict(report.naive),
        "missing_reason": report.missing_reason,
    }
    effect = report.effect
    if effect is None:
        return out
    return out | {
        "counterfactual": effect.counterfactual,
        "absolute": effect.absolute,
        "absolute_interval": [effect.absolute_interval.lower, effect.absolute_interval.upper],
        "percent": effect.percent,
        "percent_interval": [effect.percent_interval.lower, effect.percent_interval.upper],
        "p_value": effect.p_value,
        "adjusted_p_value": report.adjusted_p_value,
        "effect_size": effect.effect_size,
        "placebos": asdict(effect.placebos),
        "series": [asdict(day) for day in effect.series],
    }
