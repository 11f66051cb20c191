"""What a serving process needs to know."""

import os
from ipaddress import ip_address
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

MEBIBYTE = 1024 * 1024


class ServingSettings(BaseSettings):
    """Settings of a server; a process derives its own with its prefix (``ADSML_CLASSIFIER_`` ...).

    Attributes
    ----------
    host, port
        Where to listen; port 0 takes a free one. Anything but a loopback address needs TLS or
        `insecure`.
    metrics_host, metrics_port
        Where Prometheus reads, by plain HTTP; unset: nowhere, 0: a free port.
    insecure
        Listen without TLS on any address: only where something in front ends TLS.
    tls_cert_file, tls_key_file
        PEM files of the server's certificate chain and key. Read again when they change.
    tls_client_ca_file
        PEM file of the authorities whose client certificates are demanded (mTLS). Read again when it changes.
    workers
        Threads for calls.
    stream_workers
        Threads for calls that answer with a stream; each holds one until it ends.
    queue_size
        Calls that may wait for a thread; more are shed.
    queue_seconds
        Longest expected wait for a thread; calls that would wait longer are shed.
    deadline_reserve_seconds
        Kept back of every deadline for the way home.
    drain_wait_seconds
        Between telling balancers to stay away and refusing new calls.
    drain_grace_seconds
        How long calls may take to end after that.
    max_message_bytes
        Longest request.
    max_metadata_bytes
        Largest metadata of a request.
    max_connection_age_seconds
        After this a connection is closed gently, so that clients look for new servers.
    max_concurrent_streams
        Calls at once on one connection.
    readiness_seconds
        Between two runs of a readiness check.
    """

    model_config = SettingsConfigDict(env_prefix="ADSML_", extra="ignore", frozen=True)

    host: str = "127.0.0.1"
    port: int = Field(50051, ge=0, le=65535)
    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = Field(None, ge=0, le=65535)
    insecure: bool = False
    tls_cert_file: Path | None = None
    tls_key_file: Path | None = None
    tls_client_ca_file: Path | None = None
    workers: int = Field(default_factory=lambda: max(4, 2 * (os.cpu_count() or 1)), ge=1, le=256)
    stream_workers: int = Field(2, ge=1, le=64)
    queue_size: int = Field(512, ge=1, le=100_000)
    queue_seconds: float = Field(2.0, gt=0, le=60)
    deadline_reserve_seconds: float = Field(0.005, ge=0, le=1)
    drain_wait_seconds: float = Field(3.0, ge=0, le=60)
    drain_grace_seconds: float = Field(20.0, ge=0, le=600)
    max_message_bytes: int = Field(16 * MEBIBYTE, ge=1024, le=256 * MEBIBYTE)
    max_metadata_bytes: int = Field(16 * 1024, ge=1024, le=MEBIBYTE)
    max_connection_age_seconds: float = Field(600.0, ge=1)
    max_concurrent_streams: int = Field(1024, ge=1)
    readiness_seconds: float = Field(5.0, gt=0, le=300)

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ValueError("tls_cert_file and tls_key_file belong together: set both or neither")
        if self.tls_client_ca_file is not None and self.tls_cert_file is None:
            raise ValueError("tls_client_ca_file needs tls_cert_file and tls_key_file")
        return self

    @property
    def tls(self) -> bool:
        """Whether to serve TLS."""
        return self.tls_cert_file is not None

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return False
