"""ImpactService: what changes did, by the contract's requests and responses."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta

from adsml.common.v1 import entity_pb2
from adsml.impact.v1 import impact_service_pb2 as pb
from adsml_common.domain.changes import ChangeEvent, ChangeType
from adsml_common.domain.degradation import Degradation, DegradationReason, Dependency
from adsml_common.domain.entities import EntityType
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
from adsml_common.serving.messages import (
    CHANGE_TYPE,
    ENTITY_TYPE,
    degradation_message,
    entity_ref,
    optional_day,
)
from adsml_common.serving.validation import entry_violations

from adsml_impact import decoding, encoding
from adsml_impact.account_data import StoredAccounts, days_back, require
from adsml_impact.analysis.change import analyse, estimate_detectable
from adsml_impact.analysis.plan import LABELS, PRIMARY
from adsml_impact.analysis.query import AccountData, ImpactQuery, Options
from adsml_impact.analysis.summary import AnalysedChange, summarise
from adsml_impact.analysis.tree import Tree
from adsml_impact.decoding import PanelEntities

MOST_SUMMARISED = 1000
"""Changes of one summary; the newest are taken."""
_DIRECTIONS = {pb.BUDGET_DIRECTION_RAISE: 1, pb.BUDGET_DIRECTION_CUT: -1}
_Shared = dict[tuple[int, int], AccountData | AdsmlError]
"""What was read once for several changes of an account and level, or why it was not."""


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
        item = self._resolved(pb.AnalyzeImpactItem(panel=request.panel, change=request.change), "")
        return pb.AnalyzeImpactResponse(report=self._report(item, request.options, "", context))

    def BatchAnalyzeImpact(
        self, request: pb.BatchAnalyzeImpactRequest, context: CallContext
    ) -> pb.BatchAnalyzeImpactResponse:
        """Many changes: one read per account and level, one result per change."""
        options = request.options if request.HasField("options") else pb.ImpactOptions(omit_series=True)
        wrong = entry_violations(request.items, "items")
        items: list[pb.AnalyzeImpactItem | AdsmlError] = []
        for index, item in enumerate(request.items):
            try:
                if index in wrong:
                    raise InvalidInput(wrong[index])
                items.append(self._resolved(item, f"items[{index}]."))
            except AdsmlError as error:
                items.append(error)
        shared = self._read_together(
            [item for item in items if isinstance(item, pb.AnalyzeImpactItem)], options
        )
        response = pb.BatchAnalyzeImpactResponse()
        for index, resolved in enumerate(items):
            context.check_cancelled()
            result = response.results.add(treated=_treated(request.items[index]))
            try:
                if isinstance(resolved, AdsmlError):
                    raise resolved
                result.report.CopyFrom(self._report(resolved, options, f"items[{index}].", context, shared))
            except (Cancelled, DeadlineExceeded):
                raise  # nobody waits for the rest
            except AdsmlError as error:
                result.error.CopyFrom(status_of(error))
        return response

    def EstimateDetectableEffect(
        self, request: pb.EstimateDetectableEffectRequest, context: CallContext
    ) -> pb.EstimateDetectableEffectResponse:
        """What a window could show."""
        chosen = self._options(request.options, request.panel)
        when = decoding.change_day(request.change, "change")
        entities, data = self._panel(request.panel, "panel", chosen, when)
        report = estimate_detectable(
            decoding.query(entities, request.change, chosen, "change"),
            data,
            power=number(request, "power"),
            target=request.target_relative or None,
            checkpoint=context.check_cancelled,
        )
        response = encoding.detectable_message(report)
        response.degradations.extend(map(degradation_message, data.degradations))
        return response

    def SummarizeChanges(
        self, request: pb.SummarizeChangesRequest, context: CallContext
    ) -> pb.SummarizeChangesResponse:
        """What changes of one kind do in one or several accounts."""
        for config_id in request.config_ids:
            context.check_config(config_id)
        kind = CHANGE_TYPE.from_wire(request.change_type, "change_type")
        options = decoding.options(
            request.options, attribution_lag_days=self._lag, equivalence_margin=self._margin
        )
        metric = options.primary_metric or PRIMARY[kind]
        chosen = replace(options, metrics=(metric,), primary_metric=metric, with_series=False)
        mixed = request.budget_direction == pb.BUDGET_DIRECTION_UNSPECIFIED
        analysed: list[AnalysedChange] = []
        skipped: list[tuple[ChangeEvent, str]] = []
        events = self._changes_of(request, kind)
        for (config_id, entity_type), together in _by_level(events).items():
            first = min(event.date for event in together)
            data = self._accounts.read(
                config_id, entity_type, named=(), since=first - timedelta(days=days_back(chosen))
            )
            for event in together:
                context.check_cancelled()
                direction = _direction(event)
                if kind is ChangeType.BUDGET_CHANGE and not direction:
                    skipped.append((event, "the budgets before and after are not recorded, or are the same"))
                    continue
                if not mixed and direction != _DIRECTIONS[request.budget_direction]:
                    continue
                try:
                    report = analyse(_query(event, chosen), data)
                except AdsmlError as error:
                    skipped.append((event, str(error)))
                    continue
                if report.primary_metric is not metric:
                    reason = (
                        f"no {report.primary_metric} came after it, so that {LABELS[metric]} has no value"
                    )
                    skipped.append((event, reason))
                    continue
                analysed.append(AnalysedChange(event, report, turned=mixed and direction < 0))
        if not analysed:
            raise FailedPrecondition(_nothing_to_pool(kind, skipped))
        alpha, margin = chosen.alpha, chosen.equivalence_margin
        return encoding.summary_message(
            summarise(analysed, skipped, change_type=kind, alpha=alpha, margin=margin)
        )

    def _changes_of(self, request: pb.SummarizeChangesRequest, kind: ChangeType) -> list[ChangeEvent]:
        """Recorded changes that a summary is about, the newest `MOST_SUMMARISED`."""
        first = optional_day(request, "first_date", "first_date")
        last = optional_day(request, "last_date", "last_date")
        level = ENTITY_TYPE.find(request.entity_type)
        events = [
            event
            for config_id in request.config_ids
            for event in self._accounts.changes(config_id, first, last)
            if event.change_type is kind and (level is None or event.entity.entity_type is level)
        ]
        return sorted(events, key=lambda event: event.date)[-MOST_SUMMARISED:]

    def _resolved(self, item: pb.AnalyzeImpactItem, path: str) -> pb.AnalyzeImpactItem:
        """An item whose change is dated: by itself, or by the change log."""
        if item.change.HasField("date"):
            return item
        if item.panel.WhichOneof("source") == "inline":
            raise InvalidInput.at(f"{path}change.date", "is not set; expected the first day of the change")
        ref = entity_ref(item.panel.stored.treated[0], f"{path}panel.stored.treated[0]")
        kind = CHANGE_TYPE.find(item.change.change_type)
        events = [
            event
            for event in self._accounts.changes(ref.config_id, None, None)
            if event.entity == ref and kind in (None, event.change_type)
        ]
        if not events:
            what = "change" if kind is None else kind.replace("_", " ")
            raise NotFound(f"no {what} of {ref} is recorded; name its day and type")
        return pb.AnalyzeImpactItem(panel=item.panel, change=encoding.change_message(events[-1]))

    def _report(
        self,
        item: pb.AnalyzeImpactItem,
        options: pb.ImpactOptions,
        path: str,
        context: CallContext,
        shared: _Shared | None = None,
    ) -> pb.ImpactReport:
        chosen = self._options(options, item.panel)
        when = decoding.change_day(item.change, f"{path}change")
        entities, data = self._panel(item.panel, f"{path}panel", chosen, when, shared or {})
        change = decoding.with_amounts(item.change, entities, data, f"{path}change")
        report = analyse(
            decoding.query(entities, change, chosen, f"{path}change"),
            data,
            checkpoint=context.check_cancelled,
        )
        message = encoding.report_message(report, entities, change)
        message.currency_code = data.currency_code
        message.degradations.extend(map(degradation_message, data.degradations))
        return message

    def _options(self, message: pb.ImpactOptions, panel: pb.Panel) -> Options:
        stored = panel.WhichOneof("source") == "stored"
        return decoding.options(
            message,
            attribution_lag_days=self._lag if stored else 0,
            equivalence_margin=self._margin,
        )

    def _panel(
        self,
        panel: pb.Panel,
        path: str,
        chosen: Options,
        when: date | None,
        shared: _Shared | None = None,
    ) -> tuple[PanelEntities, AccountData]:
        if panel.WhichOneof("source") == "inline":
            entities, sent = decoding.inline_panel(panel.inline, f"{path}.inline")
            return entities, self._with_stored_tree(entities, sent)
        entities = decoding.stored_panel(panel.stored, f"{path}.stored")
        named = (*entities.treated, *entities.controls)
        first = panel.stored.treated[0]
        data = (shared or {}).get((first.config_id, first.entity_type))
        if isinstance(data, AdsmlError):
            raise data
        if data is None:
            since = None if when is None else when - timedelta(days=days_back(chosen))
            data = self._accounts.read(entities.config_id, entities.entity_type, named=named, since=since)
        else:
            require(data.tree.relations, entities.config_id, entities.entity_type, named)
        return entities, data

    def _with_stored_tree(self, entities: PanelEntities, data: AccountData) -> AccountData:
        """Rows that name their account: its stored tree, changes and completion count, as for stored rows."""
        if not entities.config_id:
            return data
        try:
            stored = self._accounts.tree(entities.config_id)
            completion = self._accounts.completion(entities.config_id)
            currency_code = self._accounts.currency_code(entities.config_id)
        except Unavailable as error:
            skipped = Degradation(Dependency.CHANGE_EVENTS, DegradationReason.UNAVAILABLE, str(error))
            return replace(data, degradations=(skipped,))
        known = set(map(_key, stored.events))
        events = [*stored.events, *(event for event in data.tree.events if _key(event) not in known)]
        tree = Tree(stored.relations, events)
        return replace(data, tree=tree, completion=completion, currency_code=currency_code)

    def _read_together(self, items: Sequence[pb.AnalyzeImpactItem], options: pb.ImpactOptions) -> _Shared:
        """Everything that the stored changes of each account and level need, in one read; or why there is none."""
        together: defaultdict[tuple[int, int], list[pb.AnalyzeImpactItem]] = defaultdict(list)
        for item in items:
            if item.panel.WhichOneof("source") == "stored":
                first = item.panel.stored.treated[0]
                together[first.config_id, first.entity_type].append(item)
        out: _Shared = {}
        for (config_id, level), group in together.items():
            back = timedelta(days=days_back(self._options(options, group[0].panel)))
            days = [decoding.change_day(item.change, "change") for item in group]
            try:
                out[config_id, level] = self._accounts.read(
                    config_id,
                    ENTITY_TYPE.from_wire(level, "entity_type"),
                    named=(),
                    since=min(day for day in days if day is not None) - back,
                )
            except AdsmlError as error:
                out[config_id, level] = error
        return out


def _key(event: ChangeEvent) -> tuple[str, str, date]:
    return event.entity.entity_id, event.change_type, event.date


def _by_level(events: Sequence[ChangeEvent]) -> dict[tuple[int, EntityType], list[ChangeEvent]]:
    out: defaultdict[tuple[int, EntityType], list[ChangeEvent]] = defaultdict(list)
    for event in events:
        out[event.entity.config_id, event.entity.entity_type].append(event)
    return out


def _direction(event: ChangeEvent) -> int:
    """1 for a raised budget, -1 for one that was cut, 0 where that is not known."""
    before, after = decoding.amounts(event)
    return 0 if before is None or after is None else (after > before) - (after < before)


def _query(event: ChangeEvent, chosen: Options) -> ImpactQuery:
    before, after = decoding.amounts(event)
    return ImpactQuery(
        treated=(event.entity.entity_id,),
        entity_type=event.entity.entity_type,
        change_type=event.change_type,
        day=event.date,
        value_before=before,
        value_after=after,
        options=chosen,
    )


def _nothing_to_pool(kind: ChangeType, skipped: Sequence[tuple[ChangeEvent, str]]) -> str:
    what = kind.replace("_", " ")
    if not skipped:
        return f"no {what} is recorded that fits what was asked for; load the change log with adsml changes import"
    event, reason = skipped[-1]
    last = f"{event.entity} on {event.date}: {reason}"
    return f"none of {len(skipped)} {what}s could be analysed; the last one, of {last}"


def _treated(item: pb.AnalyzeImpactItem) -> list[entity_pb2.EntityRef]:
    panel = item.panel
    if panel.WhichOneof("source") == "stored":
        return list(panel.stored.treated)
    return [
        entity_pb2.EntityRef(config_id=one.config_id, entity_type=one.entity_type, entity_id=one.entity_id)
        for one in panel.inline.treated
    ]
