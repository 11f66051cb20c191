"""Models in use: which, how old, what their training measured, and how honest they are about being sure."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from adsml_common.registry.models import ModelStatus, ModelVersion

from adsml_report.content import Block, Chip, Note, Reliability, Row, Table, Tone
from adsml_report.context import ReportContext

_OLD_DAYS: Final = 8
"""The slowest training job runs once a week: an older model means that a job did not run or was turned away."""
_SHOWN: Final = 6


def _age(model: ModelVersion) -> int:
    created = model.created_at if model.created_at.tzinfo else model.created_at.replace(tzinfo=UTC)
    return max(0, (datetime.now(UTC) - created).days)


def _scalars(metrics: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Numbers among what a training measured, by dotted name; deeper objects after those of their level."""
    flat = [
        f"{prefix}{name.replace('_', ' ')} {value:.3g}"
        for name, value in metrics.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    for name, value in metrics.items():
        if isinstance(value, Mapping) and name != "gate" and not prefix:
            flat += _scalars(value, f"{name.replace('_', ' ')}: ")
    return flat


def _age_chip(days: int) -> Chip:
    shown = "today" if days == 0 else f"{days} days"
    return Chip(f"{shown}, old", Tone.POOR) if days > _OLD_DAYS else Chip(shown, Tone.GOOD)


def _reliability(model: ModelVersion) -> Reliability | None:
    bins = model.training_metrics.get("reliability")
    try:
        found = tuple((int(b["count"]), float(b["confidence"]), float(b["accuracy"])) for b in bins or ())
    except (KeyError, TypeError, ValueError):  # of another version, which measured something else
        return None
    name = f"{model.name} version {model.version}: how sure, and how often right"
    return Reliability(name, found) if found else None


def models(context: ReportContext) -> tuple[Block, ...]:
    """The active models of the account: those of levels one by one, those of single entities by kind."""
    active = context.registry.list(config_id=context.config_id, status=ModelStatus.ACTIVE, limit=10_000)
    if not active:
        why = "No model is trained for this account yet: rules and defaults answered. Run: adsml train --help"
        return (Note(why),)
    single: defaultdict[str, list[ModelVersion]] = defaultdict(list)
    rows = []
    for model in sorted(active, key=lambda one: one.name):
        if model.entity_id is not None:
            single[f"{model.name.split('/')[0]}: one per {model.entity_type or 'entity'}"].append(model)
            continue
        measured = "; ".join(_scalars(model.training_metrics)[:_SHOWN])
        name, learnt_from = f"{model.name} v{model.version}", f"{model.samples_count:,}"
        rows.append(Row((name, model.created_at.date(), _age_chip(_age(model)), learnt_from, measured)))
    kinds = []
    for kind, those in single.items():
        samples = [one.samples_count for one in those]
        oldest = _age_chip(max(map(_age, those)))
        kinds.append(Row((kind, f"{len(those):,}", oldest, f"{min(samples):,} to {max(samples):,}")))
    columns = ("model", "trained", "age", "samples", "measured on days it had not seen")
    of_kind = ("kind", "models", "oldest", "samples")
    tables = (
        Table("Models of the account and its levels", columns, tuple(rows), frozenset({"samples"})),
        Table("Models of single entities", of_kind, tuple(kinds), frozenset({"models", "samples"})),
    )
    reliabilities = (_reliability(one) for one in active)
    return (*(one for one in tables if one.rows), *(one for one in reliabilities if one is not None))
