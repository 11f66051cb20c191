"""What a caller of adsml installs: connections, a client for each service, typed errors, frames.

The contracts' messages are the data types. Beside what is exported here: `errors` has the error family, `testing` a
channel without a service.
"""

from adsml_client.clients import (
    AnomalyClient,
    ClassifierClient,
    ForecastingClient,
    ImpactClient,
    ModelRegistryClient,
    TrainingClient,
)
from adsml_client.connection import AsyncConnection, Connection, Tls, connect, connect_async
from adsml_client.errors import AdsmlError, CallError, InvalidArgument, UnsafeConnection
from adsml_client.frames import rows_from_frame, to_frame
from adsml_client.messages import change_event, day, entity_ref, inline_series, message, results, word

__all__ = [
    "AdsmlError",
    "AnomalyClient",
    "AsyncConnection",
    "CallError",
    "ClassifierClient",
    "Connection",
    "ForecastingClient",
    "ImpactClient",
    "InvalidArgument",
    "ModelRegistryClient",
    "Tls",
    "TrainingClient",
    "UnsafeConnection",
    "change_event",
    "connect",
    "connect_async",
    "day",
    "entity_ref",
    "inline_series",
    "message",
    "results",
    "rows_from_frame",
    "to_frame",
    "word",
]
