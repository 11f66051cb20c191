"""What a caller of adsml installs: connections, typed helpers for each service, typed errors."""

from adsml_client.connection import (
    AsyncConnection,
    Connection,
    Retry,
    Tls,
    UnsafeConnection,
    connect,
    connect_async,
)
from adsml_client.errors import CallError
from adsml_client.values import Change, DailyRow, EntityRef, Series

__all__ = [
    "AsyncConnection",
    "CallError",
    "Change",
    "Connection",
    "DailyRow",
    "EntityRef",
    "Retry",
    "Series",
    "Tls",
    "UnsafeConnection",
    "connect",
    "connect_async",
]
