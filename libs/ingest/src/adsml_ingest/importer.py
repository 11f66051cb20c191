"""The import: files in, one transaction out."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from adsml_common.database import Database
from adsml_common.domain.changes import ChangeEvent
from adsml_common.domain.entities import Entity, EntityType
from adsml_common.domain.errors import InvalidInput
from adsml_common.store.accounts import Account
from adsml_common.store.counts import UpsertCounts
from adsml_common.store.entities import EntityStore
from adsml_common.store.metrics import AccountLoad, MetricStore
from adsml_common.store.sums import SumReport

from adsml_ingest import days
from adsml_ingest.batch import LEVELS, METRICS
from adsml_ingest.binding import bind
from adsml_ingest.options import ImportOptions
from adsml_ingest.problems import Problem
from adsml_ingest.progress import Progress, Silent
from adsml_ingest.reading import SETTLED, Reading, read_all
from adsml_ingest.rejects import Rejects
from adsml_ingest.source import SourceFile
from adsml_ingest.staging import Rows, Staging
from adsml_ingest.summary import FileSummary, ImportSummary

CHUNK_ROWS: Final = 50_000


@dataclass(frozen=True, slots=True)
class Beside:
    """What a source knows beside its daily rows.

    Attributes
    ----------
    account
        The account itself.
    entities, changes
        Its structure, and what was changed.
    levels
        Levels of which it holds all rows of the window, even if there is none.
    complete
        Whether what it lacks of the window does not exist. Else it may lag behind, and only the days from the first
        to the last that it holds are replaced.
    """

    account: Account = field(default_factory=Account)
    entities: Sequence[Entity] = ()
    changes: Sequence[ChangeEvent] = ()
    levels: Sequence[EntityType] = ()
    complete: bool = False


def import_files(
    paths: Sequence[Path | str | SourceFile],
    *,
    config_id: int,
    store: MetricStore | None,
    options: ImportOptions | None = None,
    progress: Progress | None = None,
    beside: Beside | None = None,
) -> ImportSummary:
    """Load exports into the store: all that is good in one transaction, or nothing.

    Parameters
    ----------
    paths
        Files, and directories of files.
    config_id
        The ad account they belong to.
    store
        Where to; None: only read and check, by themselves.
    options
        How to read them.
    progress
        Told how far it is.
    beside
        What is loaded in the same transaction.

    Returns
    -------
    ImportSummary
        What was read, left out, rejected and loaded.

    Raises
    ------
    InvalidInput
        Naming file, line, column, value and cure of the first bad rows of each kind: always if
        `ImportOptions.on_error` is ``stop`` and any row is bad; if it is ``skip``, when no row is good. If the
        rows can't belong to the account that the config is bound to. Nothing was loaded then.
    Unavailable
        If the database does not answer; nothing was loaded.
    """
    began = time.monotonic()
    options, progress = options or ImportOptions(), progress or Silent()
    with Staging() as staging, Rejects(options.rejects) as rejects:
        reading = read_all([_path(path) for path in paths], staging, rejects, options, progress)
        if store is not None:
            loaded, entities, sums = _load(
                reading, staging, config_id, store, options, progress, beside or Beside()
            )
        else:
            with scratch_store() as (scratch, _):
                _, _, sums = _load(reading, staging, 1, scratch, options, Silent(), Beside())
            loaded, entities = UpsertCounts(), UpsertCounts()
        return _summary(reading, loaded, entities, sums, rejects, seconds=time.monotonic() - began)


def _path(path: Path | str | SourceFile) -> Path | SourceFile:
    return path if isinstance(path, SourceFile) else Path(path)


@contextmanager
def scratch_store() -> Iterator[tuple[MetricStore, EntityStore]]:
    """A store that is gone when closed, so that reading alone goes the way of loading."""
    with tempfile.TemporaryDirectory(prefix="adsml-check-") as directory:
        database = Database.open(f"sqlite:///{Path(directory) / 'scratch.db'}")
        try:
            database.migrate()
            yield MetricStore(database), EntityStore(database)
        finally:
            database.close()


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
    with scratch_store() as (metrics, tree):
        import_files(some, config_id=1, store=metrics, options=options)
        daily, entities = metrics.daily(1), tree.frame(1)
    order = entities["entity_type"].map({level.value: index for index, level in enumerate(LEVELS)})
    return daily, entities.loc[order.sort_values(kind="stable").index].reset_index(drop=True)


def _load(
    reading: Reading,
    staging: Staging,
    config_id: int,
    store: MetricStore,
    options: ImportOptions,
    progress: Progress,
    beside: Beside,
) -> tuple[UpsertCounts, UpsertCounts, SumReport]:
    total, done, loaded = reading.rows.total(), 0, UpsertCounts()
    sources = _sources(reading)
    with store.load(config_id, source=", ".join(dict.fromkeys(sources))) as load:
        bind(load, reading, options, beside.account)
        window = _window(reading, options, beside)
        if window is not None:
            load.replace_window(*window)
        entities = load.entities([*reading.tree.entities(config_id), *beside.entities])
        for rows in _chunks(staging, SETTLED):
            loaded += _add(load, reading, rows, sources, options)
            done += len(rows)
            progress.loading(done, total)
        load.changes(beside.changes)
        if window is not None:
            loaded += load.delete_missing([LEVELS[level] for level in reading.rows] or beside.levels)
        sums = SumReport()
        if options.sum_levels:
            counts, sums = load.build_sums()
            loaded += counts
    _warn(reading, loaded, sums)
    return loaded, entities, sums


def _window(reading: Reading, options: ImportOptions, beside: Beside) -> tuple[date, date] | None:
    """The days that are replaced.

    Raises
    ------
    InvalidInput
        If a source that may lag behind has none of the window.
    """
    if options.window is None or beside.complete:
        return options.window
    if reading.days is None:
        first, last = options.window
        raise InvalidInput.at("window", f"the source holds no row of {first} to {last}")
    return days.to_date(reading.days[0]), days.to_date(reading.days[1])


def _add(
    load: AccountLoad, reading: Reading, rows: Rows, sources: list[str], options: ImportOptions
) -> UpsertCounts:
    loaded = UpsertCounts()
    named = np.array(sources, dtype=object)[rows["file"]]
    for source in dict.fromkeys(named.tolist()):
        chosen = rows[named == source]
        loaded += load.add(
            _frame(reading, chosen),
            source=source,
            fetched_at=chosen["stamp"],
            older_file=options.older_file,
            corrections=options.allow_negative,
        )
    return loaded


def _warn(reading: Reading, loaded: UpsertCounts, sums: SumReport) -> None:
    """Say what the store showed."""
    warnings = reading.findings.warnings
    if loaded.older:
        what = f"{loaded.older:,} rows are older than what is stored: the newer ones were left as they are"
        warnings.add(Problem("", "older_rows", what, ""))
    for one in sums.examples:
        differing = [name for name in one.reported if abs(one.reported[name] - one.below[name]) > 1e-6]
        mine = ", ".join(f"{name} {one.reported[name]:g}" for name in differing)
        theirs = ", ".join(f"{name} {one.below[name]:g}" for name in differing)
        what = (
            f"the stored {one.entity_type} {one.entity_id} on {one.date} does not match what is below it: it has "
            f"{mine}, and its parts add up to {theirs}"
        )
        if sums.contradictions > len(sums.examples):
            what += f" ({sums.contradictions:,} such rows)"
        cure = f"import the report of {one.entity_type}s again as well, if it is the older"
        warnings.add(Problem("", "contradiction", what, cure))


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


def _sum_notes(sums: SumReport) -> list[str]:
    notes = [
        f"{number:,} daily rows of {level}s are sums of what is below them, reach left out"
        for level, number in sums.rows.items()
        if number
    ]
    notes += [
        f"{number:,} {level}(s) with unknown parent are in no sum"
        for level, number in sums.orphans.items()
        if number and level is not EntityType.CAMPAIGN
    ]
    return notes


def _summary(
    reading: Reading,
    loaded: UpsertCounts,
    entities: UpsertCounts,
    sums: SumReport,
    rejects: Rejects,
    *,
    seconds: float,
) -> ImportSummary:
    counts: dict[EntityType, int] = dict.fromkeys(LEVELS, 0)
    for entity in reading.tree.entities(1):
        counts[entity.ref.entity_type] += 1
    notes = _sum_notes(sums)
    notes += [f"skipped {file}" for file in reading.skipped]
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
                format=file.export.format if file.export else None,
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
        rows={level: reading.rows[index] + sums.rows.get(level, 0) for index, level in enumerate(LEVELS)},
        built={level: sums.rows.get(level, 0) for level in LEVELS},
        entity_counts=counts,
        duplicates=reading.duplicates,
        superseded=reading.superseded,
        summed=reading.summed,
        conflicts=reading.conflicts,
        untold=reading.untold,
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
