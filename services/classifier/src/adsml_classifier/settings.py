"""What the classifier service needs to know."""

from adsml_common.serving.settings import ServingSettings
from pydantic import Field
from pydantic_settings import SettingsConfigDict

from adsml_classifier.models.transfer import CONFIDENCE_FACTOR


class ClassifierSettings(ServingSettings):
    """Settings of the classifier service, ``ADSML_CLASSIFIER_...``; see `ServingSettings` for the others.

    Attributes
    ----------
    attribution_lag_days
        Trailing days whose leads are still coming in: the as-of day, where a caller names none, is that much
        before the last stored day.
    transfer_confidence_factor
        What the confidence of a transferred answer is multiplied by.
    poll_seconds
        How often new versions of models are looked for.
    models_in_memory, accounts_in_memory
        How many models and accounts' recent days are kept.
    data_max_age_seconds
        Whether an account's rows have changed is asked of the store at most this often: an import is seen that
        much later.
    cache_responses
        Whether what is said of a stored account's entities is kept until its rows, its model or the options change;
        else the model runs for every call.
    """

    model_config = SettingsConfigDict(env_prefix="ADSML_CLASSIFIER_")

    port: int = Field(50051, ge=0, le=65535)
    attribution_lag_days: int = Field(0, ge=0, le=28)
    transfer_confidence_factor: float = Field(CONFIDENCE_FACTOR, gt=0, le=1)
    poll_seconds: float = Field(30.0, gt=0, le=3600)
    models_in_memory: int = Field(256, ge=1)
    accounts_in_memory: int = Field(32, ge=1)
    data_max_age_seconds: float = Field(0.2, ge=0, le=60)
    cache_responses: bool = True
