"""Answers for many stored entities straight as the contract's bytes.

Building a message field by field costs some forty microseconds a row in Python, more than the trees. Most of an
answer depends on the stored days alone (metrics, the rule's tier, the date): its bytes are made once for each entity
and kept beside the standing. What the model says has a fixed layout and is written for all rows at once by numpy.
Protobuf lets the fields of a message come in any order and from several pieces
(https://protobuf.dev/programming-guides/encoding/#last-one-wins), so the pieces are joined, and parsed again by its
own compiled code. A test holds the result equal to that of `converters.Teller`.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import numpy as np
from adsml.classifier.v1 import classifier_service_pb2 as pb
from adsml.common.v1 import entity_pb2
from adsml_common.domain.degradation import Degradation
from adsml_common.registry.models import ModelVersion
from adsml_common.serving.convert import day_message, degradation_message

from adsml_classifier import converters, rule
from adsml_classifier.answering import Scored
from adsml_classifier.converters import TIER_NUMBERS
from adsml_classifier.panel import IntArray
from adsml_classifier.rule import TIERS
from adsml_classifier.standing import Standing

# Tags, (field number << 3) | wire type, of the contract's messages.
_RESULT: Final = b"\x0a"  # ClassifyEntitiesResponse.results
_CLASSIFICATION: Final = b"\x12"  # ClassifyEntitiesResult.classification
_TIER, _CONFIDENCE, _PROBABILITIES = 0x08, 0x11, 0x1A  # Classification
_ONE_TIER, _ONE_PROBABILITY = 0x08, 0x11  # TierProbability
_ONE: Final = np.dtype(
    [
        ("tag", "u1"),
        ("length", "u1"),
        ("tier_tag", "u1"),
        ("tier", "u1"),
        ("value_tag", "u1"),
        ("value", "<f8"),
    ]
)
_SAID: Final = np.dtype(
    [("tier_tag", "u1"), ("tier", "u1"), ("value_tag", "u1"), ("value", "<f8"), ("each", _ONE, len(TIERS))]
)
_NUMBERS: Final = np.array([TIER_NUMBERS[tier] for tier in TIERS], dtype=np.uint8)


def stored_results(
    standing: Standing,
    refs: Sequence[entity_pb2.EntityRef],
    rows: IntArray,
    scored: Scored,
    *,
    version: ModelVersion,
    degradations: Sequence[Degradation],
) -> list[bytes]:
    """The results of a batch, each as `framed` makes them.

    Parameters
    ----------
    standing
        The account as of the day.
    refs, rows
        The entities as the caller names them, and their rows in `standing`.
    scored
        What the model says of these rows.
    version, degradations
        What answered, and what it had to do without.
    """
    shared = pb.Classification(
        answered_by=converters.by_model(version, transferred=False),
        degradations=[degradation_message(one) for one in degradations],
    ).SerializeToString()
    said = _said(scored)
    size = _SAID.itemsize
    out = []
    for place, (ref, row) in enumerate(zip(refs, rows.tolist(), strict=True)):
        kept = standing.words.get(row)
        if kept is None:
            kept = standing.words[row] = _of_the_days(standing, ref, row)
        entity, constant = kept
        told = scored.contributions[place]
        why = converters.contributions(told).SerializeToString() if told else b""
        body = b"".join((said[place * size : (place + 1) * size], constant, shared, why))
        out.append(_length(_RESULT, b"".join((entity, _CLASSIFICATION, _varint(len(body)), body))))
    return out


def framed(result: pb.ClassifyEntitiesResult) -> bytes:
    """A result as one of those that a response is made of."""
    return _length(_RESULT, result.SerializeToString())


def response(results: Sequence[bytes]) -> pb.ClassifyEntitiesResponse:
    """The response made of framed results."""
    return pb.ClassifyEntitiesResponse.FromString(b"".join(results))


def _said(scored: Scored) -> bytes:
    """Tier, confidence and probabilities of every row, `_SAID.itemsize` bytes each."""
    said = np.zeros(len(scored.best), dtype=_SAID)
    said["tier_tag"], said["value_tag"] = _TIER, _CONFIDENCE
    said["tier"] = _NUMBERS[scored.best]
    said["value"] = scored.probabilities[np.arange(len(scored.best)), scored.best]
    each = said["each"]
    each["tag"], each["length"] = _PROBABILITIES, _ONE.itemsize - 2
    each["tier_tag"], each["value_tag"] = _ONE_TIER, _ONE_PROBABILITY
    each["tier"] = _NUMBERS
    each["value"] = scored.probabilities
    return said.tobytes()


def _of_the_days(standing: Standing, ref: entity_pb2.EntityRef, row: int) -> tuple[bytes, bytes]:
    """The entity, and what is said of it whatever the model."""
    first = day_message(standing.as_of - timedelta(days=rule.DAYS - 1))
    last = day_message(standing.as_of)
    [week] = standing.weeks(np.array([row]))
    days = pb.Classification(metrics=converters.metrics(week, first, last), as_of_date=last)
    if standing.comparable:
        days.rule_tier = TIER_NUMBERS[TIERS[int(standing.rule_tier[row])]]
    return pb.ClassifyEntitiesResult(entity=ref).SerializeToString(), days.SerializeToString()


def _length(tag: bytes, body: bytes) -> bytes:
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
