"""Models in use: which, how old, what their training measured, and how honest they are about being sure."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
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


def _kind(model: ModelVersion) -> str:
    """Models of single entities, told together: family and level."""
    return f"{model.name.split('/')[0]}: one per {model.entity_type or 'entity'}"


def _reliability(model: ModelVersion) -> Reliability | None:
    bins = _find(model.training_metrics, "reliability")
    if not isinstance(bins, Sequence) or not bins:
        return None
    try:
        found = tuple((int(b["count"]), float(b["confidence"]), float(b["accuracy"])) for b in bins)
    except (KeyError, TypeError, ValueError):  # of another version, which measured something else
        return None
    return Reliability(f"{model.name} version {model.version}: how sure, and how often right", found)


def _find(metrics: Mapping[str, Any], key: str) -> Any:  # what a training measured may be anything
    if key in metrics:
        return metrics[key]
    inner = (_find(value, key) for value in metrics.values() if isinstance(value, Mapping))
    return next((one for one in inner if one is not None), None)


def models(context: ReportContext) -> tuple[Block, ...]:
    """The active models of the account: those of levels one by one, those of single entities by kind."""
    active = context.registry.list(config_id=context.config_id, status=ModelStatus.ACTIVE, limit=10_000)
    if not active:
        return (
            Note(
                "No model is trained for this account yet: rules and defaults answered. Run: adsml train --help"
            ),
        )
    single: defaultdict[str, list[ModelVersion]] = defaultdict(list)
    rows = []
    for model in sorted(active, key=lambda one: one.name):
        if model.entity_id is not None:
            single[_kind(model)].append(model)
            continue
        rows.append(
            Row(
                (
                    f"{model.name} v{model.version}",
                    model.created_at.date(),
                    _age_chip(_age(model)),
                    f"{model.samples_count:,}",
                    "; ".join(_scalars(model.training_metrics)[:_SHOWN]),
                )
            )
        )
    columns = ("model", "trained", "age", "samples", "measured on days it had not seen")
    blocks: list[Block] = []
    if rows:
        blocks.append(
            Table("Models of the account and its levels", columns, tuple(rows), frozenset({"samples"}))
        )
    if single:
        kinds = tuple(
            Row(
                (
                    kind,
                    f"{len(those):,}",
                    _age_chip(max(map(_age, those))),
                    f"{min(m.samples_count for m in those):,} to {max(m.samples_count for m in those):,}",
                )
            )
            for kind, those in single.items()
        )
        blocks.append(
            Table(
                "Models of single entities",
                ("kind", "models", "oldest", "samples"),
                kinds,
                frozenset({"models", "samples"}),
            )
        )
    return (*blocks, *(one for one in map(_reliability, active) if one is not None))
