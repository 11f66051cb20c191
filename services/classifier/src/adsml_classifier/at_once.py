"""Stored entities whose account, day and model are in memory, answered for many callers in one pass of the model."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from adsml.classifier.v1 import classifier_service_pb2 as pb
from adsml.common.v1 import entity_pb2
from adsml_common.registry.loader import ModelLoader
from adsml_common.serving.context import CallContext
from adsml_common.serving.serialized import SerializedResponse

from adsml_classifier import converters
from adsml_classifier.account_data import AccountData
from adsml_classifier.model_files import StoredModel
from adsml_classifier.naming import account_model
from adsml_classifier.rule import RuleSettings
from adsml_classifier.wire import StoredAnswers

MOST_WORK: Final = 256
"""Rows that the model runs for in one turn of the event loop: about a millisecond."""
_REASONS_COST: Final = 64

Response = SerializedResponse[pb.ClassifyEntitiesResponse]


@dataclass(slots=True)
class _Group:
    """Calls that one pass of the model answers."""

    answers: StoredAnswers
    contributions: int
    calls: list[tuple[int, int]] = field(default_factory=list)
    refs: list[entity_pb2.EntityRef] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)

    def take(self, number: int, refs: Sequence[entity_pb2.EntityRef], rows: Sequence[int]) -> None:
        """Take a call in."""
        self.calls.append((number, len(rows)))
        self.refs.extend(refs)
        self.rows.extend(rows)

    def answer(self, out: list[Response | None], *, keep: bool) -> None:
        """Put down the answers."""
        results = self.answers.results(self.refs, self.rows, contributions=self.contributions, keep=keep)
        start = 0
        for number, count in self.calls:
            end = start + count
            degradations = self.answers.degradations * count
            out[number] = SerializedResponse(
                pb.ClassifyEntitiesResponse, b"".join(results[start:end]), degradations
            )
            start = end


class ClassifyAtOnce:
    """The second way of `ClassifyEntities` (`adsml_common.serving.micro_batcher`): only what memory holds.

    Parameters
    ----------
    accounts, models
        Those of the servicer.
    lag
        Trailing days that are still filling up.
    keep_answers
        Whether answers are kept.
    rule
        The rule's thresholds.
    """

    def __init__(
        self,
        accounts: AccountData,
        models: ModelLoader[StoredModel],
        *,
        lag: timedelta,
        keep_answers: bool,
        rule: RuleSettings,
    ) -> None:
        self._accounts = accounts
        self._models = models
        self._lag = lag
        self._keep = keep_answers
        self._rule = rule

    def __call__(
        self, calls: Sequence[tuple[pb.ClassifyEntitiesRequest, CallContext]]
    ) -> Sequence[Response | None]:
        """Answers in order; None for what needs more than memory, or has anything wrong with it."""
        out: list[Response | None] = [None] * len(calls)
        groups: dict[tuple[int, bytes], _Group | None] = {}
        work = 0
        for number, (request, _) in enumerate(calls):
            refs = [subject.entity for subject in request.subjects]
            config_ids = {ref.config_id for ref in refs}
            if len(config_ids) != 1:
                continue
            [config_id] = config_ids
            key = (config_id, request.options.SerializeToString(deterministic=True))
            if key not in groups:
                groups[key], due = self._group(config_id, converters.options(request.options))
                if due:
                    # This call asks the store whether the rows have changed; the others need not wait for it.
                    continue
            group = groups[key]
            if group is None:
                continue
            rows = [row for ref in refs if (row := group.answers.row(ref)) is not None]
            if len(rows) < len(refs):
                continue
            mine = self._work(group, rows)
            if mine and work + mine > MOST_WORK:
                continue
            work += mine
            group.take(number, refs, rows)
        for group in groups.values():
            if group is not None and group.calls:
                group.answer(out, keep=self._keep)
        return out

    def _work(self, group: _Group, rows: Sequence[int]) -> int:
        """Rows that the model has to run for, those with reasons by what they cost more."""
        count = len(rows)
        if self._keep:
            count = group.answers.missing(rows, contributions=group.contributions)
        return count * (_REASONS_COST if group.contributions else 1)

    def _group(self, config_id: int, options: converters.Options) -> tuple[_Group | None, bool]:
        """What answers these calls, None where memory does not hold it all; and whether it is time to ask the store."""
        found = self._accounts.peek(config_id)
        if found is None or options.rules_only:
            return None, False
        days, due = found
        as_of = options.as_of or days.last - self._lag
        if not days.covers(as_of):
            return None, False
        standing = days.peek(as_of, self._rule)
        loaded = self._models.peek(account_model(config_id))
        if standing is None or loaded is None:
            return None, False
        answers = StoredAnswers.peek(standing, loaded)
        if answers is None:
            return None, False
        return _Group(answers, options.contributions), due
