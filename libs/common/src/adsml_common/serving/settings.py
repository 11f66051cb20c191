"""What a serving process needs to know."""

from ipaddress import ip_address
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, FilePath, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from adsml_common.serving.threads import cpu_limit
from adsml_common.settings import Settings, variables

MEBIBYTE = 1024 * 1024


class Grant(BaseModel):
    """What a caller known by its certificate may do."""

    scopes: list[str]
    config_ids: list[int] | Literal["*"]


class ServingSettings(Settings):
    """Settings of a server; a process derives its own with its prefix (``ADSML_CLASSIFIER_`` ...).

    Attributes
    ----------
    host, port
        Where to listen; port 0 takes a free one. Anything but a loopback address needs TLS or
        `insecure`.
    metrics_host, metrics_port
        Where Prometheus reads, by plain HTTP; unset: nowhere, 0: a free port.
    health_host, health_port
        Where health alone is served without TLS, for probes that can't speak it (Kubernetes' own); unset:
        nowhere but beside the services, 0: a free port.
    insecure
        Listen without TLS on any address: only where something in front ends TLS.
    tls_cert_file, tls_key_file
        PEM files of the server's certificate chain and key. Read again when they change.
    tls_client_ca_file
        PEM file of the authorities whose client certificates are demanded (mTLS). Read again when it changes.
    auth
        Who may call: ``none`` asks nobody, ``jwt`` for a bearer token, ``mtls`` for a client certificate,
        ``any`` for either.
    jwt_secret, jwt_public_key_file, jwt_jwks_file
        What tokens are verified with: an HMAC secret, the PEM file of one public key, the file of a JSON Web
        Key Set. Files are read again when they change.
    jwt_audience, jwt_issuer, jwt_leeway_seconds
        Who tokens must be for (demanded) and from, and how far clocks may differ.
    mtls_callers
        JSON: what callers may do by a name in their certificate,
        ``{"spiffe://shop/dashboard": {"scopes": ["adsml.read"], "config_ids": [1, 2]}}``; ``"*"`` for every
        account.
    page_token_key
        Secret that tokens of listings are sealed with, the same in all processes behind one address. Unset: derived
        from the database's URL where that has a password, else made anew by each process.
    rate_per_second
        Calls that one caller may make, in the long run; 0 for any number.
    traces
        Send OpenTelemetry spans (needs ``adsml-common[otel]``), to where its own variables say
        (``OTEL_EXPORTER_OTLP_ENDPOINT`` ...).
    workers
        Threads for calls.
    streams, caller_streams
        Calls that answer with a stream and may be open at once, in all and of one caller.
    queue_size
        Calls that may wait for a thread; more are shed.
    queue_seconds
        Longest expected wait for a thread; calls that would wait longer are shed.
    deadline_reserve_seconds
        Response overhead: taken off every deadline for the way back.
    drain_wait_seconds
        Between telling balancers to stay away and refusing new calls.
    drain_grace_seconds
        How long calls may take to end after that.
    max_message_bytes
        Longest request; of a method whose contract allows less, what that allows.
    request_memory_bytes
        Requests that are being read or answered, together; more wait, and are shed if that takes too long.
    max_metadata_bytes
        Largest metadata of a request.
    max_connection_age_seconds
        After this a connection is closed gently, so that clients look for new servers.
    max_concurrent_streams
        Calls at once on one connection.
    max_connections
        Connections at once; more are closed.
    readiness_seconds
        Between two runs of a readiness check.
    launcher
        Who does the work of a training run that is started here: ``local`` for a process of this machine,
        ``kubernetes`` for a Job that ``adsml launcher`` makes, ``none``: none can be started.
    launcher_shards
        Into how many shards a run is split where the caller does not say and the launcher is ``kubernetes``.
    launcher_max_shards, launcher_open_runs
        Into how many shards a caller may split a run, and how many runs one caller may have open.
    """

    model_config = SettingsConfigDict(env_prefix="ADSML_")

    host: str = "127.0.0.1"
    port: int = Field(50051, ge=0, le=65535)
    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = Field(None, ge=0, le=65535)
    health_host: str = "127.0.0.1"
    health_port: int | None = Field(None, ge=0, le=65535)
    insecure: bool = False
    tls_cert_file: FilePath | None = None
    tls_key_file: FilePath | None = None
    tls_client_ca_file: FilePath | None = None
    auth: Literal["none", "jwt", "mtls", "any"] = "none"
    jwt_secret: SecretStr | None = None
    jwt_public_key_file: FilePath | None = None
    jwt_jwks_file: FilePath | None = None
    jwt_audience: str | None = None
    jwt_issuer: str | None = None
    jwt_leeway_seconds: float = Field(30.0, ge=0, le=300)
    mtls_callers: dict[str, Grant] = Field(default_factory=dict)
    page_token_key: SecretStr | None = None
    rate_per_second: float = Field(0.0, ge=0)
    traces: bool = False
    workers: int = Field(default_factory=lambda: max(4, 2 * cpu_limit()), ge=1, le=256)
    streams: int = Field(64, ge=1, le=10_000)
    caller_streams: int = Field(8, ge=1, le=10_000)
    queue_size: int = Field(512, ge=1, le=100_000)
    queue_seconds: float = Field(2.0, gt=0, le=60)
    deadline_reserve_seconds: float = Field(0.005, ge=0, le=1)
    drain_wait_seconds: float = Field(3.0, ge=0, le=60)
    drain_grace_seconds: float = Field(20.0, ge=0, le=600)
    max_message_bytes: int = Field(16 * MEBIBYTE, ge=1024, le=256 * MEBIBYTE)
    request_memory_bytes: int = Field(256 * MEBIBYTE, ge=1024)
    max_metadata_bytes: int = Field(16 * 1024, ge=1024, le=MEBIBYTE)
    max_connection_age_seconds: float = Field(600.0, ge=1)
    max_concurrent_streams: int = Field(1024, ge=1)
    max_connections: int = Field(2_000, ge=1)
    readiness_seconds: float = Field(5.0, gt=0, le=300)
    launcher: Literal["local", "kubernetes", "none"] = "local"
    launcher_shards: int = Field(16, ge=1, le=256)
    launcher_max_shards: int = Field(64, ge=1, le=256)
    launcher_open_runs: int = Field(4, ge=1, le=1000)

    @model_validator(mode="after")
    def _belong_together(self) -> Self:
        name = variables(type(self))
        if self.launcher_shards > self.launcher_max_shards:
            raise ValueError(f"{name['launcher_shards']} is above {name['launcher_max_shards']}")
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ValueError(f"{name['tls_cert_file']} and {name['tls_key_file']} go together: set both")
        if self.tls_client_ca_file is not None and self.tls_cert_file is None:
            raise ValueError(f"{name['tls_client_ca_file']} needs {name['tls_cert_file']} beside it")
        if self.auth in {"jwt", "any"}:
            keys = ("jwt_secret", "jwt_public_key_file", "jwt_jwks_file")
            if all(getattr(self, key) is None for key in keys):
                raise ValueError(
                    f"{name['auth']}={self.auth} needs one of {', '.join(name[key] for key in keys)}"
                )
            if not self.jwt_audience:
                raise ValueError(
                    f"{name['auth']}={self.auth} needs {name['jwt_audience']}: who tokens are for"
                )
        if self.auth in {"mtls", "any"}:
            if self.tls_client_ca_file is None:
                raise ValueError(f"{name['auth']}={self.auth} needs {name['tls_client_ca_file']}")
            if not self.mtls_callers:
                raise ValueError(f"{name['auth']}={self.auth} needs {name['mtls_callers']}: who may do what")
        return self

    @property
    def page_token_secret(self) -> str:
        """What tokens of listings are sealed with; empty where nothing secret is shared."""
        if self.page_token_key is not None:
            return self.page_token_key.get_secret_value()
        return self.database_url if urlsplit(self.database_url).password else ""

    @property
    def tls(self) -> bool:
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
