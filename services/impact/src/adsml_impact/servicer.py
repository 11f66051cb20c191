"""ImpactService: convert, analyse, convert."""

from collections import defaultdict
from datetime import date, timedelta

from adsml.common.v1 import entity_pb2
from adsml.impact.v1 import impact_service_pb2 as pb
from adsml_common.domain.errors import AdsmlError, InvalidInput
from adsml_common.serving import validation
from adsml_common.serving.context import CallContext
from adsml_common.serving.errors import status_of

from adsml_impact import converters
from adsml_impact.account_data import StoredAccounts, days_back, require
from adsml_impact.analysis import analyse, estimate_detectable
from adsml_impact.converters import Named
from adsml_impact.query import AccountData, Options


class ImpactServicer:
    """Answers from the store or from rows sent along; nothing is trained beforehand.

    Parameters
    ----------
    accounts
        Where stored panels are read.
    attribution_lag_days
        Trailing days of stored entities to leave out, where a request does not say.
    """

    def __init__(self, accounts: StoredAccounts, *, attribution_lag_days: int = 2) -> None:
        self._accounts = accounts
        self._lag = attribution_lag_days

    def AnalyzeImpact(
        self, request: pb.AnalyzeImpactRequest, context: CallContext
    ) -> pb.AnalyzeImpactResponse:
        """One change."""
        chosen = self._options(request.options, request.panel)
        when = converters.change_day(request.change, "change")
        named, data = self._panel(request.panel, "panel", chosen, when)
        asked = converters.question(named, request.change, chosen, "change")
        report = analyse(asked, data, checkpoint=context.check_cancelled)
        return pb.AnalyzeImpactResponse(report=converters.report_message(report, named, request.change))

    def EstimateDetectableEffect(
        self, request: pb.EstimateDetectableEffectRequest, context: CallContext
    ) -> pb.EstimateDetectableEffectResponse:
        """What a window could show."""
        chosen = self._options(request.options, request.panel)
        when = converters.change_day(request.change, "change", planned=True)
        named, data = self._panel(request.panel, "panel", chosen, when)
        asked = converters.question(named, request.change, chosen, "change", planned=True)
        report = estimate_detectable(
            asked,
            data,
            power=request.power if request.HasField("power") else 0.8,
            target_percent=request.target_percent if request.HasField("target_percent") else None,
            checkpoint=context.check_cancelled,
        )
        return converters.detectable_message(report)

    def BatchAnalyzeImpact(
        self, request: pb.BatchAnalyzeImpactRequest, context: CallContext
    ) -> pb.BatchAnalyzeImpactResponse:
        """Many changes: one read per account and level, one result per change."""
        wanted = request.options if request.HasField("options") else pb.ImpactOptions(omit_series=True)
        results: list[pb.BatchAnalyzeImpactResult | None] = [None] * len(request.items)
        together: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        for index, item in enumerate(request.items):
            violations = validation.violations(item, f"items[{index}]")
            if violations:
                results[index] = _failed(item, InvalidInput(violations))
            elif item.panel.WhichOneof("source") == "stored":
                first = item.panel.stored.treated[0]
                together[first.config_id, first.entity_type].append(index)
            else:
                results[index] = self._item(item, index, wanted, None, context)
        for indices in together.values():
            shared = self._shared([request.items[index] for index in indices], wanted)
            for index in indices:
                results[index] = self._item(request.items[index], index, wanted, shared, context)
        return pb.BatchAnalyzeImpactResponse(results=[one for one in results if one is not None])

    def _item(
        self,
        item: pb.AnalyzeImpactItem,
        index: int,
        wanted: pb.ImpactOptions,
        shared: AccountData | AdsmlError | None,
        context: CallContext,
    ) -> pb.BatchAnalyzeImpactResult:
        """One result; what stops the whole call (the caller has gone) is not caught."""
        context.check_cancelled()
        path = f"items[{index}]"
        try:
            if isinstance(shared, AdsmlError):
                raise shared
            chosen = self._options(wanted, item.panel)
            when = converters.change_day(item.change, f"{path}.change")
            named, data = self._panel(item.panel, f"{path}.panel", chosen, when, shared=shared)
            asked = converters.question(named, item.change, chosen, f"{path}.change")
            report = analyse(asked, data)
        except AdsmlError as error:
            return _failed(item, error)
        return pb.BatchAnalyzeImpactResult(
            treated=_treated(item), report=converters.report_message(report, named, item.change)
        )

    def _options(self, message: pb.ImpactOptions, panel: pb.Panel) -> Options:
        stored = panel.WhichOneof("source") == "stored"
        return converters.options(message, drop_last_days=self._lag if stored else 0)

    def _panel(
        self,
        panel: pb.Panel,
        path: str,
        chosen: Options,
        when: date | None,
        *,
        shared: AccountData | None = None,
    ) -> tuple[Named, AccountData]:
        if panel.WhichOneof("source") == "inline":
            return converters.inline(panel.inline, f"{path}.inline")
        named = converters.stored(panel.stored, f"{path}.stored")
        if shared is not None:
            require(shared.tree, named.config_id, named.entity_type, (*named.treated, *named.controls))
            return named, shared
        since = None if when is None else when - timedelta(days=days_back(chosen))
        data = self._accounts.read(
            named.config_id,
            named.entity_type,
            named=(*named.treated, *named.controls),
            since=since,
        )
        return named, data

    def _shared(
        self, items: list[pb.AnalyzeImpactItem], wanted: pb.ImpactOptions
    ) -> AccountData | AdsmlError:
        """Everything that the changes of one account and level need, in one read; or why there is none."""
        first = items[0].panel.stored.treated[0]
        back = timedelta(days=days_back(self._options(wanted, items[0].panel)))
        try:
            earliest = min(converters.change_day(item.change, "change") or date.max for item in items)
            return self._accounts.read(
                first.config_id,
                converters.level(first.entity_type),
                named=(),
                since=earliest - back,
            )
        except AdsmlError as error:
            return error


def _treated(item: pb.AnalyzeImpactItem) -> list[entity_pb2.EntityRef]:
    panel = item.panel
    if panel.WhichOneof("source") == "stored":
        return list(panel.stored.treated)
    return [
        entity_pb2.EntityRef(config_id=one.config_id, entity_type=one.entity_type, entity_id=one.entity_id)
        for one in panel.inline.treated
    ]


def _failed(item: pb.AnalyzeImpactItem, error: AdsmlError) -> pb.BatchAnalyzeImpactResult:
    return pb.BatchAnalyzeImpactResult(treated=_treated(item), error=status_of(error))
