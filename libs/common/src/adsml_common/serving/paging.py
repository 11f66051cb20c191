"""Page tokens: where a listing goes on, and of which listing."""

import base64
import binascii
import hashlib
import json
from typing import Any, Final

from google.protobuf.message import Message

from adsml_common.domain.errors import InvalidInput

_PATH: Final = "page_token"
_DEFAULT: Final = 100


def page_size(request: Any) -> int:
    """How many entries a page has: the contracts' 100 where 0 was said."""
    return int(request.page_size) or _DEFAULT


def token(request: Message, position: list[Any]) -> str:
    """Where a listing goes on.

    Parameters
    ----------
    request
        What was asked for; its filters are part of the token.
    position
        The last entry of the page: a list of what JSON can hold.
    """
    data = json.dumps([_filters(request), *position], separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(data).decode()


def position(request: Any, kinds: tuple[type, ...]) -> list[Any] | None:
    """The position in a request's page token, None for the first page.

    Parameters
    ----------
    request
        With a field ``page_token``.
    kinds
        Types of the position's parts.

    Raises
    ------
    InvalidInput
        The token is not one of ours, or of a listing with other filters.
    """
    if not request.page_token:
        return None
    try:
        filters, *found = json.loads(base64.urlsafe_b64decode(request.page_token))
    except (ValueError, TypeError, binascii.Error, RecursionError):
        raise _bad() from None
    if len(found) != len(kinds) or not all(type(one) is kind for one, kind in zip(found, kinds, strict=True)):
        raise _bad()
    if filters != _filters(request):
        raise InvalidInput.at(_PATH, "is of a listing with other filters; repeat the filters of that page")
    return list(found)


def _bad() -> InvalidInput:
    return InvalidInput.at(_PATH, "is no token of this service; use next_page_token as it came")


def _filters(request: Message) -> str:
    """A word that differs where the filters do."""
    bare = type(request)()
    bare.CopyFrom(request)
    bare.ClearField("page_token")
    bare.ClearField("page_size")
    return hashlib.sha256(bare.SerializeToString(deterministic=True)).hexdigest()[:16]
