"""Page tokens: where a listing goes on, of which listing, and whose.

A token is sealed (AES-256-GCM): nobody can read in it what stands at the position, which the caller may not be
allowed to see, nor make one, and it is good for the caller and the filters it was made for only.
"""

import base64
import hashlib
import json
import secrets
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TypeVar

from google.protobuf.message import Message

from adsml_common.domain.errors import InvalidInput
from adsml_common.serving.context import CallContext

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_PATH: Final = "page_token"
_DEFAULT: Final = 100
_MOST: Final = 1_000
_MOST_SCANS: Final = 20
_NONCE_BYTES: Final = 12
_KEY_BYTES: Final = 32

SCAN: Final = 500
"""How many entries are looked at at once."""

T = TypeVar("T")


def page_size(request: Any) -> int:
    """How many entries a page has: 100 where the request says 0, and never more than 1,000 (AIP-158)."""
    return min(int(request.page_size) or _DEFAULT, _MOST)


class PageTokens:
    """Seals and opens tokens by a key derived from `secret`, the same in all processes behind one address.

    An empty secret means a random key, good for this process.
    """

    def __init__(self, secret: str = "") -> None:
        self._secret = secret

    @cached_property
    def _cipher(self) -> "AESGCM":
        # Slow to load; most processes never list anything.
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

        if not self._secret:
            return AESGCM(secrets.token_bytes(_KEY_BYTES))
        salt = b"adsml page tokens"
        return AESGCM(hashlib.scrypt(self._secret.encode(), salt=salt, n=2**14, r=8, p=1, dklen=_KEY_BYTES))

    def seal(self, request: Message, position: list[Any], context: CallContext) -> str:
        """The token for what follows `position` (a list of what JSON can hold), bound to filters and caller."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._cipher.encrypt(
            nonce, json.dumps(position, separators=(",", ":")).encode(), _bound_to(request, context)
        )
        return base64.urlsafe_b64encode(nonce + sealed).decode()

    def open(self, request: Any, context: CallContext) -> list[Any] | None:
        """The position in a request's token, None for the first page; raises `InvalidInput` where it is for another."""
        if not request.page_token:
            return None
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415

        try:
            data = base64.b64decode(request.page_token, altchars=b"-_", validate=True)
            opened = self._cipher.decrypt(
                data[:_NONCE_BYTES], data[_NONCE_BYTES:], _bound_to(request, context)
            )
        except (ValueError, InvalidTag):
            raise InvalidInput.at(
                _PATH,
                "is no token for this listing; use next_page_token as it came and repeat the filters of that page",
            ) from None
        position: list[Any] = json.loads(opened)
        return position

    def listing(
        self,
        request: Any,
        context: CallContext,
        fetch: Callable[[list[Any] | None], list[T]],
        *,
        position: Callable[[T], list[Any]],
        shows: Callable[[T], bool],
    ) -> tuple[list[T], str]:
        """The page that is asked for, of entries that may be shown, and the token of the next; ``""`` at the end.

        `fetch` gives the next `SCAN` entries after a position (what JSON can hold), fewer at the end. What the caller
        may not see is passed over, for a bounded while: then the page is short, and goes on.
        """
        at, size = self.open(request, context), page_size(request)
        found: list[T] = []
        for _ in range(_MOST_SCANS):
            entries = fetch(at)
            for entry in entries:
                if shows(entry):
                    if len(found) == size:
                        return found, self.seal(request, position(found[-1]), context)
                    found.append(entry)
            if len(entries) < SCAN:
                return found, ""
            at = position(entries[-1])
        return found, self.seal(request, at or [], context)


def _bound_to(request: Message, context: CallContext) -> bytes:
    """What a token is good for: the caller, the kind of listing and its filters."""
    bare = type(request)()
    bare.CopyFrom(request)
    bare.ClearField("page_token")
    bare.ClearField("page_size")
    filters = bare.SerializeToString(deterministic=True)
    return json.dumps(
        [context.caller.identity, request.DESCRIPTOR.full_name, hashlib.sha256(filters).hexdigest()]
    ).encode()
