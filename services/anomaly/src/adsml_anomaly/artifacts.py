"""A trained model as files and back: JSON for words, raw little-endian arrays for numbers; no pickle.

About 10 kB an entity: ``model.json`` names the channels and shapes, ``numbers.bin`` holds double-precision numbers
in the order of `_SHAPES`, ``forest.bin`` the forest's nodes (absent in a pooled model) in that of `_FOREST_TYPES`.
"""

import json
import math
from collections.abc import Mapping
from itertools import accumulate
from typing import Any, Final

import numpy as np
from adsml_common.compiled import compiled
from adsml_common.domain.entities import EntityRef
from adsml_common.domain.errors import ArtifactCorrupt
from adsml_common.registry.bundle import Bundle
from adsml_common.registry.models import ModelVersion, model_name

from adsml_anomaly.models.arrays import ByteArray, IndexArray
from adsml_anomaly.models.channels import BASE, CHANNELS
from adsml_anomaly.models.evidence import COMPONENTS
from adsml_anomaly.models.forest import LEAF, Forest
from adsml_anomaly.models.local_level import Dynamics
from adsml_anomaly.models.series_model import SeriesModel
from adsml_anomaly.models.survival import LOG_P

FAMILY: Final = "anomaly"
FORMAT: Final = 1
MODEL_TYPE: Final = "anomaly_detector"
POOLED_TYPE: Final = "anomaly_profile"
FEATURES: Final = tuple(metric.value for metric in CHANNELS)

_FACTS, _NUMBERS, _FOREST = "model.json", "numbers.bin", "forest.bin"
_C, _P = len(CHANNELS), LOG_P.size
_SHAPES: Final[dict[str, tuple[int, ...]]] = {
    "phi": (_C,), "kappa": (_C,), "weekdays": (_C, 7), "unit_price": (1,), "moments": (BASE, BASE),
    "curves": (COMPONENTS + 1, _P),
}  # fmt: skip
_ENDS: Final = tuple(accumulate(math.prod(size) for size in _SHAPES.values()))
_FOREST_TYPES: Final = {"starts": "<i4", "feature": "i1", "threshold": "<f4", "right": "<i4"}
_MOST_NODES: Final = 10_000_000


def entity_model(ref: EntityRef) -> str:
    """The name of an entity's own model: ``anomaly/1/adset/42``. Its level's profile is ``anomaly/1/adset``."""
    return model_name(FAMILY, ref.config_id, ref.entity_type, ref.entity_id)


def parse(version: ModelVersion, bundle: Bundle) -> SeriesModel:
    """What a registered version's bundle holds; raises as `from_files`."""
    return from_files(bundle.files)


def to_files(model: SeriesModel) -> dict[str, bytes]:
    """The files of a bundle."""
    numbers = (
        model.dynamics.phi, model.dynamics.kappa, model.dynamics.weekdays, np.array([model.dynamics.unit_price]),
        model.moments, model.curves,
    )  # fmt: skip
    facts: dict[str, Any] = {"format": FORMAT, "features": list(FEATURES), "forest": None}
    files = {_NUMBERS: b"".join(one.astype("<f8").tobytes() for one in numbers)}
    if (forest := model.forest) is not None:
        facts["forest"] = {
            "trees": len(forest.starts),
            "nodes": len(forest.feature),
            "subsample": forest.subsample,
            "features": _C,
        }
        arrays = (getattr(forest, name).astype(kind) for name, kind in _FOREST_TYPES.items())
        files[_FOREST] = b"".join(one.tobytes() for one in arrays)
    files[_FACTS] = json.dumps(facts, sort_keys=True).encode()
    return files


def from_files(files: Mapping[str, bytes]) -> SeriesModel:
    """Read what `to_files` wrote.

    Raises
    ------
    ArtifactCorrupt
        A file is missing or is something else, or the model was trained on other features than this version
        computes.
    """
    try:
        facts: dict[str, Any] = json.loads(files[_FACTS])
        version, features, shape = facts["format"], tuple(facts["features"]), facts["forest"]
        raw = np.frombuffer(files[_NUMBERS], dtype="<f8").astype(np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactCorrupt(f"not the files of an anomaly model ({type(error).__name__})") from None
    if version != FORMAT:
        raise ArtifactCorrupt(f"written in format {version}; this version reads format {FORMAT}")
    if features != FEATURES:
        raise ArtifactCorrupt(
            f"trained on {len(features)} features that are not the {len(FEATURES)} which this version computes; "
            "retrain it"
        )
    if raw.size != _ENDS[-1] or not np.isfinite(raw).all():
        raise ArtifactCorrupt("its numbers are not as many as the format has, or not finite")
    phi, kappa, weekdays, price, moments, curves = (
        raw[end - math.prod(size) : end].reshape(size)
        for end, size in zip(_ENDS, _SHAPES.values(), strict=True)
    )
    if min(phi.min(), kappa.min(), price[0]) <= 0:
        raise ArtifactCorrupt("a variance or price is not above 0")
    if np.diff(curves).min() < 0:
        raise ArtifactCorrupt("a curve of p-values falls")
    dynamics = Dynamics(phi, kappa, weekdays, float(price[0]))
    return SeriesModel(dynamics, moments, None if shape is None else _forest(shape, files), curves)


def _forest(shape: Mapping[str, Any], files: Mapping[str, bytes]) -> Forest:
    try:
        trees, nodes, subsample, features = (
            int(shape[key]) for key in ("trees", "nodes", "subsample", "features")
        )
        data = files[_FOREST]
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactCorrupt(f"its forest is not described ({type(error).__name__})") from None
    if features != _C or not 1 <= trees <= nodes <= _MOST_NODES or len(data) != 4 * trees + 9 * nodes:
        raise ArtifactCorrupt("its forest is not as long as it says")
    arrays, at = dict[str, Any](), 0
    for name, kind in _FOREST_TYPES.items():
        array = np.frombuffer(data, kind, trees if name == "starts" else nodes, at)
        arrays[name], at = array.astype(array.dtype.newbyteorder("=")), at + array.nbytes
    if not _makes_trees(arrays["starts"], arrays["feature"], arrays["right"]):
        raise ArtifactCorrupt("its forest's nodes do not make trees, one behind the other")
    return Forest(**arrays, subsample=subsample)


@compiled
def _makes_trees(starts: IndexArray, feature: ByteArray, right: IndexArray) -> bool:
    """Whether no node leads the scorer, which checks nothing, out of its tree or in circles."""
    nodes, trees = feature.size, starts.size
    if starts[0] != 0:
        return False
    for tree in range(trees):
        end = nodes if tree == trees - 1 else starts[tree + 1]
        if not starts[tree] < end <= nodes:
            return False
        for node in range(starts[tree], end):
            if feature[node] == LEAF:
                sound = right[node] >= 1
            else:
                # A left child is the next node: a right one lies behind that, and no tree ends with an inner one.
                sound = 0 <= feature[node] < _C and node + 1 < right[node] < end
            if not sound:
                return False
    return True
