"""The methods of a servicer, as its contract describes them."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from adsml.common.v1 import answer_pb2, options_pb2
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import Message

from adsml_common.serving.field_collector import FieldCollector
from adsml_common.serving.micro_batcher import FastPath


class UnsafeServer(ValueError):
    """A server that must not be started as it was put together; says why."""


@dataclass(frozen=True, slots=True, eq=False)
class Method:
    """One method of one registered servicer.

    `handler` takes ``(request, context)`` and gives a message or `SerializedResponse`, or generates them where
    `streaming`. A caller's token must hold `scope`. `degradations` finds what an answer had to do without.
    """

    service: str
    name: str
    handler: Callable[[Any, Any], Any]
    request: type[Message]
    response: type[Message]
    streaming: bool
    scope: str
    degradations: FieldCollector
    fast_path: FastPath | None = None

    @property
    def path(self) -> str:
        return f"/{self.service}/{self.name}"


def _implements(servicer: object, method: str) -> bool:
    """Whether a servicer has a method of its own: the generated base class has one that refuses."""
    handler = getattr(servicer, method, None)
    return callable(handler) and not getattr(handler, "__module__", "").endswith("_pb2_grpc")


def methods_of(
    servicer: object, service_name: str, *, fast_path: Mapping[str, FastPath] | None = None
) -> tuple[Method, ...]:
    """The methods of a servicer, checked.

    Raises `UnsafeServer` where the name is in no contract, a method is not implemented or a coroutine, or a fast path
    is for no unary method of the service.
    """
    fast_path = fast_path or {}
    try:
        descriptor = descriptor_pool.Default().FindServiceByName(service_name)
    except KeyError:
        raise UnsafeServer(f"no contract describes a service {service_name!r}") from None
    missing = [method.name for method in descriptor.methods if not _implements(servicer, method.name)]
    if missing:
        raise UnsafeServer(
            f"{type(servicer).__name__} does not implement {', '.join(missing)} of {service_name}"
        )
    unary = {method.name for method in descriptor.methods if not method.server_streaming}
    if unknown := fast_path.keys() - unary:
        raise UnsafeServer(
            f"{service_name} has no unary method {', '.join(sorted(unknown))} to answer at once"
        )
    degradation = answer_pb2.Degradation.DESCRIPTOR
    found = []
    for method in descriptor.methods:
        handler = getattr(servicer, method.name)
        if inspect.iscoroutinefunction(handler) or inspect.isasyncgenfunction(handler):
            raise UnsafeServer(
                f"{type(servicer).__name__}.{method.name} is asynchronous; handlers are synchronous"
            )
        scope = method.GetOptions().Extensions[options_pb2.required_scope]
        if not scope:
            raise UnsafeServer(f"the contract of {method.full_name} names no required_scope")
        if method.client_streaming:
            raise UnsafeServer(f"{method.full_name} takes a stream of requests; none of ours does")
        found.append(
            Method(
                service=service_name,
                name=method.name,
                handler=handler,
                request=message_factory.GetMessageClass(method.input_type),
                response=message_factory.GetMessageClass(method.output_type),
                streaming=method.server_streaming,
                scope=scope,
                degradations=FieldCollector(
                    method.output_type, lambda field: field.message_type is degradation
                ),
                fast_path=fast_path.get(method.name),
            )
        )
    return tuple(found)
