"""Classifications as bytes against the same messages built field by field."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from adsml.classifier.v1 import classifier_service_pb2 as pb
from adsml.common.v1 import answer_pb2, entity_pb2, metrics_pb2
from adsml_classifier import cautions
from adsml_classifier.answers import NUMBERS, AccountAnswers
from adsml_classifier.cautions import Surroundings
from adsml_classifier.decoding import Options
from adsml_classifier.encoding import TIER_NUMBERS, Provenance, ResponseBuilder
from adsml_classifier.models import features
from adsml_classifier.models.rule import TIERS
from adsml_classifier.models.snapshot import NEVER, AccountSnapshot, by_last_week, by_model
from adsml_common.domain.degradation import Degradation, DegradationReason, Dependency
from adsml_common.serving.messages import day_message, degradation_message, model_ref_message
from adsml_simulate import SimulatedAccount

from .accounts import panel_of

LAST_DAY = date(2026, 3, 31)
DEGRADATION = Degradation(Dependency.REGISTRY, DegradationReason.STALE, "for the test")
MODEL = answer_pb2.AnsweredBy(
    source=answer_pb2.ANSWER_SOURCE_MODEL,
    model=model_ref_message("classifier/1", version=7, trained=datetime(2026, 4, 1, tzinfo=UTC)),
)
LAST_WEEK = answer_pb2.AnsweredBy(source=answer_pb2.ANSWER_SOURCE_PERSISTENCE, method="last_week_tier")
RULE = answer_pb2.AnsweredBy(source=answer_pb2.ANSWER_SOURCE_RULES, method="cpl_rule", reason="as asked")


class Scorer:
    """Probabilities and contributions that differ from row to row; one probability is 0."""

    def probabilities(self, x: np.ndarray) -> np.ndarray:
        raw = np.abs(np.nan_to_num(x[:, :4], nan=1.0).astype(np.float64)) + 0.01
        raw[:, 2] *= raw[:, 2] > 0.5
        return raw / raw.sum(axis=1, keepdims=True)

    def contributions(self, x: np.ndarray) -> np.ndarray:
        tiers = np.arange(1, len(TIERS) + 1)[:, None]
        shown = np.nan_to_num(x, nan=0.3)[:, None, :] * np.cos(tiers + np.arange(x.shape[1]))
        return np.concatenate([shown, np.zeros((len(x), len(TIERS), 1))], axis=2)


def week(snapshot: AccountSnapshot, row: int) -> metrics_pb2.MetricsSnapshot:
    """What an entity did, field by field."""
    evidence = snapshot.evidence
    spend, impressions, clicks, leads = (
        float(evidence[f"{name}_7"][row]) for name in ("spend", "impressions", "clicks", "leads")
    )
    out = metrics_pb2.MetricsSnapshot(
        first_date=day_message(snapshot.as_of - timedelta(days=6)), last_date=day_message(snapshot.as_of),
        spend=spend, impressions=round(impressions), clicks=round(clicks), leads=leads,
        days_with_delivery=int(evidence["delivery_days_7"][row]), days_with_leads=int(evidence["lead_days_7"][row]),
        account_cpl=evidence.account["spend_7"] / evidence.account["leads_7"],
        account_ctr_percent=100 * evidence.account["clicks_7"] / evidence.account["impressions_7"],
        currency_code="EUR",
    )  # fmt: skip
    if leads:
        out.cpl = spend / leads
    if impressions:
        out.ctr_percent, out.cpm = 100 * clicks / impressions, 1000 * spend / impressions
    if clicks:
        out.cpc, out.conversion_rate_percent = spend / clicks, 100 * leads / clicks
    reach = float(evidence["reach_7"][row])
    out.reach = round(reach)
    if reach:
        out.frequency = impressions / reach
    return out


def message(
    snapshot: AccountSnapshot, row: int, provenance: Provenance, around: Surroundings, counts: tuple[int, int]
) -> pb.Classification:
    """A classification, field by field."""
    most, most_reasons = counts
    by_rule = provenance.scorer is None and (provenance.rules_only or not snapshot.full_week[row])
    rows = np.array([row])
    if provenance.scorer is not None:
        scores = by_model(provenance.scorer, snapshot, rows, contributions=True, most_reasons=most_reasons)
    else:
        scores = by_last_week(snapshot, rows, np.array([by_rule]), most_reasons=most_reasons)
    key = list(snapshot.rows)[row]
    since = int(snapshot.since_delivery[row])
    assert since != NEVER
    out = pb.Classification(
        tier=TIER_NUMBERS[int(scores.tier[0])],
        rule_tier=TIER_NUMBERS[int(snapshot.rule_tier[row])],
        metrics=week(snapshot, row),
        as_of_date=day_message(snapshot.as_of),
        answered_by=provenance.by_rule if by_rule else provenance.by,
        degradations=[degradation_message(DEGRADATION)],
        warnings=cautions.of_row(snapshot, row, key, around, by_rule=by_rule),
        freshness=answer_pb2.DataFreshness(
            account_last_date=day_message(LAST_DAY),
            last_row_date=day_message(snapshot.as_of - timedelta(days=int(snapshot.since_row[row]))),
            last_delivery_date=day_message(snapshot.as_of - timedelta(days=since)),
            days_without_delivery=since,
            stopped=bool(snapshot.stopped[row]),
        ),
        reasons=[
            pb.Reason(text=one.text, supports=one.supports, features=one.features)
            for of_row in scores.reasons
            for one in of_row
        ],
    )
    if scores.probabilities is not None and scores.contributions is not None:
        [probabilities], [amounts] = scores.probabilities, scores.contributions
        out.confidence = float(probabilities.max()) * provenance.confidence_factor
        for tier, probability in zip(TIER_NUMBERS, probabilities, strict=True):
            out.probabilities.add(tier=tier, probability=probability)
        for column in np.argsort(-np.abs(amounts), kind="stable")[:most]:
            value = float(snapshot.x[row, column])
            if amounts[column] != 0:
                out.contributions.add(
                    feature=features.NAMES[column],
                    value=None if np.isnan(value) else value,
                    contribution=amounts[column],
                )
    return out


def by(scorer: Scorer | None, *, rules_only: bool = False, factor: float = 1.0) -> Provenance:
    return Provenance(
        scorer,
        MODEL if scorer else LAST_WEEK,
        MODEL if scorer else RULE,
        rules_only,
        (DEGRADATION,),
        factor,
        None,
    )


@pytest.mark.parametrize("counts", [(0, 0), (3, 2), (100, 0), (0, 10)])
@pytest.mark.parametrize(
    "provenance",
    [by(Scorer()), by(Scorer(), factor=0.85), by(None), by(None, rules_only=True)],
    ids=["model", "transfer", "last week", "rule"],
)
def test_bytes_say_what_the_messages_say(
    account: SimulatedAccount, provenance: Provenance, counts: tuple[int, int]
) -> None:
    snapshot = AccountSnapshot.of(panel_of(account), LAST_DAY)
    off = {list(snapshot.rows)[5]: "PAUSED"}
    account_days: Any = SimpleNamespace(off=lambda key, as_of: off.get(key, ""), currency_code="EUR")
    around = Surroundings(LAST_DAY, LAST_DAY + timedelta(days=9), account_days)
    names = list(snapshot.rows)

    def entity(level: str, name: str) -> entity_pb2.EntityRef:
        return entity_pb2.EntityRef(config_id=1, entity_type=NUMBERS[level], entity_id=name)

    def response(results: Sequence[bytes]) -> pb.BatchClassifyResponse:
        return pb.BatchClassifyResponse.FromString(b"".join(results))

    rows = np.flatnonzero(snapshot.delivered).tolist()
    assert len(rows) > 20
    expected = [message(snapshot, row, provenance, around, counts) for row in rows]
    for cached in (False, True):
        options = Options(None, counts[0], counts[1], rules_only=False, lag_days=None)
        builder = ResponseBuilder(snapshot, provenance, around, entity, options)
        answers = AccountAnswers(snapshot, builder, cached=cached)
        # From scratch, and from what was kept.
        for _ in range(2):
            made = response(answers.results(rows))
            assert [one.entity for one in made.results] == [entity(*names[row]) for row in rows]
            assert [one.classification for one in made.results] == expected
        # One by itself is written in another way.
        for place in (0, 7):
            alone = pb.ClassifyResponse.FromString(answers.response(rows[place]))
            assert alone.classification == expected[place]
            [result] = response(answers.results(rows[place : place + 1])).results
            assert result.classification == expected[place]
