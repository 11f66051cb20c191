"""From arrays to the contract's bytes: the one way that classifications are written.

Building a message field by field costs some forty microseconds a row in Python, more than the trees. What depends on
the stored days alone (metrics, freshness, the rule's tier) is serialised once for each entity; what a model says has
a fixed layout and is written for all rows at once by numpy. Protobuf lets the fields of a message come in any order
and from several pieces (https://protobuf.dev/programming-guides/encoding/#last-one-wins), so the pieces are joined
and sent as they are. A test holds the result equal to the same messages built field by field.
"""

import struct
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from adsml.classifier.v1 import classifier_service_pb2 as pb
from adsml.common.v1 import answer_pb2, entity_pb2, metrics_pb2
from adsml_common.domain.degradation import Degradation
from adsml_common.serving.messages import TIER, day_message, degradation_message
from google.type import date_pb2

from adsml_classifier import cautions
from adsml_classifier.cautions import Surroundings
from adsml_classifier.decoding import Options
from adsml_classifier.models import features, rule
from adsml_classifier.models.panel import FloatArray, IntArray
from adsml_classifier.models.rule import TIERS
from adsml_classifier.models.snapshot import (
    NEVER,
    AccountSnapshot,
    Scorer,
    TierCalls,
    by_last_week,
    by_model,
)

# Tags, (field number << 3) | wire type, of the contract's messages.
_RESULT: Final = b"\x0a"  # BatchClassifyResponse.results
_IN_RESULT: Final = b"\x12"  # BatchClassifyResult.classification
_IN_RESPONSE: Final = b"\x0a"  # ClassifyResponse.classification
_TIER, _CONFIDENCE, _PROBABILITIES = 0x08, 0x11, 0x1A  # Classification
_ONE_TIER, _ONE_PROBABILITY = 0x08, 0x11  # TierProbability
_TIER_AND_VALUE: Final = [("tier_tag", "u1"), ("tier", "u1"), ("value_tag", "u1"), ("value", "<f8")]
_ONE: Final = np.dtype([("tag", "u1"), ("length", "u1"), *_TIER_AND_VALUE])
_SCORES: Final = np.dtype([*_TIER_AND_VALUE, ("each", _ONE, len(TIERS))])
TIER_NUMBERS: Final[tuple[Any, ...]] = tuple(TIER.to_wire(tier) for tier in TIERS)
"""The contract's number of each tier, from best to worst."""
_NUMBERS: Final = np.array(TIER_NUMBERS, dtype=np.uint8)


def _template() -> npt.NDArray[np.void]:
    """What a model says, with every byte that is the same for all rows in place."""
    scores = np.zeros(1, dtype=_SCORES)
    scores["tier_tag"], scores["value_tag"] = _TIER, _CONFIDENCE
    each = scores["each"]
    each["tag"], each["length"] = _PROBABILITIES, _ONE.itemsize - 2
    each["tier_tag"], each["value_tag"] = _ONE_TIER, _ONE_PROBABILITY
    each["tier"] = _NUMBERS
    return scores


_TEMPLATE: Final = _template()
_DOUBLE: Final = struct.Struct("<d")
# Where the confidence and each tier's probability are in a row.
_PLACES: Final = range(3, _SCORES.itemsize, _ONE.itemsize)


@dataclass(frozen=True)
class Provenance:
    """What answers for the entities of an account, and how it is named."""

    scorer: Scorer | None  # the model; None where last week's tier or the rule answers
    by: answer_pb2.AnsweredBy  # the model's name, or that of last week's tier
    by_rule: answer_pb2.AnsweredBy  # the rule's, for those that it answers; with a model for none
    rules_only: bool  # whether the rule answers for all, and not only where there is no full week
    degradations: tuple[Degradation, ...]  # what each answer has to do without
    confidence_factor: float  # what a model's confidence is multiplied by
    key: Hashable  # tells it from any other


class ResponseBuilder:
    """Writes what is said of entities of one account as of one day.

    `entity` gives the one of a level and id as the answer names it.
    """

    def __init__(
        self,
        snapshot: AccountSnapshot,
        provenance: Provenance,
        surroundings: Surroundings,
        entity: Callable[[str, str], entity_pb2.EntityRef],
        options: Options,
    ) -> None:
        self._snapshot = snapshot
        self._provenance = provenance
        self._options = options
        self._surroundings = surroundings
        self._entity = entity
        self._keys = list(snapshot.rows)
        self._as_of = day_message(snapshot.as_of)
        self._first = day_message(snapshot.as_of - timedelta(days=rule.DAYS - 1))
        self._last = None if surroundings.last is None else day_message(surroundings.last)
        # Rows that the rule answers; none where a model does.
        self._ruled = (~snapshot.full_week | provenance.rules_only) & (provenance.scorer is None)
        self.degradations = [degradation_message(one) for one in provenance.degradations]
        """What each answer has to do without."""
        self.by_model = provenance.scorer is not None
        """Whether a model answers, which needs no account to compare with."""
        self.explains = bool(options.contributions or options.reasons)
        """Whether reasons or contributions are told, which cost much more than the answers."""
        self._by = self._shared(provenance.by)
        self._by_rule = self._shared(provenance.by_rule)
        self._details: dict[int, bytes] = {}
        self._frames: dict[int, tuple[bytes, bytes]] = {}

    def results(self, rows: Sequence[int]) -> list[bytes]:
        """Each row's entity and classification, as a field of `BatchClassifyResponse`."""
        if not self.explains:
            return [self._frame(row, head) for row, head in zip(rows, self._calls(rows)[0], strict=True)]
        return [self.result(row, one) for row, one in zip(rows, self.classifications(rows), strict=True)]

    def result(self, row: int, classification: bytes) -> bytes:
        """A row's entity with its classification, as `results`."""
        return _field(_RESULT, self._named(row) + _field(_IN_RESULT, classification))

    def classifications(self, rows: Sequence[int]) -> list[bytes]:
        """Each row's classification."""
        heads, explanations = self._calls(rows)
        whys = explanations or [b""] * len(rows)
        return [
            b"".join((head, self._of_row(row), why)) for row, head, why in zip(rows, heads, whys, strict=True)
        ]

    # -- inside ----------------------------------------------------------------------------------------------

    def _named(self, row: int) -> bytes:
        return pb.BatchClassifyResult(entity=self._entity(*self._keys[row])).SerializeToString()

    def _frame(self, row: int, head: bytes) -> bytes:
        """A result without reasons: what goes around the head depends on the row alone, and is kept."""
        around = self._frames.get(row)
        if around is None:
            after = self._of_row(row)
            length = len(head) + len(after)
            inner = b"".join((self._named(row), _IN_RESULT, _varint(length)))
            around = self._frames[row] = _RESULT + _varint(len(inner) + length) + inner, after
        return around[0] + head + around[1]

    def _calls(self, rows: Sequence[int]) -> tuple[list[bytes], list[bytes]]:
        """What the answerer says of each row, and why; the latter empty where it is not asked for."""
        placed, provenance, options = np.array(rows, dtype=np.int64), self._provenance, self._options
        if provenance.scorer is None:
            scores = by_last_week(self._snapshot, placed, self._ruled[placed], most_reasons=options.reasons)
        else:
            scores = by_model(
                provenance.scorer,
                self._snapshot,
                placed,
                contributions=options.contributions > 0,
                most_reasons=options.reasons,
            )
        return encode_scores(scores, provenance.confidence_factor), self._explanations(placed, scores)

    def _explanations(self, rows: IntArray, scores: TierCalls) -> list[bytes]:
        if not self.explains:
            return []
        given = _strongest(scores.contributions, self._snapshot.x[rows], self._options.contributions)
        return [
            pb.Classification(
                contributions=[
                    pb.FeatureContribution(feature=features.NAMES[column], value=value, contribution=amount)
                    for column, value, amount in (given[place] if given else ())
                ],
                reasons=[
                    pb.Reason(text=one.text, supports=one.supports, features=one.features)
                    for one in (scores.reasons[place] if scores.reasons else ())
                ],
            ).SerializeToString()
            for place in range(len(rows))
        ]

    def _of_row(self, row: int) -> bytes:
        """What is said of a row whatever the answer."""
        details = self._details.get(row)
        if details is None:
            snapshot = self._snapshot
            by_rule = bool(self._ruled[row])
            key = self._keys[row][0], self._entity(*self._keys[row]).entity_id
            message = pb.Classification(
                metrics=self._metrics(row),
                freshness=self._freshness(row),
                warnings=cautions.of_row(snapshot, row, key, self._surroundings, by_rule=by_rule),
            )
            if snapshot.comparable:
                message.rule_tier = TIER_NUMBERS[int(snapshot.rule_tier[row])]
            shared = self._by_rule if by_rule else self._by
            details = self._details[row] = message.SerializeToString() + shared
        return details

    def _shared(self, by: answer_pb2.AnsweredBy) -> bytes:
        return pb.Classification(
            as_of_date=self._as_of, answered_by=by, degradations=self.degradations
        ).SerializeToString()

    @cached_property
    def _week(self) -> dict[str, list[float]]:
        """The sums of the last 7 days, as lists: a number of an array costs ten times one of a list."""
        evidence = self._snapshot.evidence
        return {name: evidence[f"{name}_7"].tolist() for name in _WEEK}

    @cached_property
    def _since(self) -> tuple[list[int], list[int], list[bool]]:
        snapshot = self._snapshot
        return snapshot.since_row.tolist(), snapshot.since_delivery.tolist(), snapshot.stopped.tolist()

    def _day(self, since: int) -> date_pb2.Date | None:
        """The day so many days before; None where it never was."""
        return None if since == NEVER else day_message(self._snapshot.as_of - timedelta(days=since))

    def _metrics(self, row: int) -> metrics_pb2.MetricsSnapshot:
        account, around = self._snapshot.evidence.account, self._surroundings
        sums = {name: values[row] for name, values in self._week.items()}
        known = sums["reach_known"] >= sums["impressions"]
        if not known:
            sums["reach"] = 0.0
        sums |= {f"account_{name}": account[f"{name}_7"] for name in _SUMS}
        # Plain arithmetic: an array of one number costs more than the rest of this function.
        ratios: dict[str, Any] = {
            name: scale * sums[numerator] / bottom
            for name, numerator, denominator, scale in _RATIOS
            if (bottom := sums[denominator]) > 0
        }
        if known:
            ratios["reach"] = round(sums["reach"])
        return metrics_pb2.MetricsSnapshot(
            first_date=self._first,
            last_date=self._as_of,
            spend=sums["spend"],
            impressions=round(sums["impressions"]),
            clicks=round(sums["clicks"]),
            leads=sums["leads"],
            days_with_delivery=int(sums["delivery_days"]),
            days_with_leads=int(sums["lead_days"]),
            currency_code="" if around.account is None else around.account.currency_code,
            **ratios,
        )

    def _freshness(self, row: int) -> answer_pb2.DataFreshness:
        since_row, since_delivery, stopped = self._since
        return answer_pb2.DataFreshness(
            account_last_date=self._last,
            last_row_date=self._day(since_row[row]),
            last_delivery_date=self._day(since_delivery[row]),
            days_without_delivery=max(since_delivery[row], 0),
            stopped=stopped[row],
        )


def encode_scores(scores: TierCalls, confidence_factor: float) -> list[bytes]:
    """Tier, confidence and probabilities of every row; the tier alone where no model answered."""
    if scores.probabilities is None:
        return [bytes((_TIER, _NUMBERS[tier])) for tier in scores.tier.tolist()]
    if len(scores.tier) == 1:
        # One by one is quicker for one.
        best, [each] = int(scores.tier[0]), scores.probabilities.tolist()
        row = bytearray(_TEMPLATE.tobytes())
        row[1] = _NUMBERS[best]
        for place, value in zip(_PLACES, (each[best] * confidence_factor, *each), strict=True):
            _DOUBLE.pack_into(row, place, value)
        return [bytes(row)]
    encoded = _TEMPLATE.repeat(len(scores.tier))
    encoded["tier"] = _NUMBERS[scores.tier]
    # The answered tier is the most probable.
    encoded["value"] = scores.probabilities.max(axis=1) * confidence_factor
    encoded["each"]["value"] = scores.probabilities
    data, size = encoded.tobytes(), _SCORES.itemsize
    return [data[at : at + size] for at in range(0, len(data), size)]


def encode_result(result: pb.BatchClassifyResult) -> bytes:
    """A result as a field of `BatchClassifyResponse`."""
    return _field(_RESULT, result.SerializeToString())


def encode_response(classification: bytes) -> bytes:
    """A `ClassifyResponse`."""
    return _field(_IN_RESPONSE, classification)


_SUMS: Final = ("spend", "impressions", "clicks", "leads")
_WEEK: Final = (*_SUMS, "reach", "reach_known", "delivery_days", "lead_days")
_RATIOS: Final = (
    ("cpl", "spend", "leads", 1.0),
    ("ctr_percent", "clicks", "impressions", 100.0),
    ("cpc", "spend", "clicks", 1.0),
    ("cpm", "spend", "impressions", 1000.0),
    ("conversion_rate_percent", "leads", "clicks", 100.0),
    ("frequency", "impressions", "reach", 1.0),
    ("account_cpl", "account_spend", "account_leads", 1.0),
    ("account_ctr_percent", "account_clicks", "account_impressions", 100.0),
)


def _strongest(
    contributions: FloatArray | None, x: npt.NDArray[np.float32], most: int
) -> list[list[tuple[int, float | None, float]]]:
    """Column, value and amount of what moved each answer most; what did nothing is left out."""
    if contributions is None or not most:
        return []
    order = np.argsort(-np.abs(contributions), axis=1, kind="stable")[:, :most]
    values, amounts = (np.take_along_axis(one, order, axis=1) for one in (x, contributions))
    return [
        [
            (column, None if value != value else value, amount)  # noqa: PLR0124 - NaN: missing
            for column, value, amount in zip(*of_row, strict=True)
            if amount != 0
        ]
        for of_row in zip(order.tolist(), values.tolist(), amounts.tolist(), strict=True)
    ]


def _field(tag: bytes, body: bytes) -> bytes:
    return b"".join((tag, _varint(len(body)), body))


def _varint(value: int) -> bytes:
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
