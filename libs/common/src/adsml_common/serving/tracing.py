"""W3C trace context, and spans where OpenTelemetry is installed and switched on.

Without OpenTelemetry the caller's ``traceparent`` still names the trace in every log line and travels on to the
services that a handler asks.
"""

import re
from collections.abc import Callable
from typing import Any, Final, TypeVar

import grpc

from adsml_common.serving.context import CallContext
from adsml_common.serving.methods import Method

T = TypeVar("T")

_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_SCOPE: Final = "adsml"


class Tracing:
    """Begins no spans; the caller's trace context is passed on as it came."""

    def begin(self, call: CallContext, method: Method) -> None:
        traceparent = call.metadata.get("traceparent")
        if traceparent is not None and (match := _TRACEPARENT.fullmatch(traceparent)):
            call.trace_id = match.group(1)
            call.traceparent = traceparent

    def active(self, call: CallContext, work: Callable[[], T]) -> Callable[[], T]:
        return work

    def end(self, call: CallContext, code: grpc.StatusCode) -> None: ...


class OpenTelemetry(Tracing):
    """A server span per call, a child of the caller's.

    Without a `provider` spans go where OpenTelemetry's own variables say (``OTEL_EXPORTER_OTLP_ENDPOINT`` ...).
    """

    def __init__(self, provider: Any = None, *, service_name: str = "adsml") -> None:
        from opentelemetry import context, trace  # noqa: PLC0415 - an extra
        from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415
            TraceContextTextMapPropagator,
        )

        self._context = context
        self._trace = trace
        self._propagator = TraceContextTextMapPropagator()
        self._tracer = (provider or _provider(service_name)).get_tracer(_SCOPE)

    def begin(self, call: CallContext, method: Method) -> None:
        parent = self._propagator.extract(call.metadata)
        span = self._tracer.start_span(
            f"{method.service}/{method.name}",
            context=parent,
            kind=self._trace.SpanKind.SERVER,
            attributes={
                "rpc.system": "grpc",
                "rpc.service": method.service,
                "rpc.method": method.name,
                "adsml.request_id": call.request_id,
            },
        )
        call.span = self._trace.set_span_in_context(span, parent)
        call.trace_id = f"{span.get_span_context().trace_id:032x}"
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier, context=call.span)
        call.traceparent = carrier.get("traceparent", "")

    def active(self, call: CallContext, work: Callable[[], T]) -> Callable[[], T]:
        def run() -> T:
            token = self._context.attach(call.span)
            try:
                return work()
            finally:
                self._context.detach(token)

        return run

    def end(self, call: CallContext, code: grpc.StatusCode) -> None:
        span = self._trace.get_current_span(call.span)
        span.set_attribute("rpc.grpc.status_code", code.value[0])
        if code in {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNKNOWN}:
            span.set_status(self._trace.StatusCode.ERROR, code.name)
        span.end()


def _provider(service_name: str) -> Any:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    provider = TracerProvider(resource=Resource.create({"service.name": service_name}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider
