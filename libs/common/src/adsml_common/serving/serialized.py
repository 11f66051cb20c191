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

    Attributes
    ----------
    kind
        The type of the message.
    data
        The message, serialised.
    degradations
        Every one that stands anywhere in it, to be counted: nobody looks into the bytes.
    """

    kind: type[MessageT]
    data: bytes
    degradations: Sequence[answer_pb2.Degradation] = ()

    def message(self) -> MessageT:
        """The message itself, for callers in the same process."""
        return self.kind.FromString(self.data)
