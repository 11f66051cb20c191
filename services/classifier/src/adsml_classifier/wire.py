"""Answers for many stored entities straight as the contract's bytes.

Building a message field by field costs some forty microseconds a row in Python, more than the trees. Most of an
answer depends on the stored days and the model's version alone (metrics, the rule's tier, the date): its bytes are
made once for each entity and kept beside the standing. What the model says has a fixed layout and is written for all
rows at once by numpy. A whole result is kept too, as long as neither a row of the account nor its model changes: the
same question again costs a look into a dictionary. Protobuf lets the fields of a message come in any order and from
several pieces (https://protobuf.dev/programming-guides/encoding/#last-one-wins), so the pieces are joined and sent
as they are. A test holds the result equal to that of `converters.Teller`.
"""

import struct
from collections.abc import Hashable, Sequence
from datetime import timedelta
from typing import Final

import numpy as np
import numpy.typing as npt
from adsml.classifier.v1 import classifier_service_pb2 as pb
from adsml.common.v1 import answer_pb2, entity_pb2
from adsml_common.domain.entities import EntityType
from adsml_common.registry.loader import Loaded
from adsml_common.serving.messages import ENTITY_TYPE, day_message, degradation_message
from adsml_common.serving.serialized import SerializedResponse

from adsml_classifier import converters, rule
from adsml_classifier.answering import Scored, score
from adsml_classifier.converters import TIER_NUMBERS
from adsml_classifier.model_files import StoredModel
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
_VERSIONS_KEPT: Final = 4
_RESULTS_KEPT: Final = 20_000


def _template() -> npt.NDArray[np.void]:
    """What a model says, with every byte that is the same for all rows in place."""
    said = np.zeros(1, dtype=_SAID)
    said["tier_tag"], said["value_tag"] = _TIER, _CONFIDENCE
    each = said["each"]
    each["tag"], each["length"] = _PROBABILITIES, _ONE.itemsize - 2
    each["tier_tag"], each["value_tag"] = _ONE_TIER, _ONE_PROBABILITY
    each["tier"] = _NUMBERS
    return said


_TEMPLATE: Final = _template()
_HEAD: Final = struct.Struct("<BBBd")
_DOUBLE: Final = struct.Struct("<d")
_BEFORE_EACH: Final = tuple(
    bytes((_PROBABILITIES, _ONE.itemsize - 2, _ONE_TIER, number, _ONE_PROBABILITY)) for number in _NUMBERS
)


class StoredAnswers:
    """What is said of the entities of one account as of one day by one version of a model.

    Parameters
    ----------
    standing
        The account as of the day.
    loaded
        What answers.

    Attributes
    ----------
    degradations
        What each answer has to do without.
    """

    def __init__(self, standing: Standing, loaded: Loaded[StoredModel]) -> None:
        self._standing = standing
        self._model = loaded.model.model
        self._by = converters.by_model(loaded.version, transferred=False)
        self.degradations = [degradation_message(one) for one in loaded.degradations]
        numbers = {level.value: ENTITY_TYPE.to_wire(level) for level in EntityType}
        delivered = standing.delivered.tolist()
        self._rows = {
            (numbers[level], name): row for (level, name), row in standing.rows.items() if delivered[row]
        }
        self._pieces: dict[int, tuple[bytes, bytes]] = {}
        self._framed: dict[int, tuple[bytes, bytes]] = {}
        self._kept: dict[tuple[int, int], bytes] = {}

    @classmethod
    def of(cls, standing: Standing, loaded: Loaded[StoredModel]) -> "StoredAnswers":
        """Those kept beside the standing, made where there are none for this version of the model."""
        found = cls.peek(standing, loaded)
        if found is None:
            found = cls(standing, loaded)
            if len(standing.kept) >= _VERSIONS_KEPT:
                standing.kept.clear()
            standing.kept[_key(loaded)] = found
        return found

    @classmethod
    def peek(cls, standing: Standing, loaded: Loaded[StoredModel]) -> "StoredAnswers | None":
        """Those kept beside the standing, if any."""
        found: StoredAnswers | None = standing.kept.get(_key(loaded))
        return found

    def row(self, ref: entity_pb2.EntityRef) -> int | None:
        """Where an entity that delivered lately is in the standing; None for any other."""
        return self._rows.get((ref.entity_type, ref.entity_id))

    def results(
        self, refs: Sequence[entity_pb2.EntityRef], rows: Sequence[int], *, contributions: int, keep: bool
    ) -> list[bytes]:
        """The results of a batch, each a field of the response.

        Parameters
        ----------
        refs, rows
            The entities as the caller names them, and what `row` says of each.
        contributions
            How many to tell.
        keep
            Whether to keep results, and to give those that are kept; otherwise the model runs for every row.
        """
        if not keep:
            return self._made(refs, rows, contributions)
        kept = self._kept
        missing = [place for place, row in enumerate(rows) if (row, contributions) not in kept]
        if missing:
            made = self._made(
                [refs[place] for place in missing], [rows[place] for place in missing], contributions
            )
            if len(kept) > _RESULTS_KEPT:
                kept = self._kept = {}
            for place, one in zip(missing, made, strict=True):
                kept[rows[place], contributions] = one
            if len(missing) == len(rows):
                return made
        return [kept[row, contributions] for row in rows]

    def missing(self, rows: Sequence[int], *, contributions: int) -> int:
        """For how many rows no result is kept."""
        return sum((row, contributions) not in self._kept for row in rows)

    def _made(
        self, refs: Sequence[entity_pb2.EntityRef], rows: Sequence[int], contributions: int
    ) -> list[bytes]:
        placed = np.array(rows, dtype=np.int64)
        scored = score(self._model, self._standing, placed, most_contributions=contributions)
        said = _said(scored)
        size = _SAID.itemsize
        each = [said[at : at + size] for at in range(0, len(said), size)]
        if not any(scored.contributions):
            around = self._framed
            for row, ref in zip(rows, refs, strict=True):
                if row not in around:
                    around[row] = self._frame(row, ref)
            return [around[row][0] + one + around[row][1] for row, one in zip(rows, each, strict=True)]
        out = []
        for row, ref, one, told in zip(rows, refs, each, scored.contributions, strict=True):
            entity, constant = self._piece(row, ref)
            body = b"".join((one, constant, converters.contributions(told).SerializeToString()))
            out.append(_length(_RESULT, b"".join((entity, _CLASSIFICATION, _varint(len(body)), body))))
        return out

    def _frame(self, row: int, ref: entity_pb2.EntityRef) -> tuple[bytes, bytes]:
        """What goes before and after what the model says, where no reasons are told: lengths are known then."""
        entity, constant = self._piece(row, ref)
        inner = b"".join((entity, _CLASSIFICATION, _varint(_SAID.itemsize + len(constant))))
        length = _varint(len(inner) + _SAID.itemsize + len(constant))
        return b"".join((_RESULT, length, inner)), constant

    def _piece(self, row: int, ref: entity_pb2.EntityRef) -> tuple[bytes, bytes]:
        """The entity, and what is said of it whatever the model says."""
        found = self._pieces.get(row)
        if found is None:
            standing = self._standing
            first = day_message(standing.as_of - timedelta(days=rule.DAYS - 1))
            last = day_message(standing.as_of)
            [week] = standing.weeks(np.array([row]))
            told = pb.Classification(
                metrics=converters.metrics(week, first, last),
                as_of_date=last,
                answered_by=self._by,
                degradations=self.degradations,
            )
            if standing.comparable:
                told.rule_tier = TIER_NUMBERS[TIERS[int(standing.rule_tier[row])]]
            entity = pb.ClassifyEntitiesResult(entity=ref).SerializeToString()
            found = self._pieces[row] = entity, told.SerializeToString()
        return found


class Results:
    """The results of a batch, put down in any order.

    Parameters
    ----------
    count
        How many there will be.
    """

    def __init__(self, count: int) -> None:
        self._each = [b""] * count
        self._degradations: list[answer_pb2.Degradation] = []

    def put(self, index: int, result: pb.ClassifyEntitiesResult) -> None:
        """Put one down."""
        self._each[index] = _length(_RESULT, result.SerializeToString())
        self._degradations.extend(result.classification.degradations)

    def put_stored(
        self, indices: Sequence[int], results: Sequence[bytes], degradations: list[answer_pb2.Degradation]
    ) -> None:
        """Put down what `StoredAnswers.results` made, with the degradations that stand in each."""
        if len(indices) == len(self._each):
            # All there are, in the order of the request.
            self._each = list(results)
        else:
            for index, result in zip(indices, results, strict=True):
                self._each[index] = result
        if degradations:
            self._degradations.extend(list(degradations) * len(indices))

    def packed(self) -> SerializedResponse[pb.ClassifyEntitiesResponse]:
        """The response."""
        return SerializedResponse(pb.ClassifyEntitiesResponse, b"".join(self._each), self._degradations)


def _key(loaded: Loaded[StoredModel]) -> Hashable:
    return loaded.version.name, loaded.version.version, loaded.degradations


def _said(scored: Scored) -> bytes:
    """Tier, confidence and probabilities of every row, `_SAID.itemsize` bytes each."""
    if len(scored.best) == 1:
        # One by one is quicker for one.
        best, [each] = int(scored.best[0]), scored.probabilities.tolist()
        parts = [_HEAD.pack(_TIER, _NUMBERS[best], _CONFIDENCE, each[best])]
        parts += [before + _DOUBLE.pack(one) for before, one in zip(_BEFORE_EACH, each, strict=True)]
        return b"".join(parts)
    said = _TEMPLATE.repeat(len(scored.best))
    said["tier"] = _NUMBERS[scored.best]
    # The best is the most probable.
    said["value"] = scored.probabilities.max(axis=1)
    said["each"]["value"] = scored.probabilities
    return said.tobytes()


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
