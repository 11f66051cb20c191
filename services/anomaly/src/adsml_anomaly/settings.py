"""What the anomaly service needs to know."""

from adsml_common.serving.settings import ServingSettings
from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict


class AnomalySettings(ServingSettings):
    """Settings of the anomaly service (docs/anomaly.md), beside those of every server."""

    model_config = SettingsConfigDict(env_prefix="ADSML_ANOMALY_")

    port: int = Field(50053, ge=0, le=65535)
    poll_seconds: float = Field(30.0, gt=0, le=3600)
    models_in_memory: int = Field(20_000, ge=1)
    histories_in_memory: int = Field(20_000, ge=1)
    history_days: int = Field(120, ge=28, le=730)
    attribution_lag_days: int = Field(0, ge=0, le=28)
    country_code: str = Field("", pattern="^([A-Z]{2})?$")
    min_stake_per_day: float = Field(0.0, ge=0)
    alertmanager_url: str = Field("", pattern="^(https?://.+)?$")
    alertmanager_token: SecretStr | None = None
    load_delay_days: int = Field(1, ge=0, le=28)
    scan_interval_hours: float = Field(24.0, gt=0, le=168)
    report_url: str = ""
