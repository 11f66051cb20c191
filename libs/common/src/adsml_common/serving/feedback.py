"""The feedback use case: whose word on which entity and day is recorded, and what it replaces."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from adsml.common.v1 import feedback_pb2

from adsml_common.domain.entities import EntityRef
from adsml_common.domain.errors import InvalidInput
from adsml_common.serving.context import CallContext
from adsml_common.serving.messages import day, entity_ref, instant_message
from adsml_common.store.feedback import Feedback, FeedbackStore

_TOMORROW: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class RecordedFeedback:
    """What came of a judgement; `replaced_label` is the same person's earlier one, None where there was none."""

    entity: EntityRef
    receipt: feedback_pb2.FeedbackReceipt
    replaced_label: str | None


@dataclass(frozen=True, slots=True)
class FeedbackRecorder:
    """Records judgements of one family's answers."""

    store: FeedbackStore
    family: str
    today: Callable[[], date] = lambda: datetime.now(UTC).date()

    def record(
        self, message: feedback_pb2.Feedback, label: str, context: CallContext, *, path: str = "feedback"
    ) -> RecordedFeedback:
        """Record one judgement, of a request that was checked by its rules.

        `label` is as it is stored, such as a tier's name; the caller judges where nobody is named. Raises
        `InvalidInput` where that is nobody or the day has not come yet, `NotFound` for an entity that is not stored.
        """
        person = message.person or context.caller.identity
        if not person:
            raise InvalidInput.at(
                f"{path}.person", "is empty and the caller is not authenticated; say who judges"
            )
        judged_day = day(message.date, f"{path}.date")
        # It may be tomorrow already where the account is.
        if judged_day > self.today() + _TOMORROW:
            raise InvalidInput.at(f"{path}.date", f"is {judged_day}, which lies in the future")
        judgement = Feedback(
            family=self.family,
            entity=entity_ref(message.entity, f"{path}.entity"),
            date=judged_day,
            person=person,
            label=label,
            note=message.note or None,
        )
        changed, before = self.store.record(judgement)
        counts = before if before is not None and not changed else judgement
        receipt = feedback_pb2.FeedbackReceipt(
            record_time=instant_message(counts.recorded_at), changed=changed
        )
        replaced = before.label if changed and before is not None else None
        return RecordedFeedback(judgement.entity, receipt, replaced)
