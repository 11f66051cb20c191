"""The first two steps of a model's life: its artifact, then its row."""

import hashlib
import secrets
import sys
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from adsml_common.database import Database
from adsml_common.domain.errors import Unavailable
from adsml_common.registry import queries
from adsml_common.registry.artifacts import ArtifactStore
from adsml_common.registry.bundle import Bundle, pack
from adsml_common.registry.models import Candidate, ModelEventType, ModelStatus, ModelVersion, jsonable
from adsml_common.registry.signatures import Signatures
from adsml_common.registry.tables import ml_trained_models as models
from adsml_common.version import UNKNOWN, version

_ATTEMPTS: Final = 50
# Import name and distribution of what can shape a model.
_LIBRARIES: Final = {
    "numpy": "numpy",
    "pandas": "pandas",
    "scipy": "scipy",
    "sklearn": "scikit-learn",
    "xgboost": "xgboost",
    "prophet": "prophet",
    "statsforecast": "statsforecast",
    "numba": "numba",
}


def register(
    database: Database, artifacts: ArtifactStore, candidate: Candidate, *, signatures: Signatures
) -> ModelVersion:
    candidate.check()
    if candidate.run_id is not None:
        with database.read() as connection:
            made = queries.version_of_run(connection, candidate.run_id, candidate.name)
        if made is not None:
            return made
    bundle = Bundle.of(
        model_type=candidate.model_type,
        files=candidate.files,
        feature_columns=candidate.feature_columns,
        library_versions=_library_versions(),
    )
    data = pack(bundle, sign=partial(signatures.sign, candidate.name))
    sha256 = hashlib.sha256(data).hexdigest()
    # A key of its own for every attempt: whatever a crash leaves is never written to again, and the sweep
    # never removes what a later attempt counts on.
    key = f"{candidate.name}/{sha256[:16]}-{secrets.token_hex(6)}.zip"
    row = _row(candidate, bundle) | {"artifact_uri": key, "sha256": sha256, "size_bytes": len(data)}
    artifacts.put(key, data)
    with database.write() as connection:
        made = _insert(connection, row)
    if made.artifact_uri != key:
        # The same run was registered elsewhere meanwhile.
        artifacts.delete(key)
    return made


def _insert(connection: Connection, row: dict[str, Any]) -> ModelVersion:
    name, run_id = row["name"], row["run_id"]
    for _ in range(_ATTEMPTS):
        last = connection.execute(
            sa.select(sa.func.max(models.c.version)).where(models.c.name == name)
        ).scalar()
        number = (last or 0) + 1
        try:
            with connection.begin_nested():
                connection.execute(models.insert().values(version=number, **row))
        except IntegrityError:
            # Somebody took the number, or this run's model is in already.
            if run_id is not None:
                made = queries.version_of_run(connection, run_id, name)
                if made is not None:
                    return made
            continue
        registered = queries.get_version(connection, name, number)
        queries.note_event(
            connection,
            registered,
            ModelEventType.REGISTERED,
            actor="training",
            reason=f"run {run_id}" if run_id else "registered without a run",
        )
        return registered
    raise Unavailable(f"{_ATTEMPTS} others registered {name} at the same time; try again")


def _row(candidate: Candidate, bundle: Bundle) -> dict[str, Any]:
    return {
        "name": candidate.name,
        "model_type": candidate.model_type,
        "config_id": candidate.config_id,
        "entity_type": candidate.entity_type.value if candidate.entity_type else None,
        "entity_id": candidate.entity_id,
        "format_version": bundle.manifest.format_version,
        "parameters": jsonable(candidate.parameters),
        "feature_columns": list(candidate.feature_columns),
        "training_metrics": jsonable(candidate.training_metrics),
        "samples_count": candidate.samples_count,
        "window_start": candidate.window_start,
        "window_end": candidate.window_end,
        "code_version": version(),
        "library_versions": dict(bundle.manifest.library_versions),
        "run_id": candidate.run_id,
        "status": ModelStatus.READY.value,
        "created_at": datetime.now(UTC),
    }


def _library_versions() -> dict[str, str]:
    """Versions of Python and of those model libraries that this process has imported."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for module, distribution in _LIBRARIES.items():
        if module in sys.modules and (known := version(distribution)) != UNKNOWN:
            found[distribution] = known
    return found
