"""Reads files into staging and settles what they say, naming whatever is wrong."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from adsml_ingest import days, fivetran
from adsml_ingest.batch import LEVELS, METRICS, Kind, Table
from adsml_ingest.counts import FileCounts, Findings
from adsml_ingest.detect import Found, detect, expand, open_found
from adsml_ingest.fivetran_rows import ActionReader, HistoryReader
from adsml_ingest.levels import Sums, build
from adsml_ingest.options import ImportOptions, OnError
from adsml_ingest.problems import Problem, Refusal
from adsml_ingest.progress import Progress
from adsml_ingest.rejects import Rejects
from adsml_ingest.resolve import Resolved, resolve
from adsml_ingest.rows import RowReader
from adsml_ingest.source import ignore
from adsml_ingest.staging import Staging
from adsml_ingest.tree import Tree

READ: Final = "read"
SETTLED: Final = "settled"
BUILT: Final = "built"

Reader = RowReader | ActionReader | HistoryReader


@dataclass(slots=True)
class ReadFile:
    """One file of an import, as far as it was read.

    Attributes
    ----------
    path
        As the caller gave it, or found in a directory.
    found, table
        Its kind and table, as far as they are known.
    counts
        What became of its rows.
    refused
        Why it was not read, or not to its end.
    unused
        Why nothing of it is needed.
    """

    path: Path
    found: Found | None = None
    table: Table | None = None
    counts: FileCounts = field(default_factory=FileCounts)
    refused: str = ""
    unused: str = ""


@dataclass(slots=True)
class Reading:
    """All files of an import, read and settled.

    Attributes
    ----------
    files, tree, findings
        What was read.
    sums
        Levels that were built.
    duplicates, superseded, summed, conflicts, stray_actions, stray_leads
        As in `resolve.Resolved`, over all rows.
    rows, built
        Daily rows by level, built ones included; and how many are built.
    days
        First and last, as days since 1970; None without rows.
    """

    files: list[ReadFile]
    tree: Tree = field(default_factory=Tree)
    findings: Findings = field(default_factory=Findings)
    sums: list[Sums] = field(default_factory=list)
    duplicates: int = 0
    superseded: int = 0
    summed: int = 0
    conflicts: int = 0
    stray_actions: int = 0
    stray_leads: float = 0.0
    rows: Counter[int] = field(default_factory=Counter)
    built: Counter[int] = field(default_factory=Counter)
    days: tuple[int, int] | None = None


def read_all(
    paths: Sequence[Path], staging: Staging, rejects: Rejects, options: ImportOptions, progress: Progress
) -> Reading:
    """Read, check and settle some files; nothing is loaded yet.

    Parameters
    ----------
    paths
        Files, and directories of files.
    staging
        Gets the daily rows under `SETTLED`, and sums of levels that are absent under `BUILT`.
    rejects
        Gets the bad rows.
    options
        What the caller wants.
    progress
        Told of bytes read.

    Raises
    ------
    InvalidInput
        If anything is wrong and `options.on_error` is ``stop``, if nothing is left to load, or if what was
        read can't belong to one account.
    """
    reading = Reading(files=[ReadFile(path) for path in expand(paths)])
    _open(reading, options)
    _read(reading, staging, rejects, options, progress)
    _refuse_mixture(reading, options)
    wrong = _settle(reading, staging)
    if wrong and options.on_error is OnError.SKIP:
        _write_conflicts(reading, rejects, wrong)
    if options.on_error is OnError.STOP or any(_is_crucial(file) and file.refused for file in reading.files):
        reading.findings.problems.raise_if_any()
    if options.sum_levels:
        reading.sums = build(staging, SETTLED, BUILT, reading.tree)
    _count(reading, staging)
    _refuse_nothing(reading)
    return reading


def _is_crucial(file: ReadFile) -> bool:
    """Whether what is missing of a file makes others wrong: daily rows without their leads."""
    return file.found is not None and file.found.fivetran_table == fivetran.ACTIONS


def _open(reading: Reading, options: ImportOptions) -> None:
    for file in reading.files:
        try:
            file.found = detect(file.path, options)
        except Refusal as refusal:
            _refuse(reading, file, refusal)
    tables = {file.found.fivetran_table for file in reading.files if file.found is not None}
    actions = fivetran.ACTIONS in tables
    for file in reading.files:
        if file.found is None:
            continue
        if file.found.fivetran_table in fivetran.UNUSED:
            file.unused = f"Fivetran's {file.found.fivetran_table} holds nothing that is needed: not read"
            continue
        try:
            if file.found.fivetran_table == fivetran.ACTIONS and fivetran.BASIC not in tables:
                what = f"holds actions of ads without {fivetran.BASIC}, the days that they belong to"
                cure = "import both together: all files, or their directory"
                raise Refusal(Problem(str(file.path), "missing_table", what, cure))
            file.table = open_found(file.found, options, with_actions=actions)
        except Refusal as refusal:
            _refuse(reading, file, refusal)


def _refuse(reading: Reading, file: ReadFile, refusal: Refusal) -> None:
    file.refused = "; ".join(problem.text for problem in refusal.problems)
    reading.findings.problems.extend(refusal.problems)


def _read(
    reading: Reading, staging: Staging, rejects: Rejects, options: ImportOptions, progress: Progress
) -> None:
    cuts: dict[tuple[str, ...], int] = {}
    total = sum(file.path.stat().st_size for file in reading.files if file.table is not None)
    done = 0

    def advance(size: int) -> None:
        nonlocal done
        done += size
        progress.reading(done, total)

    for number, file in enumerate(reading.files):
        table = file.table
        if table is None:
            continue
        cut = cuts.setdefault(table.breakdowns, len(cuts) + 1) if table.breakdowns else 0
        reader = _reader(table, number, cut, reading, rejects, options)
        try:
            for batch in table.batches(advance):
                rows = reader.read(batch)
                if len(rows):
                    staging.add(READ, rows)
        except Refusal as refusal:
            _refuse(reading, file, refusal)
        file.counts = reader.counts
        if not file.counts.rows and not file.refused and table.kind is Kind.DAILY:
            _refuse(reading, file, _no_rows(file))


def _no_rows(file: ReadFile) -> Refusal:
    counts = file.counts
    if counts.other_accounts:
        what = f"has no row of the account asked for ({counts.other_accounts:,} of others)"
        return Refusal(Problem(str(file.path), "wrong_account", what, "check --account-id and the file"))
    if counts.totals:
        what = f"has no rows but totals ({counts.totals:,}): none names both an entity and a day"
        return Refusal(Problem(str(file.path), "only_totals", what, "export it by day"))
    what, cure = "has a header but no rows", "export it again, for days with delivery"
    return Refusal(Problem(str(file.path), "no_rows", what, cure))


def _reader(
    table: Table, number: int, cut: int, reading: Reading, rejects: Rejects, options: ImportOptions
) -> Reader:
    tree, findings = reading.tree, reading.findings
    if table.kind is Kind.ACTIONS:
        return ActionReader(
            table, file=number, tree=tree, findings=findings, rejects=rejects, options=options
        )
    if table.kind is Kind.HISTORY:
        return HistoryReader(table, tree=tree, findings=findings, rejects=rejects, options=options)
    return RowReader(
        table, file=number, cut=cut, tree=tree, findings=findings, rejects=rejects, options=options
    )


def _refuse_mixture(reading: Reading, options: ImportOptions) -> None:
    """Refuse rows that can't all belong to one account."""
    found, problems = reading.findings, reading.findings.problems
    mixed = options.account_id is None and len(found.accounts) > 1
    if mixed:
        told = ", ".join(f"{name} ({rows:,} rows)" for name, rows in found.accounts.most_common(5))
        what = f"the rows belong to {len(found.accounts)} ad accounts: {told}"
        problems.add(Problem("", "several_accounts", what, "choose one of them with --account-id"))
    if len(found.currencies) > 1:
        told = ", ".join(f"{name} ({file})" for name, file in sorted(found.currencies.items()))
        what = f"the money is in {len(found.currencies)} currencies: {told}"
        problems.add(Problem("", "several_currencies", what, "an account has one: import each on its own"))
    if mixed or len(found.currencies) > 1:
        problems.raise_if_any()


def _settle(reading: Reading, staging: Staging) -> set[tuple[int, int]]:
    """Settle part by part; file number and line of every row that contradicts another."""
    wrong: set[tuple[int, int]] = set()
    for part in staging.parts(READ):
        found = resolve(part)
        staging.add(SETTLED, found.rows)
        for earlier, later in found.conflicts:
            reading.findings.problems.add(_conflict(reading, earlier, later))
        _tally(reading, found)
        for file, line in zip(found.rejected["file"].tolist(), found.rejected["line"].tolist(), strict=True):
            wrong.add((file, line))
            reading.files[file].counts.rejected += 1
    staging.drop(READ)
    return wrong


def _tally(reading: Reading, found: Resolved) -> None:
    reading.duplicates += found.duplicates
    reading.superseded += found.superseded
    reading.summed += found.summed
    reading.conflicts += len(found.conflicts)
    reading.stray_actions += found.stray_actions
    reading.stray_leads += found.stray_leads


def _conflict(reading: Reading, earlier: Any, later: Any) -> Problem:
    one, other = reading.files[int(earlier["file"])], reading.files[int(later["file"])]
    place = other.table.place if other.table else "line"
    code = int(later["entity"])
    who = f"{LEVELS[reading.tree.levels[code]]} {reading.tree.id_of(code)}"
    known = [name for name in METRICS if not np.isnan(earlier[name]) and not np.isnan(later[name])]
    differing = [name for name in known if earlier[name] != later[name]]
    mine = ", ".join(f"{name} {later[name]:g}" for name in differing)
    theirs = ", ".join(f"{name} {earlier[name]:g}" for name in differing)
    where = f"{one.table.place if one.table else 'line'} {int(earlier['line'])}"
    where += f" of {one.path}" if one is not other else ""
    what = f"{who} on {days.to_date(int(later['day']))} has {mine} here and {theirs} in {where}"
    return Problem(
        str(other.path),
        "conflict",
        what,
        "keep one row per entity and day",
        line=int(later["line"]),
        place=place,
    )


def _write_conflicts(reading: Reading, rejects: Rejects, wrong: set[tuple[int, int]]) -> None:
    """Read the files that contradict themselves again, to write out the rows as they are."""
    for number in sorted({file for file, _ in wrong}):
        table = reading.files[number].table
        if table is None:
            continue
        lines = np.array(sorted(line for file, line in wrong if file == number))
        for batch in table.batches(ignore):
            for row in np.flatnonzero(np.isin(batch.lines, lines)):
                reason = "another row says something else of this entity and day: keep one"
                rejects.write(table, batch.raw(int(row)), f"{table.place} {int(batch.lines[row])}: {reason}")


def _count(reading: Reading, staging: Staging) -> None:
    for name, into in ((SETTLED, reading.rows), (BUILT, reading.built)):
        for rows in staging.parts(name):
            levels, counts = np.unique(reading.tree.levels[rows["entity"]], return_counts=True)
            into.update(dict(zip(levels.tolist(), counts.tolist(), strict=True)))
            if len(rows):
                first, last = int(rows["day"].min()), int(rows["day"].max())
                known = reading.days or (first, last)
                reading.days = min(first, known[0]), max(last, known[1])
    reading.rows.update(reading.built)


def _refuse_nothing(reading: Reading) -> None:
    """Refuse an import of which nothing is left."""
    if reading.rows or any(True for _ in reading.tree.entities(1)):
        return
    problems = reading.findings.problems
    for file in reading.files:
        if file.unused:
            cure = f"import {fivetran.BASIC} with {fivetran.ACTIONS} and the histories"
            problems.add(Problem(str(file.path), "unused_table", file.unused, cure))
    if not problems:
        first = str(reading.files[0].path)
        problems.add(Problem(first, "no_rows", "holds nothing to load", "export it again"))
    problems.raise_if_any()
