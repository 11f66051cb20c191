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
from adsml_ingest.options import ImportOptions, Progress
from adsml_ingest.problems import Problem
from adsml_ingest.reading import read_all
from adsml_ingest.rejects import Rejects
from adsml_ingest.source import SourceFile
from adsml_ingest.staging import SETTLED, Rows, Staging
from adsml_ingest.state import ImportState
from adsml_ingest.summary import FileSummary, ImportSummary

CHUNK_ROWS: Final = 50_000


@dataclass(frozen=True, slots=True)
class Beside:
    """What a source knows beside its daily rows, loaded in the same transaction."""

    account: Account = field(default_factory=Account)
    entities: Sequence[Entity] = ()
    changes: Sequence[ChangeEvent] = ()
    levels: Sequence[EntityType] = ()  # of which it holds all rows of the window, even if there is none
    complete: bool = False
    """Whether what it lacks of the window does not exist. Else it may lag behind, and only the days from the first
    to the last that it holds are replaced."""


@dataclass(slots=True)
class _Loaded:
    """What the store says of a load."""

    rows: UpsertCounts
    entities: UpsertCounts
    sums: SumReport


def import_files(
    paths: Sequence[Path | str | SourceFile],
    *,
    config_id: int,
    store: MetricStore | None,
    options: ImportOptions | None = None,
    progress: Progress | None = None,
    beside: Beside | None = None,
) -> ImportSummary:
    """Load exports (files, and directories of files) into the store: all that is good at once, or nothing.

    Without a store they are only read and checked, by themselves.

    Raises `InvalidInput` naming file, line, column, value and cure of the first bad rows of each kind: always if
    `ImportOptions.on_error` is ``stop`` and any row is bad; if it is ``skip``, when no row is good. If the rows can't
    belong to the account that the config is bound to. Raises `Unavailable` if the database does not answer. Nothing was
    loaded then.
    """
    began = time.monotonic()
    options, shown = options or ImportOptions(), progress or _silent
    with Staging() as staging, Rejects(options.rejects) as rejects:
        state = ImportState(options, staging, rejects)
        read_all([path if isinstance(path, SourceFile) else Path(path) for path in paths], state, shown)
        if store is not None:
            loaded = _load(state, config_id, store, shown, beside or Beside())
        else:
            with scratch_store() as (scratch, _):
                loaded = _load(state, 1, scratch, _silent, Beside())
            loaded.rows = loaded.entities = UpsertCounts()
        return _summary(state, loaded, seconds=time.monotonic() - began)


def _silent(_: str, __: int, ___: int) -> None:
    """Show nothing."""


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
    """Read exports into memory, without a database; raises as `import_files` does.

    Returns
    -------
    daily : frame
        As in `adsml_common.domain.daily`.
    entities : frame
        ``entity_type, entity_id, parent_id, name, status, objective, shares_budget``, campaigns first; None
        where unknown.
    """
    some = [paths] if isinstance(paths, Path | str) else paths
    with scratch_store() as (metrics, tree):
        import_files(some, config_id=1, store=metrics, options=options)
        daily, entities = metrics.daily(1), tree.frame(1)
    order = entities["entity_type"].map({level.value: index for index, level in enumerate(LEVELS)})
    return daily, entities.loc[order.sort_values(kind="stable").index].reset_index(drop=True)


def _load(
    state: ImportState, config_id: int, store: MetricStore, progress: Progress, beside: Beside
) -> _Loaded:
    total, done = state.rows.total(), 0
    sources = _sources(state)
    found = _Loaded(UpsertCounts(), UpsertCounts(), SumReport())
    with store.load(config_id, source=", ".join(dict.fromkeys(sources))) as load:
        bind(load, state, beside.account)
        window = _window(state, beside)
        if window is not None:
            load.replace_window(*window)
        found.entities = load.entities([*state.tree.entities(config_id), *beside.entities])
        for rows in _chunks(state.staging):
            found.rows += _add(load, state, rows, sources)
            done += len(rows)
            progress("loading", done, total)
        load.changes(beside.changes)
        if window is not None:
            found.rows += load.delete_missing([LEVELS[level] for level in state.rows] or beside.levels)
        if state.options.sum_levels:
            counts, found.sums = load.build_sums()
            found.rows += counts
    _warn(state, found)
    return found


def _window(state: ImportState, beside: Beside) -> tuple[date, date] | None:
    """The days that are replaced; raises `InvalidInput` if a source that may lag behind has none of them."""
    window = state.options.window
    if window is None or beside.complete:
        return window
    if state.days is None:
        raise InvalidInput.at("window", f"the source holds no row of {window[0]} to {window[1]}")
    return days.to_date(state.days[0]), days.to_date(state.days[1])


def _add(load: AccountLoad, state: ImportState, rows: Rows, sources: list[str]) -> UpsertCounts:
    loaded, options = UpsertCounts(), state.options
    named = np.array(sources, dtype=object)[rows["file"]]
    for source in dict.fromkeys(named.tolist()):
        chosen = rows[named == source]
        loaded += load.add(
            _frame(state, chosen), source=source, fetched_at=chosen["stamp"], older_file=options.older_file,
            corrections=options.allow_negative,
        )  # fmt: skip
    return loaded


def _warn(state: ImportState, found: _Loaded) -> None:
    """Say what the store showed."""
    if found.rows.older:
        what = (
            f"{found.rows.older:,} rows are older than what is stored: the newer ones were left as they are"
        )
        state.warnings.add(Problem("", "older_rows", what, ""))
    fallen = found.rows.fallen
    if fallen and state.options.window is None:
        what = f"{fallen:,} daily rows now have fewer impressions or leads than were stored, as an older file's would"
        cure = "if it is older, import the newer one again, and load older files with --older-file"
        state.warnings.add(Problem("", "fewer", what, cure))
    for one in found.sums.examples:
        differing = [name for name in one.reported if abs(one.reported[name] - one.below[name]) > 1e-6]
        mine = ", ".join(f"{name} {one.reported[name]:g}" for name in differing)
        theirs = ", ".join(f"{name} {one.below[name]:g}" for name in differing)
        what = (
            f"the stored {one.entity_type} {one.entity_id} on {one.date} does not match what is below it: it has "
            f"{mine}, and its parts add up to {theirs}"
        )
        if found.sums.contradictions > len(found.sums.examples):
            what += f" ({found.sums.contradictions:,} such rows)"
        cure = f"import the report of {one.entity_type}s again as well, if it is the older"
        state.warnings.add(Problem("", "contradiction", what, cure))


def _sources(state: ImportState) -> list[str]:
    """Where each file's rows come from, for the store: their kind, and the file if there is but one."""
    kinds = [str(file.table.format) if file.table else "" for file in state.files]
    return [
        f"{kind}:{file.path.name}" if kinds.count(kind) == 1 else kind
        for kind, file in zip(kinds, state.files, strict=True)
    ]


def _chunks(staging: Staging) -> Iterator[Rows]:
    held: list[Rows] = []
    for rows in staging.parts(SETTLED):
        held.append(rows)
        if sum(map(len, held)) >= CHUNK_ROWS:
            yield from _cut(np.concatenate(held))
            held = []
    if held:
        yield from _cut(np.concatenate(held))


def _cut(rows: Rows) -> Iterator[Rows]:
    for start in range(0, len(rows), 2 * CHUNK_ROWS):
        yield rows[start : start + 2 * CHUNK_ROWS]


def _frame(state: ImportState, rows: Rows) -> pd.DataFrame:
    """Staged rows as a daily frame."""
    types = np.array([str(level) for level in LEVELS], dtype=object)
    return pd.DataFrame(
        {
            "entity_type": types[state.tree.levels[rows["entity"]]],
            "entity_id": state.tree.ids[rows["entity"]],
            "date": rows["day"].astype("datetime64[D]").astype("datetime64[ns]"),
            **{name: rows[name] for name in METRICS},
        }
    )


def _notes(state: ImportState, sums: SumReport) -> Iterator[str]:
    for level, number in sums.rows.items():
        if number:
            yield f"{number:,} daily rows of {level}s are sums of what is below them, reach left out"
    for level, number in sums.orphans.items():
        if number and level is not EntityType.CAMPAIGN:
            yield f"{number:,} {level}(s) with unknown parent are in no sum"
    yield from (f"skipped {file}" for file in state.skipped)
    if number := state.counts["stray_actions"]:
        yield (
            f"{number:,} lead actions ({state.stray_leads:g} leads) have no row in basic_ad for their ad and day: "
            "left out"
        )


def _summary(state: ImportState, loaded: _Loaded, *, seconds: float) -> ImportSummary:
    counts: dict[EntityType, int] = dict.fromkeys(LEVELS, 0)
    for entity in state.tree.entities(1):
        counts[entity.ref.entity_type] += 1
    built = {level: loaded.sums.rows.get(level, 0) for level in LEVELS}
    first, last = [days.to_date(day) for day in state.days] if state.days else (None, None)
    return ImportSummary(
        files=tuple(
            FileSummary(
                str(file.path), file.export.format if file.export else None, file.table.source if file.table else "",
                file.rows, file.rejected, file.totals, file.other_accounts, file.refused,
                notes=(*(file.table.notes if file.table else ()), *((file.unused,) if file.unused else ())),
            )
            for file in state.files
        ),
        loaded=loaded.rows,
        entities=loaded.entities,
        rows={level: state.rows[index] + built[level] for index, level in enumerate(LEVELS)},
        built=built,
        entity_counts=counts,
        first_day=first,
        last_day=last,
        currency=next(iter(state.currencies), None),
        problems=state.problems.texts(),
        warnings=state.warnings.texts(),
        notes=tuple(_notes(state, loaded.sums)),
        reject_files=tuple(state.rejects.paths),
        seconds=seconds,
        **{name: state.counts[name] for name in ("duplicates", "superseded", "summed", "conflicts", "untold")},
    )  # fmt: skip
