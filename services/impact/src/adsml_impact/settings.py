"""What the impact service needs to know."""

from adsml_common.serving.settings import ServingSettings
from pydantic import Field
from pydantic_settings import SettingsConfigDict


class ImpactSettings(ServingSettings):
    """Settings of the impact service (``ADSML_IMPACT_...``), which hold where a request does not say.

    Attributes
    ----------
    attribution_lag_days
        Trailing days of stored entities that are left out because leads are still being reported.
    equivalence_margin
        Relative effects within plus and minus this do not matter.
    """

    model_config = SettingsConfigDict(env_prefix="ADSML_IMPACT_")

    port: int = Field(50054, ge=0, le=65535)
    attribution_lag_days: int = Field(2, ge=0, le=28)
    equivalence_margin: float = Field(0.2, gt=0, le=0.5)
