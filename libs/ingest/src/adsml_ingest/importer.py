"""The import: files in, one transaction out."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from adsml_common.domain import daily
from adsml_common.domain.entities import EntityType
from adsml_common.store.counts import UpsertCounts
from adsml_common.store.metrics import MetricStore

from adsml_ingest import days
from adsml_ingest.batch import LEVELS, METRICS
from adsml_ingest.options import ImportOptions
from adsml_ingest.progress import Progress, Silent
from adsml_ingest.reading import BUILT, SETTLED, Reading, read_all
from adsml_ingest.rejects import Rejects
from adsml_ingest.staging import Rows, Staging
from adsml_ingest.summary import FileSummary, ImportSummary

CHUNK_ROWS: Final = 50_000
SUMS_SOURCE: Final = "sums"
"""Source of rows that were built; they never replace rows of another source."""


def import_files(
    paths: Sequence[Path | str],
    *,
    config_id: int,
    store: MetricStore | None,
    options: ImportOptions | None = None,
    progress: Progress | None = None,
) -> ImportSummary:
    """Load exports into the store: all that is good in one transaction, or nothing.

    Parameters
    ----------
    paths
        Files, and directories of files.
    config_id
        The ad account they belong to.
    store
        Where to; None: only read and check.
    options
        How to read them.
    progress
        Told how far it is.

    Returns
    -------
    ImportSummary
        What was read, left out, rejected and loaded.

    Raises
    ------
    InvalidInput
        Naming file, line, column, value and cure of the first bad rows of each kind: always if
        `ImportOptions.on_error` is ``stop`` and any row is bad; if it is ``skip``, when no row is good.
        Nothing was loaded then.
    Unavailable
        If the database does not answer; nothing was loaded.
    """
    began = time.monotonic()
    options, progress = options or ImportOptions(), progress or Silent()
    with Staging() as staging, Rejects(options.rejects) as rejects:
        reading = read_all([Path(path) for path in paths], staging, rejects, options, progress)
        loaded, entities = UpsertCounts(), UpsertCounts()
        if store is not None:
            loaded, entities = _load(reading, staging, config_id, store, progress)
        return _summary(reading, loaded, entities, rejects, seconds=time.monotonic() - began)


def read_frame(
    paths: Path | str | Sequence[Path | str], *, options: ImportOptions | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read exports into memory, without a database.

    Parameters
    ----------
    paths
        One or several files or directories.
    options
        How to read them.

    Returns
    -------
    daily : frame
        As in `adsml_common.domain.daily`.
    entities : frame
        ``entity_type, entity_id, parent_id, name, status, objective, shares_budget``, campaigns first; None
        where unknown.

    Raises
    ------
    InvalidInput
        As `import_files` does.
    """
    some = [paths] if isinstance(paths, Path | str) else paths
    options = options or ImportOptions()
    with Staging() as staging, Rejects(options.rejects) as rejects:
        reading = read_all([Path(path) for path in some], staging, rejects, options, Silent())
        frames = [_frame(reading, rows) for name in (SETTLED, BUILT) for rows in staging.parts(name)]
    rows = daily.normalise(pd.concat(frames)) if frames else daily.empty()
    found = [
        {
            "entity_type": str(entity.ref.entity_type), "entity_id": entity.ref.entity_id,
            "parent_id": entity.parent_id, "name": entity.name, "status": entity.status,
            "objective": entity.objective, "shares_budget": entity.shares_budget,
        }
        for entity in reading.tree.entities(1)
    ]  # fmt: skip
    columns = ["entity_type", "entity_id", "parent_id", "name", "status", "objective", "shares_budget"]
    return rows, pd.DataFrame(found, columns=columns, dtype=object)


def _load(
    reading: Reading, staging: Staging, config_id: int, store: MetricStore, progress: Progress
) -> tuple[UpsertCounts, UpsertCounts]:
    total, done, loaded = reading.rows.total(), 0, UpsertCounts()
    sources = _sources(reading)
    with store.load(config_id, source=", ".join(dict.fromkeys(sources))) as load:
        entities = load.entities(reading.tree.entities(config_id))
        for rows in _chunks(staging, SETTLED):
            named = np.array(sources, dtype=object)[rows["file"]]
            for source in dict.fromkeys(named.tolist()):
                loaded += load.add(_frame(reading, rows[named == source]), source=source)
            done += len(rows)
            progress.loading(done, total)
        for rows in _chunks(staging, BUILT):
            loaded += load.add(_frame(reading, rows), source=SUMS_SOURCE, keep_others=True)
            done += len(rows)
            progress.loading(done, total)
    return loaded, entities


def _sources(reading: Reading) -> list[str]:
    """Where each file's rows come from, for the store: their kind, and the file if there is but one."""
    kinds = [str(file.table.format) if file.table else "" for file in reading.files]
    return [
        f"{kind}:{file.path.name}" if kinds.count(kind) == 1 else kind
        for kind, file in zip(kinds, reading.files, strict=True)
    ]


def _chunks(staging: Staging, name: str) -> Iterator[Rows]:
    held: list[Rows] = []
    for rows in staging.parts(name):
        held.append(rows)
        if sum(map(len, held)) >= CHUNK_ROWS:
            yield from _cut(np.concatenate(held))
            held = []
    if held:
        yield from _cut(np.concatenate(held))


def _cut(rows: Rows) -> Iterator[Rows]:
    for start in range(0, len(rows), 2 * CHUNK_ROWS):
        yield rows[start : start + 2 * CHUNK_ROWS]


def _frame(reading: Reading, rows: Rows) -> pd.DataFrame:
    """Staged rows as a daily frame."""
    types = np.array([str(level) for level in LEVELS], dtype=object)
    return pd.DataFrame(
        {
            "entity_type": types[reading.tree.levels[rows["entity"]]],
            "entity_id": reading.tree.ids[rows["entity"]],
            "date": rows["day"].astype("datetime64[D]").astype("datetime64[ns]"),
            **{name: rows[name] for name in METRICS},
        }
    )


def _summary(
    reading: Reading, loaded: UpsertCounts, entities: UpsertCounts, rejects: Rejects, *, seconds: float
) -> ImportSummary:
    counts: dict[EntityType, int] = dict.fromkeys(LEVELS, 0)
    for entity in reading.tree.entities(1):
        counts[entity.ref.entity_type] += 1
    notes = [built.note for built in reading.sums]
    if reading.stray_actions:
        notes.append(
            f"{reading.stray_actions:,} lead actions ({reading.stray_leads:g} leads) have no row in basic_ad "
            "for their ad and day: left out"
        )
    currencies = list(reading.findings.currencies)
    return ImportSummary(
        files=tuple(
            FileSummary(
                path=str(file.path),
                format=file.found.format if file.found else None,
                table=file.table.source if file.table else "",
                rows=file.counts.rows,
                rejected=file.counts.rejected,
                totals=file.counts.totals,
                other_accounts=file.counts.other_accounts,
                refused=file.refused,
                notes=(*(file.table.notes if file.table else ()), *((file.unused,) if file.unused else ())),
            )
            for file in reading.files
        ),
        loaded=loaded,
        entities=entities,
        rows={level: reading.rows[index] for index, level in enumerate(LEVELS)},
        built={level: reading.built[index] for index, level in enumerate(LEVELS)},
        entity_counts=counts,
        duplicates=reading.duplicates,
        superseded=reading.superseded,
        summed=reading.summed,
        conflicts=reading.conflicts,
        first_day=days.to_date(reading.days[0]) if reading.days else None,
        last_day=days.to_date(reading.days[1]) if reading.days else None,
        currency=currencies[0] if currencies else None,
        problems=tuple(
            f"{violation.path}: {violation.description}"
            for violation in reading.findings.problems.violations()
        ),
        warnings=tuple(
            f"{violation.path}: {violation.description}"
            for violation in reading.findings.warnings.violations()
        ),
        notes=tuple(notes),
        reject_files=tuple(rejects.paths),
        seconds=seconds,
    )
