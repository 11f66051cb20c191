"""Settings of the forecasting process."""

from datetime import date

from adsml_common.serving.settings import ServingSettings
from pydantic import Field, FilePath
from pydantic_settings import SettingsConfigDict


class ForecastingSettings(ServingSettings):
    """Read from ``ADSML_FORECASTING_...``.

    Attributes
    ----------
    attribution_lag_days
        Trailing days of stored entities that are still filling up (attribution lag) and left out.
    poll_seconds, models_in_memory
        How often new model versions are looked for, and how many models stay in memory.
    cached_forecasts
        Forecasts kept, so that a repeated question on unchanged data costs no fit.
    batch_processes
        Processes for batches and backtests, some 400 MB each, started and warmed before the service says
        SERVING; -1: one per core; 0: none, a batch is worked on by its own thread.
    country_code, country_codes
        ISO 3166-1 alpha-2 code of the country whose holidays count for accounts whose time zone names none, and those
        of single accounts: ``{"12": "DE"}``. Empty: none but the days that trade is about everywhere.
    named_days
        Days of single accounts by name: ``{"12": {"spring sale": ["2025-03-01", "2026-03-07"]}}``.
    anomaly_target, classifier_target, impact_target
        ``host:port`` of the other services; empty: not asked, and the answers say so.
    peers_insecure
        Call them without TLS on other machines too.
    peers_ca_file, peers_cert_file, peers_key_file
        PEM files: who may have issued their certificates, and our own certificate and key for mTLS.
    peer_share, peer_seconds
        Share of a caller's remaining deadline that the other services may use, all at once; the same where the caller
        has none, and the most it ever is.
    """

    model_config = SettingsConfigDict(env_prefix="ADSML_FORECASTING_")

    port: int = Field(50052, ge=0, le=65535)
    attribution_lag_days: int = Field(0, ge=0, le=28)
    poll_seconds: float = Field(10.0, gt=0, le=3600)
    models_in_memory: int = Field(20_000, ge=1)
    cached_forecasts: int = Field(5_000, ge=0)
    batch_processes: int = Field(-1, ge=-1, le=256)
    country_code: str = Field("", pattern="^([A-Z]{2})?$")
    country_codes: dict[int, str] = Field(default_factory=dict)
    named_days: dict[int, dict[str, list[date]]] = Field(default_factory=dict)
    anomaly_target: str = ""
    classifier_target: str = ""
    impact_target: str = ""
    peers_insecure: bool = False
    peers_ca_file: FilePath | None = None
    peers_cert_file: FilePath | None = None
    peers_key_file: FilePath | None = None
    peer_share: float = Field(0.3, gt=0, lt=1)
    peer_seconds: float = Field(2.0, gt=0, le=60)
