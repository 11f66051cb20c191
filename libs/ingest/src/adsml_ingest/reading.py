"""Reads files into staging and settles what they say, naming whatever is wrong."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from adsml_ingest import fivetran
from adsml_ingest.batch import Kind, Table
from adsml_ingest.children import read_children
from adsml_ingest.clashes import ClashReport
from adsml_ingest.counts import FileCounts, Findings
from adsml_ingest.detect import Export, Relatives, detect, open_export
from adsml_ingest.files import list_files
from adsml_ingest.fivetran_rows import ActionReader, HistoryReader
from adsml_ingest.options import ImportOptions, OnError
from adsml_ingest.problems import Problem, Refusal
from adsml_ingest.progress import Progress
from adsml_ingest.rejects import Rejects
from adsml_ingest.resolve import Resolved, resolve
from adsml_ingest.rows import RowReader, UnnamedRow
from adsml_ingest.source import SourceFile, ignore
from adsml_ingest.staging import Rows, Staging
from adsml_ingest.totals import judge_unnamed
from adsml_ingest.tree import Tree, lost_digits

READ: Final = "read"
SETTLED: Final = "settled"

Reader = RowReader | ActionReader | HistoryReader


@dataclass(slots=True)
class ReadFile:
    """One file of an import, as far as it was read.

    Attributes
    ----------
    source
        The file.
    export, table
        Its kind and table, as far as they are known.
    counts
        What became of its rows.
    refused
        Why it was not read, or not to its end.
    dropped
        Whether nothing of it is loaded, whatever was read.
    unused
        Why nothing of it is needed.
    unnamed
        Rows of which only the whole file shows whether they are totals.
    total_names
        Entities that are none: names of totals.
    """

    source: SourceFile
    export: Export | None = None
    table: Table | None = None
    counts: FileCounts = field(default_factory=FileCounts)
    refused: str = ""
    dropped: bool = False
    unused: str = ""
    unnamed: list[UnnamedRow] = field(default_factory=list)
    total_names: list[int] = field(default_factory=list)

    @property
    def path(self) -> Path:
        """What messages call it."""
        return self.source.path


@dataclass(slots=True)
class Reading:
    """All files of an import, read and settled.

    Attributes
    ----------
    files, skipped, tree, findings
        What was read, and what was not.
    duplicates, superseded, summed, conflicts, stray_actions, stray_leads
        As in `resolve.Resolved`, over all rows.
    untold
        Daily rows whose leads no file tells.
    rows
        Daily rows by level.
    days
        First and last, as days since 1970; None without rows.
    """

    files: list[ReadFile]
    skipped: list[str] = field(default_factory=list)
    tree: Tree = field(default_factory=Tree)
    findings: Findings = field(default_factory=Findings)
    duplicates: int = 0
    superseded: int = 0
    summed: int = 0
    conflicts: int = 0
    untold: int = 0
    stray_actions: int = 0
    stray_leads: float = 0.0
    rows: Counter[int] = field(default_factory=Counter)
    days: tuple[int, int] | None = None


def read_all(
    paths: Sequence[Path | SourceFile],
    staging: Staging,
    rejects: Rejects,
    options: ImportOptions,
    progress: Progress,
) -> Reading:
    """Read, check and settle some files; nothing is loaded yet.

    Parameters
    ----------
    paths
        Files, and directories of files.
    staging
        Gets the daily rows under `SETTLED`.
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
    listed = list_files(paths, staging.scratch)
    reading = Reading(files=[ReadFile(file) for file in listed.files], skipped=listed.skipped)
    _open(reading, options)
    _read(reading, staging, rejects, options, progress)
    _check_pages(reading)
    _refuse_mixture(reading, options)
    _refuse_lost_digits(reading)
    judge_unnamed(reading, staging, rejects)
    wrong = _settle(reading, staging, options)
    if wrong and options.on_error is OnError.SKIP:
        _write_conflicts(reading, rejects, wrong)
    if options.on_error is OnError.STOP or any(_is_crucial(file) and file.refused for file in reading.files):
        reading.findings.problems.raise_if_any()
    _count(reading, staging)
    _refuse_nothing(reading)
    return reading


def _is_crucial(file: ReadFile) -> bool:
    """Whether what is missing of a file makes others wrong: daily rows without their leads."""
    return file.export is not None and (
        file.export.fivetran_table == fivetran.ACTIONS or file.export.is_child
    )


def _open(reading: Reading, options: ImportOptions) -> None:
    for file in reading.files:
        try:
            file.export = detect(file.source, options)
        except Refusal as refusal:
            _refuse(reading, file, refusal)
    relatives = _relatives(reading, options)
    tables = {file.export.fivetran_table for file in reading.files if file.export is not None}
    for file in reading.files:
        if file.export is None or file.unused:
            continue
        if file.export.fivetran_table in fivetran.UNUSED:
            file.unused = f"Fivetran's {file.export.fivetran_table} holds nothing that is needed: not read"
            continue
        try:
            if file.export.fivetran_table == fivetran.ACTIONS and fivetran.BASIC not in tables:
                what = f"holds actions of ads without {fivetran.BASIC}, the days that they belong to"
                cure = "import both together: all files, or their directory"
                raise file.source.refusal("missing_table", what, cure)
            file.table = open_export(file.export, options, relatives)
        except Refusal as refusal:
            _refuse(reading, file, refusal)


def _relatives(reading: Reading, options: ImportOptions) -> Relatives:
    """What tables hold for others: leads in tables of their own."""
    actions = [
        file for file in reading.files if file.export and file.export.fivetran_table == fivetran.ACTIONS
    ]
    basic = [file for file in actions if fivetran.BASIC in file.path.name.casefold()]
    if basic and len(actions) > len(basic):
        for file in actions:
            if file not in basic:
                file.unused = f"the leads are taken from {basic[0].path.name}: not read"
    children = [file for file in reading.files if file.export is not None and file.export.is_child]
    leads: dict[str, float] | None = None
    for file in children:
        try:
            leads = read_children(file.export, options) if leads is None else leads  # type: ignore[arg-type]
            file.unused = "holds the actions of another table's rows: its leads are counted there"
        except Refusal as refusal:
            _refuse(reading, file, refusal)
    if len(children) > 1:
        what = "and others hold actions of rows of other tables: which one counts is not known"
        _refuse(reading, children[0], children[0].source.refusal("many_children", what, "import one of them"))
    return Relatives(bool(actions), leads)


def _refuse(reading: Reading, file: ReadFile, refusal: Refusal) -> None:
    file.refused = "; ".join(problem.text for problem in refusal.problems)
    file.dropped = file.dropped or refusal.whole
    reading.findings.problems.extend(refusal.problems)


def _read(
    reading: Reading, staging: Staging, rejects: Rejects, options: ImportOptions, progress: Progress
) -> None:
    total = sum(file.source.real.stat().st_size for file in reading.files if file.table is not None)
    done = 0

    def advance(size: int) -> None:
        nonlocal done
        done += size
        progress.reading(done, total)

    for number, file in enumerate(reading.files):
        table = file.table
        if table is None:
            continue
        reader = _reader(table, number, reading, rejects, options)
        try:
            for batch in table.batches(advance):
                rows = reader.read(batch)
                if len(rows):
                    staging.add(READ, rows)
        except Refusal as refusal:
            _refuse(reading, file, refusal)
        file.counts = reader.counts
        if isinstance(reader, RowReader):
            file.unnamed = reader.unnamed
        _conclude(reading, file)


def _conclude(reading: Reading, file: ReadFile) -> None:
    """Take up what only the whole file shows."""
    table = file.table
    if table is None or file.refused:
        return
    try:
        if table.conclude is not None:
            table.conclude()
        wanted = file.counts.rows or file.counts.other_days or file.unnamed
        if not wanted and table.kind is Kind.DAILY:
            raise _no_rows(file)
    except Refusal as refusal:
        if len(reading.files) > 1 and all(one.kind == "no_daily_rows" for one in refusal.problems):
            file.unused = "holds names and settings, no daily rows: not read"
            return
        # What such a file lacks it lacks in every row.
        file.dropped = True
        _refuse(reading, file, refusal)
    reading.findings.warnings.extend(table.warnings)


def _no_rows(file: ReadFile) -> Refusal:
    counts = file.counts
    if counts.other_accounts:
        what = f"has no row of the account asked for ({counts.other_accounts:,} of others)"
        return Refusal(Problem(str(file.path), "wrong_account", what, "check --account-id and the file"))
    if counts.totals:
        what = f"has no rows but totals ({counts.totals:,}): none names both an entity and a day"
        return Refusal(Problem(str(file.path), "only_totals", what, "export it by day"))
    what, cure = "has a header but no rows", "export it again, for days with delivery"
    if file.table is not None and file.table.header is None:
        what = "holds no rows"
    return Refusal(Problem(str(file.path), "no_rows", what, cure))


def _reader(table: Table, number: int, reading: Reading, rejects: Rejects, options: ImportOptions) -> Reader:
    tree, findings = reading.tree, reading.findings
    if table.kind is Kind.ACTIONS:
        return ActionReader(
            table, file=number, tree=tree, findings=findings, rejects=rejects, options=options
        )
    if table.kind is Kind.HISTORY:
        return HistoryReader(table, tree=tree, findings=findings, rejects=rejects, options=options)
    return RowReader(
        table, file=number, tree=tree, findings=findings, rejects=rejects, options=options,
        fetched_at=reading.files[number].source.fetched_at,
    )  # fmt: skip


def _check_pages(reading: Reading) -> None:
    """Refuse pages of which the next is not among the files."""
    paged = [file for file in reading.files if file.export is not None and file.export.pages.number]
    followed = sum(file.export.pages.first_has_previous for file in paged if file.export)
    for file in paged:
        if file.export is None or not file.export.pages.last_has_next or file.refused:
            continue
        if followed:
            followed -= 1
            continue
        what = "ends with a page that names a next one (paging.next), which is not among the files"
        cure = "fetch the following pages too, and import them together"
        _refuse(reading, file, file.source.refusal("unfinished_pages", what, cure))


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
    named = not found.accounts and len(found.account_names) > 1
    if named:
        told = ", ".join(f"{name} ({file})" for name, file in list(found.account_names.items())[:5])
        what = f"the rows belong to {len(found.account_names)} ad accounts (Account name): {told}"
        cure = (
            "import each account into a config of its own, or add the column Account ID and pick one with "
            "--account-id"
        )
        problems.add(Problem("", "several_accounts", what, cure))
    if len(found.id_kinds) > 1:
        told = ", ".join(f"{kind}s in {file}" for kind, file in sorted(found.id_kinds.items()))
        what = f"some files name entities by id, others only by name ({told})"
        cure = "add the columns of ids to every report: the same entity would be loaded twice"
        problems.add(Problem("", "several_id_kinds", what, cure))
    if mixed or named or len(found.currencies) > 1 or len(found.id_kinds) > 1:
        problems.raise_if_any()


def _refuse_lost_digits(reading: Reading) -> None:
    """Refuse ids that a spreadsheet rounded to fifteen digits."""
    if all(file.table is None or file.table.tidy or file.table.by_name for file in reading.files):
        return
    lost = lost_digits(reading.tree.ids.tolist())
    if lost:
        labels = next((file.table.labels for file in reading.files if file.table and not file.table.tidy), {})
        column = labels.get("ad_id") or labels.get("adset_id") or labels.get("campaign_id") or "id"
        what = (
            f"{column}: all {len(lost)} ids, such as {lost[-1]}, end in zeros after their fifteenth digit: a "
            "spreadsheet rounded them"
        )
        cure = "export again, keep the ids as text, and don't save the file from a spreadsheet in between"
        reading.findings.problems.add(Problem("", "rounded_id", what, cure))


def _settle(reading: Reading, staging: Staging, options: ImportOptions) -> set[tuple[int, int]]:
    """Settle part by part; file number and line of every row that contradicts another."""
    wrong: set[tuple[int, int]] = set()
    cut_leads = np.array([cut.leads for cut in reading.findings.cuts], dtype=np.int8)
    dropped = [number for number, file in enumerate(reading.files) if file.dropped]
    by_name = [number for number, file in enumerate(reading.files) if file.table and file.table.by_name]
    totals = [entity for file in reading.files for entity in file.total_names]
    reading.tree.forget(totals)
    look = ClashReport(reading)
    for part in staging.parts(READ):
        rows = part[~np.isin(part["file"], dropped)] if dropped else part
        rows = rows[~np.isin(rows["entity"], totals)] if totals else rows
        found = resolve(rows, cut_leads, by_name=by_name)
        _note_untold(reading, found.rows, options)
        staging.add(SETTLED, found.rows)
        look.add(found)
        _tally(reading, found)
        for file, line in zip(found.rejected["file"].tolist(), found.rejected["line"].tolist(), strict=True):
            wrong.add((file, line))
            reading.files[file].counts.rejected += 1
    staging.drop(READ)
    look.conclude()
    return wrong


def _note_untold(reading: Reading, rows: Rows, options: ImportOptions) -> None:
    """Refuse rows whose leads no file tells, unless the caller takes them as 0."""
    untold = rows[np.isnan(rows["leads"])]
    reading.untold += len(untold)
    if not len(untold) or "leads" in options.assume_zero:
        return
    for number, cut in sorted(set(zip(untold["file"].tolist(), untold["cut"].tolist(), strict=True))):
        file, columns = reading.files[number], reading.findings.cuts[cut]
        first = untold[(untold["file"] == number) & (untold["cut"] == cut)][0]
        what = f"is broken down by {columns.shown}, under which the leads are not told, or told several times"
        cure = (
            "take leads from a report without this breakdown, alone or together with this file; or pass "
            "--assume-zero leads, by which stored leads stay as they are"
        )
        reading.findings.problems.add(
            Problem(str(file.path), "untold_leads", what, cure, line=int(first["line"]),
                    place=file.table.place if file.table else "line")
        )  # fmt: skip


def _tally(reading: Reading, found: Resolved) -> None:
    reading.duplicates += found.duplicates
    reading.superseded += found.superseded
    reading.summed += found.summed
    reading.conflicts += len(found.conflicts)
    reading.stray_actions += found.stray_actions
    reading.stray_leads += found.stray_leads


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
    for rows in staging.parts(SETTLED):
        if len(rows):
            levels, counts = np.unique(reading.tree.levels[rows["entity"]], return_counts=True)
            reading.rows.update(dict(zip(levels.tolist(), counts.tolist(), strict=True)))
            first, last = int(rows["day"].min()), int(rows["day"].max())
            known = reading.days or (first, last)
            reading.days = min(first, known[0]), max(last, known[1])


def _refuse_nothing(reading: Reading) -> None:
    """Refuse an import of which nothing is left."""
    problems = reading.findings.problems
    if not reading.rows:
        problems.raise_if_any()  # no row was good
    if reading.rows or any(True for _ in reading.tree.entities(1)) or not reading.files:
        return
    for file in reading.files:
        if file.unused:
            cure = f"import {fivetran.BASIC} with {fivetran.ACTIONS} and the histories"
            problems.add(Problem(str(file.path), "unused_table", file.unused, cure))
    if not problems:
        first = str(reading.files[0].path)
        problems.add(Problem(first, "no_rows", "holds nothing to load", "export it again"))
    problems.raise_if_any()
