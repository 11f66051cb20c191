"""Between the classifier's contract and its domain."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

import numpy as np
from adsml.classifier.v1 import classifier_service_pb2 as pb
from adsml.common.v1 import answer_pb2, entity_pb2, metrics_pb2
from adsml_common.domain.degradation import Degradation
from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.domain.metrics import divide
from adsml_common.domain.tiers import Tier
from adsml_common.registry.models import ModelVersion
from adsml_common.serving.messages import (
    ENTITY_TYPE,
    TIER,
    day_message,
    degradation_message,
    entity_ref,
    model_ref_message,
    optional_day,
)
from google.type import date_pb2

from adsml_classifier import rule
from adsml_classifier.answering import Answer
from adsml_classifier.explanation import Contribution
from adsml_classifier.rule import TIERS
from adsml_classifier.standing import WeekMetrics

RULE_NAME: Final = "cpl_rule"
"""`AnsweredBy.method` when the rule answered."""

DEFAULT_CONTRIBUTIONS: Final = 5


TIER_NUMBERS: Final[dict[Tier, Any]] = {tier: TIER.to_wire(tier) for tier in TIERS}
"""The contract's number of each tier."""


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


class Teller:
    """Puts answers of one call, model and day into the contract's words. What they share is converted once.

    Parameters
    ----------
    as_of
        The day.
    version
        The model's; None where the rule answers.
    why
        Why the rule answers.
    degradations
        What the answers have to do without.
    transferred
        Whether the model was carried over.
    confidence_factor
        Discount of transferred answers.
    """

    def __init__(
        self,
        as_of: date,
        *,
        version: ModelVersion | None,
        why: str = "",
        degradations: tuple[Degradation, ...] = (),
        transferred: bool = False,
        confidence_factor: float = 1.0,
    ) -> None:
        self._as_of = day_message(as_of)
        self._first = day_message(as_of - timedelta(days=rule.DAYS - 1))
        self._why = why
        self._by = None if version is None else by_model(version, transferred=transferred)
        self._degradations = [degradation_message(one) for one in degradations]
        self._factor = confidence_factor

    def __call__(self, answer: Answer) -> pb.Classification:
        """One answer."""
        out = pb.Classification(
            tier=TIER_NUMBERS[answer.tier],
            metrics=metrics(answer.week, self._first, self._as_of),
            as_of_date=self._as_of,
            answered_by=self._by or _by_rule(rule_reason(answer.week, self._why)),
            probabilities=map(_probability, _RANKED, answer.probabilities),
            contributions=map(_contribution, answer.contributions),
            degradations=self._degradations,
        )
        if answer.confidence is not None:
            out.confidence = answer.confidence * self._factor
        if answer.rule_tier is not None:
            out.rule_tier = TIER_NUMBERS[answer.rule_tier]
        return out


def by_model(version: ModelVersion, *, transferred: bool) -> answer_pb2.AnsweredBy:
    """That a model's version answered."""
    return answer_pb2.AnsweredBy(
        source=answer_pb2.ANSWER_SOURCE_TRANSFER if transferred else answer_pb2.ANSWER_SOURCE_MODEL,
        model=model_ref_message(version.name, version=version.version, trained=version.created_at),
        method="level_transfer" if transferred else "",
    )


def _by_rule(reason: str) -> answer_pb2.AnsweredBy:
    return answer_pb2.AnsweredBy(source=answer_pb2.ANSWER_SOURCE_RULES, method=RULE_NAME, reason=reason)


def rule_reason(week: WeekMetrics, why: str) -> str:
    """What the rule looked at, after why it answered."""
    cpl = divide([week.spend, week.account_spend], [week.leads, week.account_leads])
    own = "no leads" if np.isnan(cpl[0]) else f"CPL {cpl[0]:.2f}"
    account = "an account without leads" if np.isnan(cpl[1]) else f"{cpl[1]:.2f} for the account"
    return (
        f"{why}; by the rule: {own} on spend {week.spend:.2f} against {account} in the last 7 days, leads on "
        f"{week.days_with_leads} of them"
    )


_RANKED: Final = tuple(TIER_NUMBERS[tier] for tier in TIERS)


def _probability(tier: Any, probability: float) -> pb.TierProbability:
    return pb.TierProbability(tier=tier, probability=probability)


def contributions(told: Iterable[Contribution]) -> pb.Classification:
    """A classification that holds contributions and nothing else."""
    return pb.Classification(contributions=map(_contribution, told))


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


def metrics(week: WeekMetrics, first: date_pb2.Date, last: date_pb2.Date) -> metrics_pb2.MetricsSnapshot:
    """The contract's word of a week, given its first and last day."""
    # Plain arithmetic: an array of one number costs more than the rest of this function.
    ratios = {
        name: scale * getattr(week, numerator) / bottom
        for name, numerator, denominator, scale in _RATIOS
        if (bottom := getattr(week, denominator)) > 0
    }
    if week.reach == week.reach:
        ratios["reach"] = round(week.reach)
    return metrics_pb2.MetricsSnapshot(
        first_date=first,
        last_date=last,
        spend=week.spend,
        impressions=round(week.impressions),
        clicks=round(week.clicks),
        leads=week.leads,
        days_with_delivery=week.days_with_delivery,
        days_with_leads=week.days_with_leads,
        **ratios,
    )
