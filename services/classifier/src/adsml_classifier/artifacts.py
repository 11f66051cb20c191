"""Trained models by name, as files and back: boosters as UBJSON, everything else as JSON; no pickle.

A bundle holds the model that serves and a model of the same kind that never saw the holdout. The gate compares a
later candidate with the latter: the model that serves has learnt from days that a candidate may be judged on.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

import xgboost
from adsml_common.domain.entities import EntityType
from adsml_common.domain.errors import ArtifactCorrupt
from adsml_common.registry.bundle import MAX_BYTES, Bundle, unpacks_to
from adsml_common.registry.models import ModelVersion, model_name

from adsml_classifier.models import boosters, features, linear
from adsml_classifier.models.calibration import Calibration
from adsml_classifier.models.labels import LabelMode
from adsml_classifier.models.tier_model import TierModel
from adsml_classifier.models.transfer import LevelStatistics, LevelTransfer

FAMILY: Final = "classifier"
JOB: Final = "classifiers"
"""The training job's name, in commands, records and the contract."""
GLOBAL: Final = "global"
"""The part of an account's models that is for entities new to it."""
MODEL_TYPE: Final = "tier_xgboost"
_MODEL, _HOLDOUT_MODEL, _FACTS = "model.ubj", "twin.ubj", "facts.json"
FORMAT: Final = 3
"""Of `facts.json`. 1 had no linear part and did not name its format, 2 an offset for each tier."""


def account_model(config_id: int) -> str:
    """Name of the account's model over all its levels."""
    return model_name(FAMILY, config_id)


def global_model(config_id: int) -> str:
    """Name of the account's model for entities that are new to it, learnt on its campaigns."""
    return model_name(FAMILY, config_id, part=GLOBAL)


@dataclass(frozen=True)
class StoredModel:
    """What a bundle holds.

    `levels` are statistics of the account's levels where the model is to be carried from campaigns to the others with
    rescaled features; empty where it reads them as they are.
    """

    model: TierModel  # the one that serves
    holdout_model: TierModel  # the same, fitted without the holdout
    twin_until: date  # the last day that the holdout model's labels looked at
    mode: LabelMode
    trained_on: tuple[EntityType, ...]
    levels: Mapping[str, LevelStatistics] = field(default_factory=dict)

    def for_level(self, level: EntityType) -> TierModel | LevelTransfer:
        """The model that answers for entities of a level."""
        top = EntityType.CAMPAIGN.value
        if level.value == top or not {level.value, top} <= self.levels.keys():
            return self.model
        return LevelTransfer(self.model, self.levels[level.value], self.levels[top])


def to_files(stored: StoredModel) -> dict[str, bytes]:
    """The files of a bundle."""
    model, twin = stored.model, stored.holdout_model
    facts = {
        "format": FORMAT,
        "features": list(features.NAMES),
        "calibration_scale": model.calibration.scale,
        "absent": model.absent,
        "twin_absent": twin.absent,
        "linear": model.linear.as_dict(),
        "twin_linear": twin.linear.as_dict(),
        "twin_until": stored.twin_until.isoformat(),
        "label_mode": stored.mode.value,
        "trained_on": [level.value for level in stored.trained_on],
        "levels": {name: one.as_dict() for name, one in stored.levels.items()},
    }
    return {
        _MODEL: bytes(model.booster.save_raw("ubj")),
        _HOLDOUT_MODEL: bytes(twin.booster.save_raw("ubj")),
        _FACTS: json.dumps(facts, sort_keys=True).encode(),
    }


def from_files(files: Mapping[str, bytes]) -> StoredModel:
    """Read what `to_files` wrote; `ArtifactCorrupt` where it is something else, or of other features than today's."""
    try:
        facts: dict[str, Any] = json.loads(files[_FACTS])
        written = facts.get("format", 1)
        if written != FORMAT:
            raise ArtifactCorrupt(
                f"a classifier's files of format {written}; this version reads format {FORMAT}: retrain it"
            )
        if (named := tuple(facts["features"])) != features.NAMES:
            raise ArtifactCorrupt(
                f"learnt from {len(named)} features that are not the {len(features.NAMES)} which this version "
                "computes; retrain it"
            )
        calibration = Calibration(float(facts["calibration_scale"]))
        if not 0 < calibration.scale < float("inf"):
            raise ValueError("calibration_scale")
        model, holdout_model = (
            TierModel(
                _booster(files[name]),
                calibration,
                linear.from_dict(facts[f"{part}linear"]),
                tuple(map(int, facts[f"{part}absent"])),
            )
            for name, part in ((_MODEL, ""), (_HOLDOUT_MODEL, "twin_"))
        )
        return StoredModel(
            model,
            holdout_model,
            date.fromisoformat(facts["twin_until"]),
            LabelMode(facts["label_mode"]),
            tuple(EntityType(level) for level in facts["trained_on"]),
            {name: LevelStatistics.from_dict(data) for name, data in facts["levels"].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError, xgboost.core.XGBoostError) as error:
        raise ArtifactCorrupt(f"not the files of a classifier ({type(error).__name__})") from None


def _booster(data: bytes) -> xgboost.Booster:
    boosters.check(data, features=len(features.NAMES))
    booster = xgboost.Booster()
    booster.load_model(bytearray(data))
    # One row does not get faster by more threads, and rows of many callers run side by side.
    booster.set_param({"nthread": 1})
    return booster


@unpacks_to(MAX_BYTES)
def parse(version: ModelVersion, bundle: Bundle) -> StoredModel:
    """What a version's bundle holds; errors as of `from_files`."""
    return from_files(bundle.files)


@unpacks_to(MAX_BYTES)
def parse_warmed(version: ModelVersion, bundle: Bundle) -> StoredModel:
    """As `parse`; the model has answered once, so that the first caller after a swap waits for nothing."""
    stored = from_files(bundle.files)
    stored.model.warm()
    return stored
