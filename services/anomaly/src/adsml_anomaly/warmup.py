"""Compile every kernel before the first request, or load it from numba's cache (``NUMBA_CACHE_DIR``)."""

from datetime import date

import numpy as np
from adsml_common.domain.entities import EntityRef, EntityType

from adsml_anomaly.artifacts import from_files, to_files
from adsml_anomaly.models import points
from adsml_anomaly.models.assessment import Subject
from adsml_anomaly.models.channels import Days
from adsml_anomaly.models.detection import assess
from adsml_anomaly.models.fitting import fit_entity, learn_pool
from adsml_anomaly.models.results import Threshold


def warm() -> None:
    """Judge a small made-up series, and a few points."""
    t = np.arange(40)
    rows = np.stack([50 + t % 7, 4000.0 + t % 5, 60.0 + t % 3, 6.0 + t % 4, 3000.0 + t], axis=1)
    days = Days(date(2024, 1, 1), rows)
    ref = EntityRef(1, EntityType.ADSET, "warm")
    pool = learn_pool({ref: days})
    model = fit_entity(days, pool, ref.entity_type, what=str(ref)).model
    model = from_files(to_files(model))
    assess(Subject(name="warm", days=days, model=model, threshold=Threshold(1.0)))
    points.alarms(rows[0], 7)
    seconds = np.full(len(t), 86400.0).cumsum()
    points.assess_points(
        "warm", seconds, rows[:, 0], season_length=7, threshold=Threshold(1.0), anomalous_only=True
    )
