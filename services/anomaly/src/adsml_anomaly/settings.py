"""What the anomaly service needs to know."""

from adsml_common.serving.settings import ServingSettings
from pydantic import Field
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
    """

    model_config = SettingsConfigDict(env_prefix="ADSML_ANOMALY_")

    port: int = Field(50053, ge=0, le=65535)
    poll_seconds: float = Field(30.0, gt=0, le=3600)
    models_in_memory: int = Field(20_000, ge=1)
    histories_in_memory: int = Field(10_000, ge=1)
    history_days: int = Field(120, ge=28, le=730)
