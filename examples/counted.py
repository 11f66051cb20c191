"""A connection that keeps count: which methods were called how often, and how long they took."""

import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from adsml.anomaly.v1 import anomaly_service_pb2
from adsml.classifier.v1 import classifier_service_pb2
from adsml.forecasting.v1 import forecasting_service_pb2
from adsml.impact.v1 import impact_service_pb2
from adsml.registry.v1 import registry_service_pb2
from adsml.training.v1 import training_service_pb2
from adsml_client import Connection

CONTRACTS = (
    classifier_service_pb2, forecasting_service_pb2, anomaly_service_pb2, impact_service_pb2,
    registry_service_pb2, training_service_pb2,
)  # fmt: skip


class Calls:
    """Seconds of every call, by method: ``"ClassifierService/Classify"``."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)

    def never_called(self) -> list[str]:
        """Methods of the contracts that were not called."""
        every = {
            f"{service.name}/{method.name}"
            for contract in CONTRACTS
            for service in contract.DESCRIPTOR.services_by_name.values()
            for method in service.methods
        }
        return sorted(every - set(self.seconds))


class CountedConnection(Connection):
    """A connection that a client uses like any other.

    Parameters
    ----------
    connection
        What the calls go through.
    calls
        Where they are noted.
    """

    def __init__(self, connection: Connection, calls: Calls) -> None:
        super().__init__(connection.channel)
        self._calls = calls

    def call(self, method: Any, request: Any, **options: Any) -> Any:
        """As of `Connection.call`."""
        began = time.perf_counter()
        try:
            return super().call(method, request, **options)
        finally:
            self._note(method, began)

    def stream(self, method: Any, request: Any, **options: Any) -> Iterator[Any]:
        """As of `Connection.stream`."""
        began = time.perf_counter()
        try:
            yield from super().stream(method, request, **options)
        finally:
            self._note(method, began)

    def _note(self, method: Any, began: float) -> None:
        path = method._method
        name = (path.decode() if isinstance(path, bytes) else path).removeprefix("/").split(".")[-1]
        self._calls.seconds[name].append(time.perf_counter() - began)
