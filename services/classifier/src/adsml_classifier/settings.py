"""What the classifier service needs to know."""

from adsml_common.serving.settings import ServingSettings
from pydantic import Field
from pydantic_settings import SettingsConfigDict

from adsml_classifier.models.transfer import CONFIDENCE_FACTOR


class ClassifierSettings(ServingSettings):
    """Settings of the classifier service, ``ADSML_CLASSIFIER_...``; see `ServingSettings` for the others."""

    model_config = SettingsConfigDict(env_prefix="ADSML_CLASSIFIER_")

    port: int = Field(50051, ge=0, le=65535)
    # The as-of day, where a caller names none, is that much before the last stored day: leads are still coming in.
    attribution_lag_days: int = Field(0, ge=0, le=28)
    transfer_confidence_factor: float = Field(CONFIDENCE_FACTOR, gt=0, le=1)
    # How often new versions of models are looked for.
    poll_seconds: float = Field(30.0, gt=0, le=3600)
    models_in_memory: int = Field(256, ge=1)
    accounts_in_memory: int = Field(32, ge=1)
    # An account's rows are looked at for changes at most this often: an import is seen that much later.
    data_max_age_seconds: float = Field(0.2, ge=0, le=60)
    # Keep what is said of a stored account's entities until its rows, its model or the options change.
    cache_responses: bool = True
