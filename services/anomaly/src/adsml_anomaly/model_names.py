"""Names of the family's models in the registry."""

from typing import Final

from adsml_common.domain.entities import EntityRef, EntityType
from adsml_common.registry.models import model_name

FAMILY: Final = "anomaly"


def entity_model(ref: EntityRef) -> str:
    """An entity's own model, e.g. ``anomaly/1/adset/42``."""
    return model_name(FAMILY, ref.config_id, ref.entity_type, ref.entity_id)


def level_model(config_id: int, level: EntityType) -> str:
    """The pooled model of a level, e.g. ``anomaly/1/adset``."""
    return model_name(FAMILY, config_id, level)


def account_model(config_id: int) -> str:
    """The pooled model of an account, e.g. ``anomaly/1``."""
    return model_name(FAMILY, config_id)
