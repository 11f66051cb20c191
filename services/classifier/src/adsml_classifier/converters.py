"""Between the classifier's contract and its domain."""

from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np
from adsml.classifier.v1 import classifier_service_pb2 as pb
from adsml.common.v1 import answer_pb2, entity_pb2, metrics_pb2
from adsml_common.domain.degradation import Degradation
from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.domain.metrics import divide
from adsml_common.registry.models import ModelVersion
from adsml_common.serving.convert import (
    ENTITY_TYPE,
    TIER,
    day_message,
    degradation_message,
    entity_ref,
    entity_ref_message,
    model_ref_message,
    optional_day,
)

from adsml_classifier.answering import Answer, WeekMetrics
from adsml_classifier.explanation import Contribution
from adsml_classifier.rule import TIERS

RULE_NAME: Final = "cpl_rule"
"""`AnsweredBy.method` when the rule answered."""

DEFAULT_CONTRIBUTIONS: Final = 5


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for beside the entities.

    Attributes
    ----------
    as_of
        The day; None for the latest complete one.
    contributions
        How many to tell.
    rules_only
        Whether the rule should answer even where there is a model.
    """

    as_of: date | None
    contributions: int
    rules_only: bool


def options(message: pb.ClassificationOptions) -> Options:
    """The options of a request that was validated; unset ones at their defaults."""
    told = message.max_contributions if message.HasField("max_contributions") else DEFAULT_CONTRIBUTIONS
    return Options(optional_day(message, "as_of_date", "options.as_of_date"), told, message.rules_only)


def subject_key(subject: entity_pb2.Subject, path: str) -> EntityRef:
    """Level and id of a subject; for an inline series ``config_id`` is 0 where none was named."""
    if subject.WhichOneof("source") == "entity":
        return entity_ref(subject.entity, f"{path}.entity")
    series = subject.inline
    kind = ENTITY_TYPE.find(series.entity_type) or EntityType.CAMPAIGN
    return EntityRef(series.config_id, kind, series.entity_id)


def echo(subject: entity_pb2.Subject) -> entity_pb2.EntityRef:
    """The subject as the answer names it: as the caller wrote it, right or wrong."""
    if subject.WhichOneof("source") == "entity":
        return subject.entity
    series = subject.inline
    return entity_pb2.EntityRef(
        config_id=series.config_id, entity_type=series.entity_type, entity_id=series.entity_id
    )


def ref_message(ref: EntityRef) -> entity_pb2.EntityRef:
    """The contract's key of an entity."""
    return entity_ref_message(ref)


def answered_by(
    version: ModelVersion | None, *, transferred: bool = False, reason: str = ""
) -> answer_pb2.AnsweredBy:
    """What answered: a model's version, or the rule."""
    if version is None:
        return answer_pb2.AnsweredBy(source=answer_pb2.ANSWER_SOURCE_RULES, method=RULE_NAME, reason=reason)
    source = answer_pb2.ANSWER_SOURCE_TRANSFER if transferred else answer_pb2.ANSWER_SOURCE_MODEL
    return answer_pb2.AnsweredBy(
        source=source,
        model=model_ref_message(version.name, version=version.version, trained=version.created_at),
        method="level_transfer" if transferred else "",
        reason=reason,
    )


def classification(
    answer: Answer,
    by: answer_pb2.AnsweredBy,
    degradations: tuple[Degradation, ...] = (),
    *,
    confidence_factor: float = 1.0,
) -> pb.Classification:
    """One answer in the contract's words.

    Parameters
    ----------
    answer, by, degradations
        The answer, what gave it, and what it had to do without.
    confidence_factor
        Discount of a transferred answer.
    """
    out = pb.Classification(
        tier=TIER.to_wire(answer.tier),  # type: ignore[arg-type]  # an enum's number
        metrics=_metrics(answer.week),
        as_of_date=day_message(answer.as_of),
        answered_by=by,
        probabilities=[
            pb.TierProbability(tier=TIER.to_wire(tier), probability=probability)  # type: ignore[arg-type]
            for tier, probability in zip(TIERS, answer.probabilities, strict=False)
        ],
        contributions=[_contribution(one) for one in answer.contributions],
        degradations=[degradation_message(one) for one in degradations],
    )
    if answer.confidence is not None:
        out.confidence = answer.confidence * confidence_factor
    if answer.rule_tier is not None:
        out.rule_tier = TIER.to_wire(answer.rule_tier)  # type: ignore[assignment]  # an enum's number
    return out


def rule_reason(week: WeekMetrics, why: str) -> str:
    """What the rule looked at, after why it answered."""
    cpl = divide([week.spend, week.account_spend], [week.leads, week.account_leads])
    own = "no leads" if np.isnan(cpl[0]) else f"CPL {cpl[0]:.2f}"
    account = "an account without leads" if np.isnan(cpl[1]) else f"{cpl[1]:.2f} for the account"
    return (
        f"{why}; by the rule: {own} on spend {week.spend:.2f} against {account} in the last 7 days, leads on "
        f"{week.days_with_leads} of them"
    )


def _contribution(one: Contribution) -> pb.FeatureContribution:
    return pb.FeatureContribution(
        feature=one.feature, value=one.value, contribution=one.contribution, explanation=one.words
    )


_RATIOS: Final = (
    ("cpl", "spend", "leads", 1.0),
    ("ctr", "clicks", "impressions", 100.0),
    ("cpc", "spend", "clicks", 1.0),
    ("cpm", "spend", "impressions", 1000.0),
    ("conversion_rate", "leads", "clicks", 100.0),
    ("frequency", "impressions", "reach", 1.0),
    ("account_cpl", "account_spend", "account_leads", 1.0),
    ("account_ctr", "account_clicks", "account_impressions", 100.0),
)


def _metrics(week: WeekMetrics) -> metrics_pb2.MetricsSnapshot:
    out = metrics_pb2.MetricsSnapshot(
        first_date=day_message(week.first),
        last_date=day_message(week.last),
        spend=week.spend,
        impressions=round(week.impressions),
        clicks=round(week.clicks),
        leads=week.leads,
        days_with_delivery=week.days_with_delivery,
        days_with_leads=week.days_with_leads,
    )
    if not np.isnan(week.reach):
        out.reach = round(week.reach)
    # Plain arithmetic: an array of one number costs more than the rest of this function.
    for name, numerator, denominator, scale in _RATIOS:
        bottom: float = getattr(week, denominator)
        if bottom > 0:
            setattr(out, name, scale * getattr(week, numerator) / bottom)
    return out
