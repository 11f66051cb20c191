"""Bearer tokens: JSON Web Tokens (RFC 7519), signed, with who calls and what they may do.

Claims: ``sub`` who; ``exp`` and ``aud`` are demanded, ``iss`` where one is set, ``nbf`` and ``iat`` are looked at
where they stand; ``scope`` (RFC 8693: words between spaces) or ``scp`` (a list); ``config_ids``, a list of ad
accounts or ``"*"`` for all.
"""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jwt
from cachetools import LRUCache
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from adsml_common.domain.errors import Unauthenticated
from adsml_common.serving.context import Caller
from adsml_common.serving.tls import WatchedFiles

_log = logging.getLogger(__name__)

_REMEMBERED: Final = 1_024
_MAX_TOKEN: Final = 8_192
_MAX_SUBJECT: Final = 256
_LAST_INSTANT: Final = 2**53
_LEAST_SECRET: Final = 32
_INVALID: Final = "the token is not valid for this server"


@dataclass(frozen=True, slots=True)
class _Key:
    """A key, and the algorithms it may be used with: a public key must never pass for an HMAC secret."""

    key: Any
    algorithms: tuple[str, ...]


class TokenVerifier:
    """Tells from a token who calls. Verified tokens are remembered until they or the keys change.

    `secret` (HS256, HS384, HS512) has at least 32 bytes; `public_key_file` is PEM of one RSA, EC or Ed25519 key;
    `jwks_file` a JSON Web Key Set (RFC 7517), picked by ``kid``; files are read again when they change. Raises
    `OSError` or `ValueError` where a key can't be read or is none that may be used.
    """

    def __init__(
        self,
        *,
        audience: str,
        issuer: str | None = None,
        leeway_seconds: float = 30.0,
        secret: bytes | None = None,
        public_key_file: Path | None = None,
        jwks_file: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._audience = audience
        self._issuer = issuer
        self._leeway = leeway_seconds
        self._clock = clock
        self._fixed: dict[str, _Key] = {}
        if secret is not None:
            if len(secret) < _LEAST_SECRET:
                raise ValueError(
                    f"an HMAC secret needs {_LEAST_SECRET} bytes or more; this one has {len(secret)}"
                )
            self._fixed["secret"] = _Key(secret, ("HS256", "HS384", "HS512"))
        self._public = None if public_key_file is None else WatchedFiles([public_key_file], _public_key)
        self._jwks = None if jwks_file is None else WatchedFiles([jwks_file], _key_set)
        if not (self._fixed or self._public or self._jwks):
            raise ValueError("tokens need a secret, a public key file or a key set file")
        self._known: LRUCache[bytes, tuple[Caller, float, tuple[int, int]]] = LRUCache(_REMEMBERED)

    def caller(self, token: str) -> Caller:
        """Who calls.

        Raises `Unauthenticated` where the token is none, expired, meant for someone else, or not signed by a key of
        ours. Only a token that was signed by one is told that it has expired.
        """
        if len(token) > _MAX_TOKEN:
            raise Unauthenticated(_INVALID)
        public, public_version = self._public.get() if self._public else (None, 0)
        jwks, jwks_version = self._jwks.get() if self._jwks else ({}, 0)
        versions = (public_version, jwks_version)
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        known = self._known.get(digest)
        if known is not None and known[2] == versions and self._clock() < known[1]:
            return known[0]
        claims = self._verified(token, public, jwks)
        caller = _caller(claims)
        self._known[digest] = (caller, _instant(claims, "exp") + self._leeway, versions)
        return caller

    def _verified(self, token: str, public: _Key | None, jwks: Mapping[str, _Key]) -> dict[str, Any]:
        try:
            header = jwt.get_unverified_header(token)
            algorithm, kid = header.get("alg"), header.get("kid")
            candidates = [*self._fixed.values(), *([public] if public else []), *_of(jwks, kid)]
            for key in candidates:
                if algorithm in key.algorithms:
                    return self._decoded(token, key)
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
            _log.info("refused a token: %s", error)
            raise Unauthenticated(_INVALID) from None
        _log.info("refused a token: no key for alg %r and kid %r", algorithm, kid)
        raise Unauthenticated(_INVALID)

    def _decoded(self, token: str, key: _Key) -> dict[str, Any]:
        claims = jwt.decode(
            token,
            key.key,
            algorithms=list(key.algorithms),
            audience=self._audience,
            issuer=self._issuer,
            options={
                "require": ["exp", "aud", "sub", *(["iss"] if self._issuer else [])],
                # Looked at below, by our clock.
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
            },
        )
        if not isinstance(claims["sub"], str) or not 0 < len(claims["sub"].strip()) <= _MAX_SUBJECT:
            # Without a name everybody would be the same nobody.
            raise ValueError("sub names nobody")
        now = self._clock()
        if not now < _instant(claims, "exp") + self._leeway:
            raise Unauthenticated("the token has expired")
        for name in ("nbf", "iat"):
            if name in claims and not _instant(claims, name) - self._leeway <= now:
                raise ValueError(f"{name} lies in the future")
        return claims


def _instant(claims: Mapping[str, Any], name: str) -> float:
    """A NumericDate (RFC 7519); JSON knows numbers that no clock shows, such as 10^400 and NaN."""
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _LAST_INSTANT:
        raise ValueError(f"{name} is no time")
    return float(value)


def _of(jwks: Mapping[str, _Key], kid: object) -> list[_Key]:
    if kid is None:
        return list(jwks.values()) if len(jwks) == 1 else []
    found = jwks.get(kid) if isinstance(kid, str) else None
    return [found] if found else []


def _caller(claims: Mapping[str, Any]) -> Caller:
    scopes = claims.get("scope", claims.get("scp", []))
    words = scopes.split() if isinstance(scopes, str) else scopes
    return Caller(
        identity=str(claims["sub"]),
        config_ids=account_set(claims.get("config_ids", [])),
        scopes=frozenset(str(word) for word in words) if isinstance(words, list) else frozenset(),
    )


def account_set(claim: object) -> frozenset[int] | None:
    """The accounts that a claim or setting names: ``"*"`` is all (None), anything odd is none."""
    if claim == "*":
        return None
    if not isinstance(claim, list):
        return frozenset()
    return frozenset(one for one in claim if isinstance(one, int) and not isinstance(one, bool))


def _public_key(contents: Sequence[bytes]) -> _Key:
    try:
        return _usable(load_pem_public_key(contents[0]))
    except UnsupportedAlgorithm as error:
        raise ValueError(str(error)) from None


def _key_set(contents: Sequence[bytes]) -> Mapping[str, _Key]:
    try:
        keys = json.loads(contents[0])["keys"]
        found = {
            str(one["kid"]): _usable(jwt.PyJWK(one).key) for one in keys if one.get("use", "sig") == "sig"
        }
    except (KeyError, TypeError, AttributeError, jwt.PyJWTError) as error:
        raise ValueError(f"no JSON Web Key Set of public signing keys with kid: {error!r}") from None
    if not found:
        raise ValueError("the JSON Web Key Set has no signing key")
    return found


def _usable(key: object) -> _Key:
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < 2048:
            raise ValueError(f"an RSA key needs 2048 bits or more; this one has {key.key_size}")
        return _Key(key, ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"))
    if isinstance(key, ec.EllipticCurvePublicKey):
        by_curve = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
        if key.curve.name in by_curve:
            return _Key(key, (by_curve[key.curve.name],))
    if isinstance(key, ed25519.Ed25519PublicKey):
        return _Key(key, ("EdDSA",))
    raise ValueError(f"a {type(key).__name__} is no key that tokens may be signed with here")
