"""What is said of an account's entities: made in one pass, encoded once, kept until rows, model or options change."""

import threading
from collections.abc import Sequence
from typing import Any, Final

from adsml.common.v1 import entity_pb2
from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import AdsmlError, FailedPrecondition, NotFound
from adsml_common.serving.messages import ENTITY_TYPE

from adsml_classifier.encoding import ResponseBuilder, encode_response
from adsml_classifier.models.snapshot import AccountSnapshot

LEVELS: Final = {ENTITY_TYPE.to_wire(level): level.value for level in EntityType}
"""Names of the contract's levels, by their numbers."""
NUMBERS: Final[dict[str, Any]] = {level: number for number, level in LEVELS.items()}


class AccountAnswers:
    """Answers for the entities of one account as of one day, by one model with one set of options; threads share it.

    `cached`: the first question answers for all entities, and others are looked up; else the model runs for each.
    """

    def __init__(self, snapshot: AccountSnapshot, builder: ResponseBuilder, *, cached: bool) -> None:
        self.snapshot = snapshot
        self.degradations = builder.degradations
        self.explains = builder.explains
        self._builder = builder
        self._cached = cached
        self._lock = threading.Lock()
        self._results: dict[
            int, tuple[bytes, int]
        ] = {}  # and how long the classification is, with which it ends
        self._responses: dict[int, bytes] = {}
        self._rows: dict[tuple[int, str], int] = {}
        if snapshot.comparable or builder.by_model:
            delivered = snapshot.delivered.tolist()
            rows = snapshot.rows.items()
            self._rows = {(NUMBERS[level], name): row for (level, name), row in rows if delivered[row]}

    @property
    def filled(self) -> bool:
        """Whether every answer is a look-up."""
        return bool(self._results)

    def row(self, ref: entity_pb2.EntityRef) -> int | None:
        """The row of an entity that can be answered; None for any other, see `error`."""
        return self._rows.get((ref.entity_type, ref.entity_id))

    def error(self, ref: entity_pb2.EntityRef, *, called: str, known: bool) -> AdsmlError:
        """Why there is no answer for an entity that the caller knows as `called`.

        `known` says whether it exists, with rows in the days looked at or without.
        """
        level, as_of = LEVELS.get(ref.entity_type, ""), self.snapshot.as_of
        row = self.snapshot.rows.get((level, ref.entity_id))
        if row is None and not known:
            return NotFound(f"{level} {called} is not known, or has no daily rows in the days looked at")
        if row is not None and self.snapshot.delivered[row]:
            return FailedPrecondition(
                f"{level} {called} has no model and no account to compare with: send account_rows, or the config_id of "
                "a stored account"
            )
        last = None if row is None else self.snapshot.last_delivery(row)
        since = "" if last is None else f"; it stopped on {last}, {(as_of - last).days} days before"
        return FailedPrecondition(
            f"{level} {called} had no delivery in the 7 days up to {as_of}: there is nothing to classify it by{since}",
            metadata={"days_had": "0", "days_needed": "1"},
        )

    def results(self, rows: Sequence[int]) -> list[bytes]:
        """Entity and classification of each row, each a field of `BatchClassifyResponse`."""
        if not self._cached:
            return self._builder.results(rows)
        results = self._all()
        return [results[row][0] for row in rows]

    def response(self, row: int) -> bytes:
        """The `ClassifyResponse` of one row."""
        if not self._cached:
            [classification] = self._builder.classifications([row])
            return encode_response(classification)
        response = self._responses.get(row)
        if response is None:
            result, size = self._all()[row]
            response = self._responses[row] = encode_response(result[-size:])
        return response

    def _all(self) -> dict[int, tuple[bytes, int]]:
        if not self._results:
            with self._lock:
                if not self._results:
                    rows, builder = list(self._rows.values()), self._builder
                    made = zip(rows, builder.classifications(rows), strict=True)
                    self._results = {row: (builder.result(row, one), len(one)) for row, one in made}
        return self._results
