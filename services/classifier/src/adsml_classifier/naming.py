"""Names of the family's models in the registry."""

from typing import Final

from adsml_common.registry.models import model_name

FAMILY: Final = "classifier"
JOB: Final = "classifiers"
"""The training job's name, in commands, records and the contract."""
_GLOBAL: Final = "global"


def account_model(config_id: int) -> str:
    """The account's model over all its levels."""
    return model_name(FAMILY, config_id)


def global_model(config_id: int) -> str:
    """The account's model for entities that are new to it, learnt on its campaigns."""
    return model_name(FAMILY, config_id, part=_GLOBAL)
