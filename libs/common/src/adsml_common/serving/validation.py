"""Checks a request by the rules of its contract: all violations at once, by dotted paths."""

from google.protobuf.message import Message


def validate(message: Message) -> None:
    """Raise `InvalidInput` with everything that is wrong with a request."""
