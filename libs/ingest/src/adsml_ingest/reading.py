"""Reads files into staging and settles what they say, naming whatever is wrong."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from adsml_ingest import fivetran
from adsml_ingest.batch import Kind
from adsml_ingest.clashes import ClashReport
from adsml_ingest.detect import detect, open_export
from adsml_ingest.files import list_files
from adsml_ingest.fivetran_rows import AccountReader, ActionReader, HistoryReader
from adsml_ingest.leads import read_children
from adsml_ingest.options import OnError, Progress
from adsml_ingest.problems import Problem, Refusal
from adsml_ingest.resolve import resolve
from adsml_ingest.rows import RowReader
from adsml_ingest.sheet import Sheet
from adsml_ingest.source import SourceFile, ignore
from adsml_ingest.staging import READ, SETTLED, Rows
from adsml_ingest.state import ImportState, ReadFile, TableReader
from adsml_ingest.totals import judge_unnamed
from adsml_ingest.tree import lost_digits

_READERS: Final[Mapping[Kind, type[TableReader]]] = {
    Kind.DAILY: RowReader,
    Kind.ACTIONS: ActionReader,
    Kind.HISTORY: HistoryReader,
    Kind.ACCOUNTS: AccountReader,
}


def read_all(paths: Sequence[Path | SourceFile], state: ImportState, progress: Progress) -> None:
    """Read, check and settle some files: daily rows are staged under `SETTLED`, nothing is loaded yet.

    Raises `InvalidInput` if anything is wrong and `ImportOptions.on_error` is ``stop``, if nothing is left to
    load, or if what was read can't belong to one account.
    """
    listed = list_files(paths, state.staging.scratch)
    state.files, state.skipped = [ReadFile(file) for file in listed.files], listed.skipped
    _open(state)
    _read(state, progress)
    _check_pages(state)
    _note_account(state)
    _refuse_mixture(state)
    _refuse_lost_digits(state)
    judge_unnamed(state)
    _settle(state)
    # Some files make others wrong if they lack rows: daily rows without their leads.
    crucial = [
        file
        for file in state.files
        if file.refused and file.export
        if file.export.is_child or file.export.fivetran_table == fivetran.ACTIONS
    ]
    if state.options.on_error is OnError.STOP or crucial:
        state.problems.raise_if_any()
    _count(state)
    _refuse_nothing(state)


def _open(state: ImportState) -> None:
    for file in state.files:
        try:
            file.export = detect(file.source, state.options)
        except Refusal as refusal:
            state.refuse(file, refusal)
    leads = _leads_of_others(state)
    tables = {file.export.fivetran_table for file in state.files if file.export is not None}
    for file in state.files:
        if file.export is None or file.unused:
            continue
        name = file.export.fivetran_table
        if name in fivetran.UNUSED:
            file.unused = f"Fivetran's {name} holds nothing that is needed: not read"
            continue
        try:
            if name == fivetran.ACTIONS and fivetran.BASIC not in tables:
                what = f"holds actions of ads without {fivetran.BASIC}, the days that they belong to"
                cure = "import both together: all files, or their directory"
                raise file.source.refusal("missing_table", what, cure)
            with_actions = fivetran.ACTIONS in tables
            file.table = open_export(file.export, state.options, with_actions=with_actions, actions_of=leads)
        except Refusal as refusal:
            state.refuse(file, refusal)


def _leads_of_others(state: ImportState) -> dict[str, float] | None:
    """Leads that child tables hold of other tables' rows, by their keys; None without one."""
    actions = [file for file in state.files if file.export and file.export.fivetran_table == fivetran.ACTIONS]
    basic = [file for file in actions if fivetran.BASIC in file.path.name.casefold()]
    for file in actions:
        if basic and file not in basic:
            file.unused = f"the leads are taken from {basic[0].path.name}: not read"
    children = [file for file in state.files if file.export is not None and file.export.is_child]
    counts = [file for file in children if re.search(r"(?:^|_)actions\b", file.path.stem.casefold())]
    if not counts:
        counts = [file for file in children if not re.search("value|cost|roas", file.path.stem.casefold())]
    leads: dict[str, float] | None = None
    for file in children:
        file.unused = "holds the actions of another table's rows: its leads are counted there"
        if file not in counts:
            file.unused = "holds what actions cost or are worth, not how many there were: not read"
        elif leads is None and file.export is not None and isinstance(file.export.inside, Sheet):
            try:
                leads = read_children(file.export.inside, state.options)
            except Refusal as refusal:
                state.refuse(file, refusal)
    if len(counts) > 1:
        what = "and others hold actions of rows of other tables: which one counts is not known"
        state.refuse(counts[0], counts[0].source.refusal("many_children", what, "import one of them"))
    return leads


def _read(state: ImportState, progress: Progress) -> None:
    total = sum(file.source.real.stat().st_size for file in state.files if file.table is not None)
    done = 0

    def advance(size: int) -> None:
        nonlocal done
        done += size
        progress("reading", done, total)

    for number, file in enumerate(state.files):
        if file.table is None:
            continue
        reader = _READERS[file.table.kind](file, file.table, number, state)
        try:
            for batch in file.table.batches(advance):
                rows = reader.read(batch)
                if len(rows):
                    state.staging.add(READ, rows)
        except Refusal as refusal:
            state.refuse(file, refusal)
        _conclude(state, file)


def _conclude(state: ImportState, file: ReadFile) -> None:
    """Take up what only the whole file shows."""
    table = file.table
    if table is None or file.refused:
        return
    try:
        if table.conclude is not None:
            table.conclude()
        if not (file.rows or file.other_days or file.unnamed) and table.kind is Kind.DAILY:
            raise _no_rows(file)
    except Refusal as refusal:
        if len(state.files) > 1 and all(one.kind == "no_daily_rows" for one in refusal.problems):
            file.unused = "holds names and settings, no daily rows: not read"
            return
        # What such a file lacks it lacks in every row.
        file.dropped = True
        state.refuse(file, refusal)
    state.warnings.add(*table.warnings)


def _no_rows(file: ReadFile) -> Refusal:
    if file.other_accounts:
        what = f"has no row of the account asked for ({file.other_accounts:,} of others)"
        return file.source.refusal("wrong_account", what, "check --account-id and the file")
    if file.totals:
        what = f"has no rows but totals ({file.totals:,}): none names both an entity and a day"
        return file.source.refusal("only_totals", what, "export it by day")
    has_header = file.table is None or file.table.header is not None
    what = "has a header but no rows" if has_header else "holds no rows"
    return file.source.refusal("no_rows", what, "export it again, for days with delivery")


def _check_pages(state: ImportState) -> None:
    """Refuse pages of which the next is not among the files."""
    paged = [(file, file.export.pages) for file in state.files if file.export and file.export.pages.number]
    followed = sum(pages.first_has_previous for _, pages in paged)
    for file, pages in paged:
        if not pages.last_has_next or file.refused:
            continue
        if followed:
            followed -= 1
            continue
        what = "ends with a page that names a next one (paging.next), which is not among the files"
        cure = "fetch the following pages too, and import them together"
        state.refuse(file, file.source.refusal("unfinished_pages", what, cure))


def _note_account(state: ImportState) -> None:
    """Take currency, time zone and name of the rows' own account from a table of accounts."""
    asked = (state.options.account_id or "").strip().removeprefix("act_")
    wanted = {asked} if asked else set(state.accounts)
    known = {one: facts for one, facts in state.account_facts.items() if one in wanted or not wanted}
    if len(known) != 1:
        return  # none, or several: rows of several accounts are refused
    [(account, (_, facts, file))] = known.items()
    if not state.accounts:
        state.accounts[account] = 0
    for field, noted in (("currency", state.currencies), ("time_zone", state.time_zones)):
        if facts.get(field):
            noted.setdefault(facts[field], file)
    if facts.get("name") and not state.account_names:
        state.account_names[facts["name"]] = file


def _refuse_mixture(state: ImportState) -> None:
    """Refuse rows that can't all belong to one account."""
    refused = False

    def refuse(kind: str, what: str, cure: str) -> None:
        nonlocal refused
        refused = True
        state.problems.add(Problem("", kind, what, cure))

    if state.options.account_id is None and len(state.accounts) > 1:
        told = ", ".join(f"{name} ({rows:,} rows)" for name, rows in state.accounts.most_common(5))
        what = f"the rows belong to {len(state.accounts)} ad accounts: {told}"
        refuse("several_accounts", what, "choose one of them with --account-id")
    if len(state.currencies) > 1:
        told = ", ".join(f"{name} ({file})" for name, file in sorted(state.currencies.items()))
        what = f"the money is in {len(state.currencies)} currencies: {told}"
        refuse("several_currencies", what, "an account has one: import each on its own")
    if not state.accounts and len(state.account_names) > 1:
        told = ", ".join(f"{name} ({file})" for name, file in list(state.account_names.items())[:5])
        what = f"the rows belong to {len(state.account_names)} ad accounts (Account name): {told}"
        cure = (
            "import each account into a config of its own, or add the column Account ID and pick one with "
            "--account-id"
        )
        refuse("several_accounts", what, cure)
    if len(state.id_kinds) > 1:
        told = ", ".join(f"{kind}s in {file}" for kind, file in sorted(state.id_kinds.items()))
        what = f"some files name entities by id, others only by name ({told})"
        cure = "add the columns of ids to every report: the same entity would be loaded twice"
        refuse("several_id_kinds", what, cure)
    if refused:
        state.problems.raise_if_any()


def _refuse_lost_digits(state: ImportState) -> None:
    """Refuse ids that a spreadsheet rounded to fifteen digits."""
    tables = [file.table for file in state.files if file.table]
    if all(table.tidy or table.by_name for table in tables):
        return
    lost = lost_digits(state.tree.ids.tolist())
    if lost:
        labels = next((table.labels for table in tables if not table.tidy), {})
        column = labels.get("ad_id") or labels.get("adset_id") or labels.get("campaign_id") or "id"
        what = (
            f"{column}: all {len(lost)} ids, such as {lost[-1]}, end in zeros after their fifteenth digit: a "
            "spreadsheet rounded them"
        )
        cure = "export again, keep the ids as text, and don't save the file from a spreadsheet in between"
        state.problems.add(Problem("", "rounded_id", what, cure))


def _settle(state: ImportState) -> None:
    """Settle part by part; rows that contradict each other are rejected."""
    wrong: set[tuple[int, int]] = set()  # file number and line
    cut_leads = np.array([cut.leads for cut in state.cuts], dtype=np.int8)
    dropped = [number for number, file in enumerate(state.files) if file.dropped]
    by_name = [number for number, file in enumerate(state.files) if file.table and file.table.by_name]
    totals = [entity for file in state.files for entity in file.total_names]
    state.tree.forget(totals)
    clashes = ClashReport(state)
    for part in state.staging.parts(READ):
        rows = part[~np.isin(part["file"], dropped)] if dropped else part
        rows = rows[~np.isin(rows["entity"], totals)] if totals else rows
        found = resolve(rows, cut_leads, by_name=by_name)
        _note_untold(state, found.rows)
        state.staging.add(SETTLED, found.rows)
        clashes.add(found)
        state.counts.update(found.counts)
        state.stray_leads += found.stray_leads
        for file, line in zip(found.rejected["file"].tolist(), found.rejected["line"].tolist(), strict=True):
            wrong.add((file, line))
            state.files[file].rejected += 1
    state.staging.drop(READ)
    clashes.conclude()
    if wrong and state.options.on_error is OnError.SKIP:
        _write_conflicts(state, wrong)


def _note_untold(state: ImportState, rows: Rows) -> None:
    """Refuse rows whose leads no file tells, unless the caller takes them as 0."""
    untold = rows[np.isnan(rows["leads"])]
    state.counts["untold"] += len(untold)
    if "leads" in state.options.assume_zero:
        return
    for number, cut in sorted(set(zip(untold["file"].tolist(), untold["cut"].tolist(), strict=True))):
        file = state.files[number]
        line = int(untold["line"][(untold["file"] == number) & (untold["cut"] == cut)][0])
        shown = state.cuts[cut].shown
        what = f"is broken down by {shown}, under which the leads are not told, or told several times"
        cure = (
            "take leads from a report without this breakdown, alone or together with this file; or pass "
            "--assume-zero leads, by which stored leads stay as they are"
        )
        place = file.table.place if file.table else "line"
        state.problems.add(Problem(str(file.path), "untold_leads", what, cure, line=line, place=place))


def _write_conflicts(state: ImportState, wrong: set[tuple[int, int]]) -> None:
    """Read the files that contradict themselves again, to write out the rows as they are."""
    for number in sorted({file for file, _ in wrong}):
        table = state.files[number].table
        if table is None:
            continue
        lines = np.array(sorted(line for file, line in wrong if file == number))
        for batch in table.batches(ignore):
            for row in np.flatnonzero(np.isin(batch.lines, lines)):
                reason = "another row says something else of this entity and day: keep one"
                place = f"{table.place} {int(batch.lines[row])}"
                state.rejects.write(table, batch.raw(int(row)), f"{place}: {reason}")


def _count(state: ImportState) -> None:
    for rows in state.staging.parts(SETTLED):
        if len(rows):
            levels, counts = np.unique(state.tree.levels[rows["entity"]], return_counts=True)
            state.rows.update(dict(zip(levels.tolist(), counts.tolist(), strict=True)))
            first, last = int(rows["day"].min()), int(rows["day"].max())
            known = state.days or (first, last)
            state.days = min(first, known[0]), max(last, known[1])


def _refuse_nothing(state: ImportState) -> None:
    """Refuse an import of which nothing is left."""
    if not state.rows:
        state.problems.raise_if_any()  # no row was good
    if state.rows or any(True for _ in state.tree.entities(1)) or not state.files:
        return
    for file in state.files:
        if file.unused:
            cure = f"import {fivetran.BASIC} with {fivetran.ACTIONS} and the histories"
            state.problems.add(Problem(str(file.path), "unused_table", file.unused, cure))
    if not state.problems:
        what = "holds nothing to load"
        state.problems.add(*state.files[0].source.refusal("no_rows", what, "export it again").problems)
    state.problems.raise_if_any()
