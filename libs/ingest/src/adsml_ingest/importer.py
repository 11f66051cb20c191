"""The import: files in, one transaction out."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from adsml_common.database import Database
from adsml_common.domain.changes import ChangeEvent
from adsml_common.domain.entities import Entity, EntityType
from adsml_common.domain.errors import InvalidInput, Violations
from adsml_common.store.accounts import FIELDS, Account
from adsml_common.store.counts import UpsertCounts
from adsml_common.store.entities import EntityStore
from adsml_common.store.metrics import AccountLoad, MetricStore

from adsml_ingest import dates
from adsml_ingest.batch import LEVELS, METRICS
from adsml_ingest.files import SourceFile
from adsml_ingest.options import Clicks, FileSummary, ImportOptions, ImportSummary, Progress
from adsml_ingest.reading import read_all
from adsml_ingest.staging import SETTLED, Rows, Staging, empty_rows
from adsml_ingest.state import ImportState, Rejects

CHUNK_ROWS: Final = 64_000


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a source holds of an account and a window."""

    files: Sequence[SourceFile] = ()  # exports, spooled to disk
    complete: bool = False
    """Whether what is not there does not exist: the platform's own answer. A file store may only lag behind, and only
    the days from the first to the last that it holds are replaced."""
    account: Account = field(default_factory=Account)  # these three: loaded in the transaction of the rows
    entities: Sequence[Entity] = ()
    changes: Sequence[ChangeEvent] = ()
    notes: Sequence[str] = ()  # what the source said that the caller should know


_NOTHING: Final = Fetched()


def import_files(
    paths: Sequence[Path | str | SourceFile],
    *,
    config_id: int,
    store: MetricStore | None,
    options: ImportOptions | None = None,
    progress: Progress | None = None,
    beside: Fetched = _NOTHING,
) -> ImportSummary:
    """Load exports (files, and directories of files) into the store: all that is good at once, or nothing.

    Without a store they are only read and checked, by themselves.

    Raises `InvalidInput` naming file, line, column, value and cure of the first bad rows of each kind: always if
    `ImportOptions.on_error` is ``stop`` and any row is bad; if it is ``skip``, when no row is good. If the rows can't
    belong to the account that the config is bound to. Raises `Unavailable` if the database does not answer. Nothing was
    loaded then.
    """
    began = time.monotonic()
    options, shown = options or ImportOptions(), progress or (lambda *_: None)
    with Staging() as staging, Rejects(options.rejects) as rejects:
        state = ImportState(options, staging, rejects)
        read_all([path if isinstance(path, SourceFile) else Path(path) for path in paths], state, shown)
        if store is not None:
            _load(state, config_id, store, shown, beside)
        else:
            with scratch_store() as (scratch, _):
                _load(state, 1, scratch, lambda *_: None, _NOTHING)
            state.loaded = state.entities = UpsertCounts()
        return _summary(state, seconds=time.monotonic() - began)


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
    state: ImportState, config_id: int, store: MetricStore, progress: Progress, beside: Fetched
) -> None:
    total, done = state.rows.total(), 0
    # Where each file's rows come from: their kind, and the file if there is but one.
    kinds = [str(file.format) if file.table else "" for file in state.files]
    named = zip(kinds, state.files, strict=True)
    sources = [f"{kind}:{file.path.name}" if kinds.count(kind) == 1 else kind for kind, file in named]
    with store.load(config_id, source=", ".join(dict.fromkeys(sources))) as load:
        _bind(load, state, beside.account)
        window = _window(state, complete=beside.complete)
        if window is not None:
            load.replace_window(*window)
        state.entities = load.entities([*state.tree.entities(config_id), *beside.entities])
        for rows in _chunks(state.staging):
            state.loaded += _add(load, state, rows, sources)
            done += len(rows)
            progress("loading", done, total)
        load.changes(beside.changes)
        if window is not None:
            state.loaded += load.delete_missing([LEVELS[level] for level in state.rows] or [EntityType.AD])
        if state.options.sum_levels:
            counts, state.sums = load.build_sums()
            state.loaded += counts
    _warn(state)


def _bind(load: AccountLoad, state: ImportState, beside: Account) -> None:
    """Refuse what can't belong to the account that is stored, and note what is new of it.

    `beside` is what the source says of the account itself. Raises `InvalidInput` if the files are of another account,
    in another currency or time zone, or name entities otherwise than what is stored.
    """
    stored, options = load.account, state.options
    known = {name: value for name in FIELDS if (value := getattr(beside, name)) is not None}
    told = replace(_described(state), **known)
    found = Violations()
    pairs = {name: {getattr(told, name), getattr(stored, name)} for name in FIELDS}
    differing = {name for name, values in pairs.items() if None not in values and len(values) > 1}
    if "account_id" in differing:
        found.add(
            "account",
            f"the files are of ad account {told.account_id}, and this config holds account {stored.account_id}; "
            "import each account into a config of its own, or pick one with --account-id",
        )
    elif told.account_id is None and "account_name" in differing:
        found.add(
            "account",
            f"the files are of the ad account called '{told.account_name}', and this config holds "
            f"'{stored.account_name}'; import each account into a config of its own",
        )
    if "currency_code" in differing and not options.new_currency:
        found.add(
            "currency",
            f"the money is in {told.currency_code}, and this config's is in {stored.currency_code}; export it in "
            "the account's currency, use another config, or pass --new-currency if the account's has changed",
        )
    if "time_zone" in differing:
        zones = f"the days are of {told.time_zone}, and this config's of {stored.time_zone}"
        found.add("time_zone", f"{zones}; use another config")
    if "id_kind" in differing:
        kinds = {"id": "the platform's ids", "name": "names, for want of ids"}
        found.add(
            "id_kind",
            f"the files name entities by {kinds[told.id_kind or 'id']}, and this config's are stored by "
            f"{kinds[stored.id_kind or 'id']}: the same entity would be there twice; add the columns of ids to "
            "every report, and load what was loaded by name again, into another config",
        )
    found.raise_if_any()
    if "click_kind" in differing:
        kinds = {"all": "all clicks", "link": "link clicks"}
        mine, theirs = kinds[told.click_kind or "all"], kinds[stored.click_kind or "all"]
        what = f"clicks are {mine}, and those stored so far are {theirs}: CTR will jump where the two mix"
        wanted = "add the column Clicks (all)" if stored.click_kind == "all" else "pass --clicks link"
        state.warn("mixed_clicks", what, wanted if options.clicks is None else "")
        told = replace(told, click_kind=None)
    load.bind(told)


def _described(state: ImportState) -> Account:
    """What the files say of their account."""
    kinds = {file.table.click_kind for file in state.files if file.table is not None and not file.dropped}
    kinds.discard(None)
    currency = next(iter(state.currencies), None)
    return Account(
        account_id=state.options.account_id or next(iter(state.accounts), None),
        account_name=next(iter(state.account_names), None),
        currency_code=currency if currency and len(currency) == 3 else None,
        time_zone=next(iter(state.time_zones), None),
        id_kind="name" if "name" in state.id_kinds else "id" if state.id_kinds else None,
        click_kind="link" if kinds == {Clicks.LINK.value} else "all" if kinds else None,
    )


def _window(state: ImportState, *, complete: bool) -> tuple[date, date] | None:
    """The days that are replaced; raises `InvalidInput` if a source that may lag behind has none of them."""
    window = state.options.window
    if window is None or complete:
        return window
    if state.days is None:
        raise InvalidInput.at("window", f"the source holds no row of {window[0]} to {window[1]}")
    return dates.to_date(state.days[0]), dates.to_date(state.days[1])


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


def _warn(state: ImportState) -> None:
    """Say what the store showed."""
    older, fallen, sums = state.loaded.older, state.loaded.fallen, state.sums
    if older:
        what = f"{older:,} rows are older than what is stored: the newer ones were left as they are"
        state.warn("older_rows", what)
    if fallen and state.options.window is None:
        what = f"{fallen:,} daily rows now have fewer impressions or leads than were stored, as an older file's would"
        cure = "if it is older, import the newer one again, and load older files with --older-file"
        state.warn("fewer", what, cure)
    for one in sums.examples:
        differing = [name for name in one.reported if abs(one.reported[name] - one.below[name]) > 1e-6]
        values = (one.reported, one.below)
        mine, theirs = (", ".join(f"{name} {some[name]:g}" for name in differing) for some in values)
        what = (
            f"the stored {one.entity_type} {one.entity_id} on {one.date} does not match what is below it: it has "
            f"{mine}, and its parts add up to {theirs}"
        )
        if sums.contradictions > len(sums.examples):
            what += f" ({sums.contradictions:,} such rows)"
        cure = f"import the report of {one.entity_type}s again as well, if it is the older"
        state.warn("contradiction", what, cure)


def _chunks(staging: Staging) -> Iterator[Rows]:
    held = empty_rows(0)
    for rows in staging.parts(SETTLED):
        held = np.concatenate([held, rows])
        while len(held) >= CHUNK_ROWS:
            yield held[:CHUNK_ROWS]
            held = held[CHUNK_ROWS:]
    if len(held):
        yield held


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


def _notes(state: ImportState) -> Iterator[str]:
    for level, number in state.sums.rows.items():
        if number:
            yield f"{number:,} daily rows of {level}s are sums of what is below them, reach left out"
    for level, number in state.sums.orphans.items():
        if number and level is not EntityType.CAMPAIGN:
            yield f"{number:,} {level}(s) with unknown parent are in no sum"
    yield from (f"skipped {file}" for file in state.skipped)
    if number := state.counts["stray_actions"]:
        actions = f"{number:,} lead actions ({state.stray_leads:g} leads)"
        yield f"{actions} have no row in basic_ad for their ad and day: left out"


def _summary(state: ImportState, *, seconds: float) -> ImportSummary:
    counts: dict[EntityType, int] = dict.fromkeys(LEVELS, 0)
    for entity in state.tree.entities(1):
        counts[entity.ref.entity_type] += 1
    built = {level: state.sums.rows.get(level, 0) for level in LEVELS}
    first, last = [dates.to_date(day) for day in state.days] if state.days else (None, None)
    return ImportSummary(
        files=tuple(
            FileSummary(
                str(file.path), file.format, file.table.source if file.table else "",
                file.rows, file.rejected, file.totals, file.other_accounts, file.refused,
                notes=(*(file.table.notes if file.table else ()), *((file.unused,) if file.unused else ())),
            )
            for file in state.files
        ),
        loaded=state.loaded,
        entities=state.entities,
        rows={level: state.rows[index] + built[level] for index, level in enumerate(LEVELS)},
        built=built,
        entity_counts=counts,
        first_day=first,
        last_day=last,
        currency=next(iter(state.currencies), None),
        problems=state.problems.texts(),
        warnings=state.warnings.texts(),
        notes=tuple(_notes(state)),
        reject_files=tuple(state.rejects.paths),
        seconds=seconds,
        rows_read=sum(file.rows for file in state.files),
        rows_rejected=sum(file.rejected for file in state.files),
        **{name: state.counts[name] for name in ("duplicates", "superseded", "summed", "conflicts", "untold")},
    )  # fmt: skip
