"""From what was computed to the impact contract's messages."""

import math
from dataclasses import is_dataclass
from datetime import date, timedelta
from typing import Final, TypeVar

from adsml.common.v1 import change_pb2, metrics_pb2
from adsml.impact.v1 import impact_service_pb2 as pb
from adsml_common.domain.changes import ChangeEvent
from adsml_common.serving.messages import CHANGE_TYPE, day_message, entity_ref_message
from google.protobuf.message import Message

from adsml_impact.models.effect import Effect

MessageT = TypeVar("MessageT", bound=Message)

AMOUNTS: Final = {"value_before": "budget_before", "value_after": "budget_after"}
"""The contract's names of a change's amounts, and the change log's."""


def fill(message: MessageT, values: object) -> MessageT:
    """The message, with fields set from a dataclass's of the same names; None and NaN leave them unset."""
    for name in message.DESCRIPTOR.fields_by_name:
        value = getattr(values, name, None)
        if value is None or or_none(value) is None:
            continue
        if is_dataclass(value):
            part = getattr(message, name)
            part.SetInParent()  # there, even if nothing in it is known
            fill(part, value)
        elif isinstance(value, tuple):
            field = getattr(message, name)
            for one in value:
                if is_dataclass(one):
                    fill(field.add(), one)
                else:
                    field.append(one)
        else:
            setattr(message, name, value)
    return message


def or_none(value: float) -> float | None:
    """A figure; None, which leaves its field unset, for NaN."""
    return None if isinstance(value, float) and math.isnan(value) else value


def fill_effect(message: pb.MetricEffect, effect: Effect, *, first: date, level: float) -> None:
    """Set what is known of an effect; its series begins on the day `first`, its daily intervals are of a `level`."""
    fill(message, effect)
    if math.isnan(effect.relative):
        message.ClearField("relative_interval")
    for day, (actual, counterfactual, lower, upper, so_far) in enumerate(effect.daily.T):
        interval = metrics_pb2.Interval(lower=lower, upper=upper, level=level)
        message.series.add(
            date=day_message(first + timedelta(days=day)),
            actual=or_none(actual),
            counterfactual=or_none(counterfactual),
            interval=None if math.isnan(counterfactual) else interval,
            cumulative_effect=or_none(so_far),
        )


def amounts(event: ChangeEvent) -> tuple[float | None, float | None]:
    """The budgets before and after a recorded change, where they are known."""
    before, after = (
        float(amount) if isinstance(amount := event.detail.get(key), int | float) else None
        for key in AMOUNTS.values()
    )
    return before, after


def change_message(event: ChangeEvent) -> change_pb2.ChangeEvent:
    """The contract's change of a recorded one."""
    before, after = amounts(event)
    return change_pb2.ChangeEvent(
        date=day_message(event.date),
        change_type=CHANGE_TYPE.to_wire(event.change_type),  # type: ignore[arg-type]  # an enum's number
        value_before=before,
        value_after=after,
    )


def item_message(event: ChangeEvent) -> pb.AnalyzeImpactItem:
    """The question what a recorded change did."""
    panel = pb.Panel(stored=pb.StoredPanel(treated=[entity_ref_message(event.entity)]))
    return pb.AnalyzeImpactItem(panel=panel, change=change_message(event))
