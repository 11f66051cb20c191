"""Who may call what, and see which accounts."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from adsml_common.domain.errors import PermissionDenied, Unauthenticated
from adsml_common.serving.context import ANONYMOUS, CallContext, Caller, denied
from adsml_common.serving.field_collector import FieldCollector
from adsml_common.serving.settings import ServingSettings
from adsml_common.serving.transport import ServicerContext

if TYPE_CHECKING:
    from adsml_common.serving.tokens import TokenVerifier


class Authorizer:
    """Lets everyone do everything: for a server that only its own machine or a trusted network can reach."""

    def authenticate(self, call: CallContext, context: ServicerContext) -> Caller:
        return ANONYMOUS

    def check_scope(self, caller: Caller, scope: str, *, method: str) -> None: ...

    def check_request(self, caller: Caller, request: Message) -> None: ...


@dataclass(frozen=True, slots=True)
class TokenAuthorizer(Authorizer):
    """Asks for a token, a client certificate, or either; None takes none of its kind.

    `certificates` says what callers may do by a name in their certificate (see `tls.identities`).
    """

    tokens: "TokenVerifier | None"
    certificates: Mapping[str, Caller] | None

    def authenticate(self, call: CallContext, context: ServicerContext) -> Caller:
        """Who calls, by token where there is one, else by certificate."""
        given = call.metadata.get("authorization")
        if sum(key == "authorization" for key, _ in context.invocation_metadata() or ()) > 1:
            raise Unauthenticated("there are several authorization headers; send one")
        if given is not None and self.tokens is not None:
            scheme, _, token = given.partition(" ")
            if scheme.lower() != "bearer" or not token:
                raise Unauthenticated("expected 'authorization: Bearer <token>'")
            return self.tokens.caller(token.strip())
        if self.certificates is not None:
            from adsml_common.serving.tls import identities  # noqa: PLC0415 - slow to load

            chain = [*context.auth_context().get("x509_pem_cert", ())]
            for name in identities(chain[0]) if chain else ():
                if name in self.certificates:
                    return self.certificates[name]
            if self.tokens is None:
                raise Unauthenticated("the client's certificate is not known here")
        raise Unauthenticated("no credentials; send 'authorization: Bearer <token>'")

    def check_scope(self, caller: Caller, scope: str, *, method: str) -> None:
        if caller.scopes is not None and scope not in caller.scopes:
            raise PermissionDenied(f"{method} needs the scope {scope}", metadata={"scope": scope})

    def check_request(self, caller: Caller, request: Message) -> None:
        """Accounts are refused wherever in a message they stand.

        Done for every method by the contract's own field names, so that no handler can forget it.
        """
        if caller.config_ids is None:
            return
        # An unset id is 0, and no account has a number below 1: that is for the validation to say.
        named = _accounts_of(request.DESCRIPTOR)(request)
        foreign = {one for one in named if one > 0 and not caller.permits(one)}
        if foreign:
            raise denied(foreign)


def authorizer_of(settings: ServingSettings) -> Authorizer:
    """Whom the settings let in; raises `OSError` or `ValueError` where a key can't be read or used."""
    if settings.auth == "none":
        return Authorizer()
    # Cryptography is slow to load; a server that asks nobody goes without.
    from adsml_common.serving.tokens import TokenVerifier, account_set  # noqa: PLC0415

    tokens = None
    if settings.auth in {"jwt", "any"}:
        tokens = TokenVerifier(
            audience=settings.jwt_audience or "",
            issuer=settings.jwt_issuer,
            leeway_seconds=settings.jwt_leeway_seconds,
            secret=None if settings.jwt_secret is None else settings.jwt_secret.get_secret_value().encode(),
            public_key_file=settings.jwt_public_key_file,
            jwks_file=settings.jwt_jwks_file,
        )
    certificates = None
    if settings.auth in {"mtls", "any"}:
        certificates = {
            name: Caller(
                identity=name,
                config_ids=account_set(grant.config_ids),
                scopes=frozenset(grant.scopes),
            )
            for name, grant in settings.mtls_callers.items()
        }
    return TokenAuthorizer(tokens=tokens, certificates=certificates)


@cache
def _accounts_of(descriptor: Any) -> FieldCollector:
    return FieldCollector(
        descriptor,
        lambda field: (
            field.name in {"config_id", "config_ids"} and field.cpp_type == FieldDescriptor.CPPTYPE_INT64
        ),
    )
