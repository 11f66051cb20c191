"""What the anomaly service needs to know."""

from adsml_common.serving.settings import ServingSettings
from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict


class AnomalySettings(ServingSettings):
    """Settings of the anomaly service, ``ADSML_ANOMALY_...``; see `ServingSettings` for the others.

    Attributes
    ----------
    poll_seconds
        How often new versions of models are looked for.
    models_in_memory
        How many models are kept; one takes about 30 kB.
    histories_in_memory
        How many entities' rows are kept while they do not change; one takes about 6 kB.
    history_days
        Days before the first assessed one that are read as history.
    attribution_lag_days
        Trailing days of stored entities that are still filling up, where nothing was learnt from restated rows.
    country_code
        Country whose public holidays and trading days are unlike others, as ISO 3166-1 alpha-2, for accounts whose
        time zone names none; empty: none.
    min_stake_per_day
        Incidents with less money at stake per day, in the account's currency, are not raised.
    alertmanager_url
        Prometheus Alertmanager that `adsml scan-anomalies` hands incidents to, such as
        ``http://alertmanager:9093``; empty: to none.
    alertmanager_token
        Bearer token for it.
    load_delay_days
        Days from a day to the scan that should find it loaded: a scan on the 3rd expects the 2nd with 1.
    scan_interval_hours
        Hours between two scans: an alert that is not repeated within a little more than that ends by itself.
    report_url
        Where a person reads more, with ``{config_id}`` in it; becomes the alert's link.
    """

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
