"""Answers that a handler wrote as bytes itself, because building a large message field by field costs more."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from adsml.common.v1 import answer_pb2
from google.protobuf.message import Message

MessageT = TypeVar("MessageT", bound=Message)


@dataclass(frozen=True, slots=True)
class SerializedResponse(Generic[MessageT]):
    """An answer on its way out; the harness sends it as it is.

    `degradations` are all that stand anywhere in it, to be counted: nobody looks into the bytes.
    """

    kind: type[MessageT]
    data: bytes
    degradations: Sequence[answer_pb2.Degradation] = ()

    def message(self) -> MessageT:
        return self.kind.FromString(self.data)
