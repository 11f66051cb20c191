"""Client spans and trace context, where OpenTelemetry is installed."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

try:
    from opentelemetry import propagate, trace
except ImportError:  # the extra `otel` is not installed: callers' own metadata go as they are
    propagate = None  # type: ignore[assignment]
    trace = None  # type: ignore[assignment]


@contextlib.contextmanager
def client_span(method: Any, metadata: Sequence[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    """A span around a call, and the metadata that carry it to the service.

    Without OpenTelemetry, or where nothing records, the metadata are as given.
    """
    if trace is None:
        yield list(metadata)
        return
    path = getattr(method, "_method", b"")
    name = (path.decode() if isinstance(path, bytes) else str(path)).lstrip("/")
    service, _, method_name = name.rpartition("/")
    tracer = trace.get_tracer("adsml")
    attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method_name}
    with tracer.start_as_current_span(name, kind=trace.SpanKind.CLIENT, attributes=attributes):
        carrier: dict[str, str] = {}
        propagate.inject(carrier)
        others = [pair for pair in metadata if pair[0].lower() not in carrier]
        yield [*others, *carrier.items()]
