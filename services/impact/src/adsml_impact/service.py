"""ImpactService: what changes did, by the contract's requests and responses."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date

from adsml.common.v1 import entity_pb2
from adsml.impact.v1 import impact_service_pb2 as pb
from adsml_common.domain.changes import ChangeEvent, ChangeType
from adsml_common.domain.degradation import Degradation, DegradationReason, Dependency
from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.domain.errors import (
    AdsmlError,
    Cancelled,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidInput,
    NotFound,
    Unavailable,
)
from adsml_common.serving.context import CallContext
from adsml_common.serving.contract_rules import number
from adsml_common.serving.errors import status_of
from adsml_common.serving.messages import CHANGE_TYPE, ENTITY_TYPE, entity_ref, optional_day
from adsml_common.serving.validation import entry_violations

from adsml_impact import decoding, encoding
from adsml_impact.account_data import StoredAccounts, days_back
from adsml_impact.analysis.change import analyse, estimate_detectable
from adsml_impact.analysis.plan import LABELS, PRIMARY
from adsml_impact.analysis.query import AccountData, ImpactQuery, Options
from adsml_impact.analysis.summary import AnalysedChange, summarise
from adsml_impact.analysis.tree import Tree

MOST_SUMMARISED = 1000
"""Changes of one summary; the newest are taken."""
_DIRECTIONS = {pb.BUDGET_DIRECTION_RAISE: 1, pb.BUDGET_DIRECTION_CUT: -1}
_Question = tuple[ImpactQuery, AccountData | None]
"""A query, and the data that came with it; None where they are stored."""
_Stored = dict[tuple[int, EntityType], AccountData | AdsmlError]
"""What was read for an account and level, or why it was not."""


class ImpactService:
    """Answers from the store or from rows sent along; nothing is trained beforehand.

    `attribution_lag_days` (of stored entities) and `equivalence_margin` hold where a request does not say.
    """

    def __init__(
        self, accounts: StoredAccounts, *, attribution_lag_days: int = 2, equivalence_margin: float = 0.2
    ) -> None:
        self._accounts = accounts
        self._lag = attribution_lag_days
        self._margin = equivalence_margin

    def AnalyzeImpact(
        self, request: pb.AnalyzeImpactRequest, context: CallContext
    ) -> pb.AnalyzeImpactResponse:
        """One change."""
        item = self._resolve_change(pb.AnalyzeImpactItem(panel=request.panel, change=request.change), "")
        query, data = self._load(item, request.options)
        return pb.AnalyzeImpactResponse(
            report=analyse(query, data, checkpoint=context.check_cancelled).report
        )

    def BatchAnalyzeImpact(
        self, request: pb.BatchAnalyzeImpactRequest, context: CallContext
    ) -> pb.BatchAnalyzeImpactResponse:
        """Many changes: one read per account and level, one result per change."""
        options = request.options if request.HasField("options") else pb.ImpactOptions(omit_series=True)
        wrong = entry_violations(request.items, "items")
        questions: list[_Question | AdsmlError] = []
        for index, item in enumerate(request.items):
            path = f"items[{index}]."
            try:
                if index in wrong:
                    raise InvalidInput(wrong[index])
                questions.append(self._question(self._resolve_change(item, path), options, path))
            except AdsmlError as error:
                questions.append(error)
        stored = self._read(one for one in questions if not isinstance(one, AdsmlError))
        response = pb.BatchAnalyzeImpactResponse()
        for item, question in zip(request.items, questions, strict=True):
            context.check_cancelled()
            result = response.results.add(treated=_treated(item.panel))
            try:
                if isinstance(question, AdsmlError):
                    raise question
                query, data = self._with_data(*question, stored)
                result.report.CopyFrom(analyse(query, data, checkpoint=context.check_cancelled).report)
            except (Cancelled, DeadlineExceeded):
                raise  # nobody waits for the rest
            except AdsmlError as error:
                result.error.CopyFrom(status_of(error))
        return response

    def EstimateDetectableEffect(
        self, request: pb.EstimateDetectableEffectRequest, context: CallContext
    ) -> pb.EstimateDetectableEffectResponse:
        """What a window could show."""
        item = pb.AnalyzeImpactItem(panel=request.panel, change=request.change)
        query, data = self._load(item, request.options)
        return estimate_detectable(
            query,
            data,
            power=number(request, "power"),
            target=request.target_relative or None,
            checkpoint=context.check_cancelled,
        )

    def SummarizeChanges(
        self, request: pb.SummarizeChangesRequest, context: CallContext
    ) -> pb.SummarizeChangesResponse:
        """What changes of one kind do in one or several accounts."""
        for config_id in request.config_ids:
            context.check_config(config_id)
        kind = CHANGE_TYPE.from_wire(request.change_type, "change_type")
        options = self._options(request.options, stored=True)
        metric = options.primary_metric or PRIMARY[kind]
        chosen = replace(options, metrics=(metric,), primary_metric=metric, with_series=False)
        mixed = request.budget_direction == pb.BUDGET_DIRECTION_UNSPECIFIED
        analysed: list[AnalysedChange] = []
        skipped: list[tuple[ChangeEvent, str]] = []
        for (config_id, entity_type), events in self._changes_of(request, kind).items():
            since = min(event.date for event in events) - days_back(chosen)
            data = self._accounts.read(config_id, entity_type, since=since)
            for event in events:
                context.check_cancelled()
                direction = _direction(event)
                if kind is ChangeType.BUDGET_CHANGE and not direction:
                    skipped.append((event, "the budgets before and after are not recorded, or are the same"))
                    continue
                if not mixed and direction != _DIRECTIONS[request.budget_direction]:
                    continue
                try:
                    query, _ = decoding.query(encoding.item_message(event), chosen, "")
                    analysis = analyse(query, data)
                except AdsmlError as error:
                    skipped.append((event, str(error)))
                    continue
                if analysis.metric is not metric:
                    reason = f"no {analysis.metric} came after it, so that {LABELS[metric]} has no value"
                    skipped.append((event, reason))
                    continue
                analysed.append(AnalysedChange(event, analysis, -1.0 if mixed and direction < 0 else 1.0))
        if not analysed:
            raise FailedPrecondition(_nothing_to_pool(kind, skipped))
        alpha, margin = chosen.alpha, chosen.equivalence_margin
        return summarise(analysed, skipped, change_type=kind, alpha=alpha, margin=margin)

    def _changes_of(
        self, request: pb.SummarizeChangesRequest, kind: ChangeType
    ) -> dict[tuple[int, EntityType], list[ChangeEvent]]:
        """Recorded changes that a summary is about, the newest `MOST_SUMMARISED`, by account and level."""
        first = optional_day(request, "first_date", "first_date")
        last = optional_day(request, "last_date", "last_date")
        level = ENTITY_TYPE.find(request.entity_type)
        events = [
            event
            for config_id in request.config_ids
            for event in self._accounts.changes(config_id, first, last)
            if event.change_type is kind and (level is None or event.entity.entity_type is level)
        ]
        out: defaultdict[tuple[int, EntityType], list[ChangeEvent]] = defaultdict(list)
        for event in sorted(events, key=lambda event: event.date)[-MOST_SUMMARISED:]:
            out[event.entity.config_id, event.entity.entity_type].append(event)
        return out

    def _resolve_change(self, item: pb.AnalyzeImpactItem, path: str) -> pb.AnalyzeImpactItem:
        """An item whose change is dated: by itself, or by the change log."""
        if item.change.HasField("date"):
            return item
        if item.panel.WhichOneof("source") == "inline":
            raise InvalidInput.at(f"{path}change.date", "is not set; expected the first day of the change")
        ref = entity_ref(item.panel.stored.treated[0], f"{path}panel.stored.treated[0]")
        kind = CHANGE_TYPE.find(item.change.change_type)
        events = [
            event
            for event in self._accounts.changes(ref.config_id)
            if event.entity == ref and kind in (None, event.change_type)
        ]
        if not events:
            what = "change" if kind is None else kind.replace("_", " ")
            raise NotFound(f"no {what} of {ref} is recorded; name its day and type")
        return pb.AnalyzeImpactItem(panel=item.panel, change=encoding.change_message(events[-1]))

    def _options(self, message: pb.ImpactOptions, *, stored: bool) -> Options:
        lag = self._lag if stored else 0
        return decoding.options(message, attribution_lag_days=lag, equivalence_margin=self._margin)

    def _question(self, item: pb.AnalyzeImpactItem, options: pb.ImpactOptions, path: str) -> _Question:
        chosen = self._options(options, stored=item.panel.WhichOneof("source") == "stored")
        return decoding.query(item, chosen, path)

    def _load(self, item: pb.AnalyzeImpactItem, options: pb.ImpactOptions) -> tuple[ImpactQuery, AccountData]:
        """A question by itself, with its data."""
        question = self._question(item, options, "")
        return self._with_data(*question, self._read([question]))

    def _read(self, questions: Iterable[_Question]) -> _Stored:
        """Everything that the changes of each stored account and level need, in one read."""
        together: defaultdict[tuple[int, EntityType], list[ImpactQuery]] = defaultdict(list)
        for query, sent in questions:
            if sent is None:
                together[query.config_id, query.entity_type].append(query)
        out: _Stored = {}
        for (config_id, level), group in together.items():
            days = [query.day or date.min for query in group]
            since = None if date.min in days else min(days) - days_back(group[0].options)
            try:
                out[config_id, level] = self._accounts.read(config_id, level, since=since)
            except AdsmlError as error:
                out[config_id, level] = error
        return out

    def _with_data(
        self, query: ImpactQuery, sent: AccountData | None, stored: _Stored
    ) -> tuple[ImpactQuery, AccountData]:
        if sent is not None:
            data = self._with_stored_tree(query.config_id, sent)
            return decoding.with_amounts(query, data), data
        account = stored[query.config_id, query.entity_type]
        if isinstance(account, AdsmlError):
            raise account
        for name in (*query.treated, *query.controls):
            if (query.entity_type, name) not in account.tree.relations:
                raise NotFound(f"there is no {EntityRef(query.config_id, query.entity_type, name)}")
        return decoding.with_amounts(query, account), account

    def _with_stored_tree(self, config_id: int, data: AccountData) -> AccountData:
        """Rows that name their account: its stored tree, changes and completion count, as for stored rows."""
        if not config_id:
            return data
        try:
            stored = self._accounts.account(config_id)
        except Unavailable as error:
            skipped = Degradation(Dependency.CHANGE_EVENTS, DegradationReason.UNAVAILABLE, str(error))
            return replace(data, degradations=(skipped,))
        known = set(map(_key, stored.tree.events))
        events = [*stored.tree.events, *(event for event in data.tree.events if _key(event) not in known)]
        return replace(
            data,
            tree=Tree(stored.tree.relations, events),
            completion=stored.completion,
            currency_code=stored.currency_code,
        )


def _key(event: ChangeEvent) -> tuple[str, str, date]:
    return event.entity.entity_id, event.change_type, event.date


def _direction(event: ChangeEvent) -> int:
    """1 for a raised budget, -1 for one that was cut, 0 where that is not known."""
    before, after = encoding.amounts(event)
    return 0 if before is None or after is None else (after > before) - (after < before)


def _nothing_to_pool(kind: ChangeType, skipped: Sequence[tuple[ChangeEvent, str]]) -> str:
    what = kind.replace("_", " ")
    if not skipped:
        return f"no {what} is recorded that fits what was asked for; load the change log with adsml changes import"
    event, reason = skipped[-1]
    last = f"{event.entity} on {event.date}: {reason}"
    return f"none of {len(skipped)} {what}s could be analysed; the last one, of {last}"


def _treated(panel: pb.Panel) -> list[entity_pb2.EntityRef]:
    """Who was changed, as named in a request."""
    return [*panel.stored.treated, *map(decoding.series_ref, panel.inline.treated)]
