"""A trained model as files and back: JSON for words, raw little-endian arrays for numbers; no pickle.

About 10 kB an entity: ``model.json`` names the channels and shapes, ``numbers.bin`` holds double-precision numbers
in the order of `_SHAPES`, ``forest.bin`` the forest's nodes (absent in a pooled model).
"""

import json
import math
from collections.abc import Mapping
from itertools import accumulate
from typing import Any, Final

import numpy as np
from adsml_common.compiled import compiled
from adsml_common.domain.errors import ArtifactCorrupt
from adsml_common.registry.bundle import Bundle
from adsml_common.registry.models import ModelVersion

from adsml_anomaly.models.arrays import ByteArray, FloatArray, IndexArray
from adsml_anomaly.models.channels import BASE, CHANNELS
from adsml_anomaly.models.evidence import COMPONENTS
from adsml_anomaly.models.forest import Forest
from adsml_anomaly.models.local_level import Dynamics
from adsml_anomaly.models.series_model import SeriesModel
from adsml_anomaly.models.survival import LOG_P, Survival

FORMAT: Final = 1
MODEL_TYPE: Final = "anomaly_detector"
POOLED_TYPE: Final = "anomaly_profile"
FEATURES: Final = tuple(metric.value for metric in CHANNELS)

_FACTS, _NUMBERS, _FOREST = "model.json", "numbers.bin", "forest.bin"
_C, _P = len(CHANNELS), LOG_P.size
_SHAPES: Final[dict[str, tuple[int, ...]]] = {
    "phi": (_C,), "kappa": (_C,), "weekdays": (_C, 7), "unit_price": (1,), "moments": (BASE, BASE),
    "curves": (COMPONENTS, _P), "combined": (_P,),
}  # fmt: skip
_ENDS: Final = tuple(accumulate(math.prod(size) for size in _SHAPES.values()))
_LENGTH: Final = _ENDS[-1]
_PLACES: Final = {
    name: (end - math.prod(size), end, size) for (name, size), end in zip(_SHAPES.items(), _ENDS, strict=True)
}
_MOST_NODES: Final = 10_000_000


def parse(version: ModelVersion, bundle: Bundle) -> SeriesModel:
    """What a registered version's bundle holds; raises as `from_files`."""
    return from_files(bundle.files)


def to_files(model: SeriesModel) -> dict[str, bytes]:
    """The files of a bundle."""
    numbers = {
        "phi": model.dynamics.phi,
        "kappa": model.dynamics.kappa,
        "weekdays": model.dynamics.weekdays,
        "unit_price": np.array([model.dynamics.unit_price]),
        "moments": model.moments,
        "curves": model.grids,
        "combined": model.combined.scores,
    }
    facts: dict[str, Any] = {"format": FORMAT, "features": list(FEATURES), "forest": None}
    files = {_NUMBERS: b"".join(numbers[name].astype("<f8").tobytes() for name in _SHAPES)}
    if (forest := model.forest) is not None:
        facts["forest"] = {
            "trees": len(forest.starts),
            "nodes": len(forest.feature),
            "subsample": forest.subsample,
            "features": forest.features,
        }
        files[_FOREST] = b"".join(
            (
                forest.starts.astype("<i4").tobytes(),
                forest.feature.astype("i1").tobytes(),
                forest.threshold.astype("<f4").tobytes(),
                forest.right.astype("<i4").tobytes(),
            )
        )
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
    if raw.size != _LENGTH or not np.isfinite(raw).all():
        raise ArtifactCorrupt("its numbers are not as many as the format has, or not finite")
    parts = {name: raw[a:b].reshape(size) for name, (a, b, size) in _PLACES.items()}
    # Phi and kappa come first, the curves last.
    if raw[: 2 * _C].min() <= 0 or parts["unit_price"][0] <= 0:
        raise ArtifactCorrupt("a variance or price is not above 0")
    if not _rises(raw[-(COMPONENTS + 1) * _P :].reshape(-1, _P)):
        raise ArtifactCorrupt("a curve of p-values falls")
    return SeriesModel(
        Dynamics(parts["phi"], parts["kappa"], parts["weekdays"], float(parts["unit_price"][0])),
        parts["moments"],
        None if shape is None else _forest(shape, files),
        parts["curves"],
        Survival(parts["combined"]),
    )


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
    starts = np.frombuffer(data, "<i4", trees).astype(np.int32)
    feature = np.frombuffer(data, "i1", nodes, 4 * trees).astype(np.int8)
    threshold = np.frombuffer(data, "<f4", nodes, 4 * trees + nodes).astype(np.float32)
    right = np.frombuffer(data, "<i4", nodes, 4 * trees + 5 * nodes).astype(np.int32)
    # What would lead the scorer out of its arrays or in circles: it checks nothing itself.
    if fault := _FAULTS[_fault_of(starts, feature, right, features)]:
        raise ArtifactCorrupt(fault)
    return Forest(starts, feature, threshold, right, subsample, features)


_FAULTS: Final = (
    "",
    "its forest's trees do not lie one behind the other",
    "its forest's nodes do not make trees",
)
_ORDER, _SHAPE = 1, 2


@compiled
def _fault_of(starts: IndexArray, feature: ByteArray, right: IndexArray, features: int) -> int:
    nodes, trees = feature.size, starts.size
    for tree in range(trees):
        last = nodes if tree == trees - 1 else starts[tree + 1]
        if starts[tree] >= last or (tree == 0 and starts[0] != 0):
            return _ORDER
    for tree in range(trees):
        first, end = starts[tree], nodes if tree == trees - 1 else starts[tree + 1]
        for node in range(first, end):
            if feature[node] < -1 or feature[node] >= features:
                return _SHAPE
            if feature[node] < 0:
                if right[node] < 1:
                    return _SHAPE
            # A left child is the next node, so that a right one lies behind that and no tree ends with an inner one.
            elif right[node] <= node + 1 or right[node] >= end or node == end - 1:
                return _SHAPE
    return 0


@compiled
def _rises(curves: FloatArray) -> bool:
    for k in range(curves.shape[0]):
        for i in range(1, curves.shape[1]):
            if curves[k, i] < curves[k, i - 1]:
                return False
    return True
