"""Who may call what, and see which accounts."""

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from adsml_common.serving.context import ANONYMOUS, CallContext, Caller, denied
from adsml_common.serving.finder import Finder
from adsml_common.serving.harness import ServicerContext


def _names_account(field: FieldDescriptor) -> bool:
    return field.name in {"config_id", "config_ids"} and field.cpp_type == FieldDescriptor.CPPTYPE_INT64


class AccountCheck:
    """Refuses requests that name an account the caller may not see, wherever in the message it stands.

    Done for every method by the contract's own field names, so that no handler can forget it.
    """

    def __init__(self) -> None:
        self._finders: dict[str, Finder] = {}

    def check(self, call: CallContext, request: Message) -> None:
        """Raise `PermissionDenied` naming every account in the request that the caller may not see."""
        if call.caller.config_ids is None:
            return
        name = request.DESCRIPTOR.full_name
        finder = self._finders.get(name)
        if finder is None:
            finder = self._finders.setdefault(name, Finder(type(request), _names_account))
        # An unset id is 0, and no account has a number below 1: that is for the validation to say.
        foreign = {one for one in finder(request) if one > 0 and not call.caller.permits(one)}
        if foreign:
            raise denied(foreign)


class OpenGate:
    """Lets everyone do everything: for a server that only its own machine or a trusted network can reach."""

    def authenticate(self, method: str, call: CallContext, context: ServicerContext) -> Caller:  # noqa: ARG002
        """Nobody in particular."""
        return ANONYMOUS

    def check_request(self, call: CallContext, request: Message) -> None:
        """Everything may be seen."""
