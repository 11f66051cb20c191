"""What requests are about: stored entities or rows sent along, their recorded changes and their relatives."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import pandas as pd
from adsml.common.v1 import entity_pb2
from adsml.forecasting.v1 import forecasting_service_pb2 as pb
from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.domain.errors import InsufficientHistory, NotFound
from adsml_common.domain.metrics import Metric
from adsml_common.serving.context import CallContext
from adsml_common.serving.messages import ENTITY_TYPE, entity_ref, entity_ref_message, series_frame
from adsml_common.store.changes import ChangeStore
from adsml_common.store.entities import EntityStore
from adsml_common.store.metrics import MetricStore

from adsml_forecasting import decoding
from adsml_forecasting.decoding import day_number
from adsml_forecasting.models.level_shifts import Change
from adsml_forecasting.models.method import Method
from adsml_forecasting.models.ratios import parts_of
from adsml_forecasting.models.series import EntityHistory

_DONORS: Final = 20
_CHANGES_ASKED: Final = 5


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """A subject's rows and what is stored about it.

    `ref` is the stored entity that it is or names, None for an inline series that names none; `account_last` the
    account's last loaded day.
    """

    message: entity_pb2.Subject
    ref: EntityRef | None
    frame: pd.DataFrame
    account_last: int | None

    @property
    def entity(self) -> entity_pb2.EntityRef:
        """As the request names it."""
        return decoding.subject_entity(self.message)

    @property
    def label(self) -> str:
        """What to call it in a message."""
        kind = ENTITY_TYPE.find(self.entity.entity_type) or EntityType.CAMPAIGN
        return f"{kind} {self.entity.entity_id}" if self.entity.entity_id else "the series"

    @property
    def config_id(self) -> int:
        """0 without an account."""
        return self.entity.config_id

    @property
    def clock(self) -> int:
        """The account's last loaded day; of an account that is not known, the last row's."""
        last = day_number(self.frame["date"].max().date())
        return last if self.account_last is None else max(self.account_last, last)


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """One series of a request, before the peers were asked; `incomplete` days after `as_of` are still filling up."""

    subject: Subject
    metric: Metric
    method: Method
    history: EntityHistory
    as_of: int
    changes: tuple[Change, ...]
    incomplete: tuple[int, ...]

    @property
    def newest_changes(self) -> tuple[Change, ...]:
        """Those of a stored entity's history that the impact service is asked of."""
        past = [one for one in self.changes if one.day <= self.as_of and self.subject.ref is not None]
        return tuple(past[-_CHANGES_ASKED:])


class SubjectReader:
    """Reads subjects from requests and the store, where the caller may see them."""

    def __init__(self, metrics: MetricStore, entities: EntityStore, changes: ChangeStore) -> None:
        self._metrics = metrics
        self._entities = entities
        self._changes = changes

    def read(
        self,
        message: entity_pb2.Subject,
        metric: Metric,
        context: CallContext,
        path: str,
        *,
        empty: bool = False,
    ) -> Subject:
        """A subject; `empty`: it need not have any rows. A domain error where it is not there or not to be seen."""
        named = decoding.subject_entity(message)
        if message.WhichOneof("source") == "inline":
            if named.config_id:
                context.check_config(named.config_id)
            frame = series_frame(message.inline, f"{path}.inline", needed=parts_of(metric))
            kind = ENTITY_TYPE.find(named.entity_type)
            found = None
            if named.config_id and named.entity_id and kind is not None:
                found = EntityRef(named.config_id, kind, named.entity_id)
            return Subject(message, found, frame, self._account_last(named.config_id))
        ref = entity_ref(message.entity, f"{path}.entity")
        context.check_config(ref.config_id)
        subject = Subject(message, ref, self._rows([ref]), self._account_last(ref.config_id))
        if subject.frame.empty:
            self._entities.get(ref)
            if not empty:
                raise InsufficientHistory(subject.label, had=0, needed=1)
        return subject

    def changes(self, subject: Subject) -> list[Change]:
        """Its recorded changes."""
        if subject.ref is None:
            return []
        events = self._changes.list(subject.ref.config_id, entity=subject.ref)
        return [decoding.stored_change(event) for event in events]

    def relatives(
        self, request: pb.ForecastNewEntityRequest, subject: Subject, metric: Metric, context: CallContext
    ) -> tuple[EntityRef | None, pd.DataFrame, list[Subject]]:
        """The parent, its rows and the donors: sent along, or stored."""
        parent_ref: EntityRef | None = None
        parent_frame = subject.frame.iloc[:0]
        siblings: list[EntityRef] = []
        if subject.ref is not None:
            try:
                parent = self._entities.get(subject.ref).parent_id
            except NotFound:
                parent = None
            kind = subject.ref.entity_type.parent_type
            if parent is not None and kind is not None:
                parent_ref = EntityRef(subject.ref.config_id, kind, parent)
            known = self._entities.list(
                subject.ref.config_id, entity_type=subject.ref.entity_type, parent_id=parent
            )
            siblings = [one.ref for one in known if one.ref != subject.ref]
        if request.HasField("parent"):
            parent_ref = None
            parent_frame = series_frame(request.parent, "parent", needed=parts_of(metric))
        elif parent_ref is not None:
            parent_frame = self._rows([parent_ref])
        donors = [
            self.read(one, metric, context, f"donors[{at}]", empty=True)
            for at, one in enumerate(request.donors)
        ]
        return parent_ref, parent_frame, donors or self._longest(siblings)

    def _longest(self, siblings: Sequence[EntityRef]) -> list[Subject]:
        """The siblings with most rows, as donors."""
        if not siblings:
            return []
        rows = self._rows(siblings)
        sizes = rows.groupby("entity_id").size().sort_values(ascending=False)
        last = self._account_last(siblings[0].config_id)
        out = []
        for name in sizes.index[:_DONORS]:
            ref = replace(siblings[0], entity_id=str(name))
            message = entity_pb2.Subject(entity=entity_ref_message(ref))
            out.append(Subject(message, ref, rows[rows["entity_id"] == name], last))
        return out

    def _rows(self, refs: Sequence[EntityRef]) -> pd.DataFrame:
        """Of entities of one level of one account."""
        ids = [one.entity_id for one in refs]
        return self._metrics.daily(refs[0].config_id, entity_type=refs[0].entity_type, entity_ids=ids)

    def _account_last(self, config_id: int) -> int | None:
        last = self._metrics.last_date(config_id) if config_id else None
        return None if last is None else day_number(last)
