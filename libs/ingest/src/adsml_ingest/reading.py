"""Reads files into staging and settles what they say, naming whatever is wrong."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from adsml_ingest import connectors, dates
from adsml_ingest.batch import Table
from adsml_ingest.detect import detect, open_table
from adsml_ingest.files import SourceFile, list_files
from adsml_ingest.options import OnError, Progress
from adsml_ingest.problems import Problem, Refusal
from adsml_ingest.resolve import LOOKED_AT, Pair, report_clashes, resolve
from adsml_ingest.rows import RowReader
from adsml_ingest.staging import READ, SETTLED, Rows
from adsml_ingest.state import ImportState, ReadFile, UnnamedRow
from adsml_ingest.tree import BLANK, lost_digits

_TOLERANCE: Final = {"spend": 0.05, "impressions": 0.5}
Sums = dict[tuple[int, int, int], npt.NDArray[np.float64]]
"""Spend, impressions and number of rows, by entity (`BLANK`: all), day (`dates.BAD`: all) and cut."""


def read_all(paths: Sequence[Path | SourceFile], state: ImportState, progress: Progress) -> None:
    """Read, check and settle some files: daily rows are staged under `SETTLED`, nothing is loaded yet.

    Raises `InvalidInput` if anything is wrong and `ImportOptions.on_error` is ``stop``, if nothing is left to
    load, or if what was read can't belong to one account.
    """
    listed = list_files(paths, state.staging.scratch)
    state.files = [ReadFile(number, file) for number, file in enumerate(listed.files)]
    state.skipped = listed.skipped
    _open(state)
    _read(state, progress)
    _check_pages(state)
    _note_account(state)
    _refuse_mixture(state)
    _refuse_lost_digits(state)
    _judge_unnamed(state)
    _settle(state)
    # Some files make others wrong if they lack rows: daily rows without their leads.
    crucial = any(
        file.refused
        and (
            connectors.is_child(file.sheet) or connectors.fivetran_table(file) == connectors.BASIC_AD_ACTIONS
        )
        for file in state.files
    )
    if state.options.on_error is OnError.STOP or crucial:
        state.problems.raise_if_any()
    _refuse_nothing(state)


def _open(state: ImportState) -> None:
    for file in state.files:
        try:
            detect(file, state.options)
        except Refusal as refusal:
            state.refuse(file, refusal)
    leads = _leads_of_others(state)
    tables = {connectors.fivetran_table(file) for file in state.files}
    for file in state.files:
        name = connectors.fivetran_table(file)
        if name in connectors.UNUSED_TABLES:
            file.unused = file.unused or f"Fivetran's {name} holds nothing that is needed: not read"
        if file.inside is None or file.unused:
            continue
        try:
            if name == connectors.BASIC_AD_ACTIONS and connectors.BASIC_AD not in tables:
                what = f"holds actions of ads without {connectors.BASIC_AD}, the days that they belong to"
                cure = "import both together: all files, or their directory"
                raise file.source.refusal("missing_table", what, cure)
            with_actions = connectors.BASIC_AD_ACTIONS in tables
            file.table = open_table(
                file, file.inside, state.options, with_actions=with_actions, actions_of=leads
            )
        except Refusal as refusal:
            state.refuse(file, refusal)


def _leads_of_others(state: ImportState) -> dict[str, float] | None:
    """Leads that child tables hold of other tables' rows, by their keys; None without one."""
    actions = [file for file in state.files if connectors.fivetran_table(file) == connectors.BASIC_AD_ACTIONS]
    basic = [file for file in actions if connectors.BASIC_AD in file.path.name.casefold()]
    for file in actions:
        if basic and file not in basic:
            file.unused = f"the leads are taken from {basic[0].path.name}: not read"
    children = [file for file in state.files if connectors.is_child(file.sheet)]
    counts = [file for file in children if re.search(r"(?:^|_)actions\b", file.path.stem.casefold())]
    if not counts:
        counts = [file for file in children if not re.search("value|cost|roas", file.path.stem.casefold())]
    leads: dict[str, float] | None = None
    for file in children:
        file.unused = "holds the actions of another table's rows: its leads are counted there"
        if file not in counts:
            file.unused = "holds what actions cost or are worth, not how many there were: not read"
        elif leads is None and file.sheet is not None:
            try:
                leads = connectors.read_children(file.sheet, state.options)
            except Refusal as refusal:
                state.refuse(file, refusal)
    if len(counts) > 1:
        what = "and others hold actions of rows of other tables: which one counts is not known"
        state.refuse(counts[0], counts[0].source.refusal("many_children", what, "import one of them"))
    return leads


def _read(state: ImportState, progress: Progress) -> None:
    tables = [(file, file.table) for file in state.files if file.table is not None]
    total, before = sum(file.source.real.stat().st_size for file, _ in tables), 0
    for file, table in tables:
        reader = table.reader or RowReader
        file.source.done = 0
        try:
            for batch in table.batches():
                rows = reader(file, table, state, batch).read()
                if len(rows):
                    state.staging.add(READ, rows)
                progress("reading", before + file.source.done, total)
            _conclude(state, file, table)
        except Refusal as refusal:
            state.refuse(file, refusal)
        before += file.source.real.stat().st_size


def _conclude(state: ImportState, file: ReadFile, table: Table) -> None:
    """Take up what only the whole file shows."""
    try:
        if table.conclude is not None:
            table.conclude(table)
        if not (file.rows or file.other_days or file.unnamed or table.reader):
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
    has_header = file.sheet is not None and file.sheet.header is not None
    what = "has a header but no rows" if has_header else "holds no rows"
    return file.source.refusal("no_rows", what, "export it again, for days with delivery")


def _check_pages(state: ImportState) -> None:
    """Refuse pages of which the next is not among the files."""
    paged = [file for file in state.files if file.pages.number]
    followed = sum(file.pages.first_has_previous for file in paged)
    for file in paged:
        if not file.pages.last_has_next or file.refused:
            continue
        if followed:
            followed -= 1
            continue
        what = "ends with a page that names a next one (paging.next), which is not among the files"
        cure = "fetch the following pages too, and import them together"
        state.refuse(file, file.source.refusal("unfinished_pages", what, cure))


def _note_account(state: ImportState) -> None:
    """Take currency, time zone and name of the rows' own account from a table of accounts."""
    asked = state.options.account_id
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

    def shown(told: Iterable[tuple[str, object]]) -> str:
        return ", ".join(f"{name} ({where})" for name, where in told)

    mixed: list[tuple[str, str, str]] = []
    if state.options.account_id is None and len(state.accounts) > 1:
        rows = shown((name, f"{rows:,} rows") for name, rows in state.accounts.most_common(5))
        what = f"the rows belong to {len(state.accounts)} ad accounts: {rows}"
        mixed.append(("several_accounts", what, "choose one of them with --account-id"))
    if len(state.currencies) > 1:
        codes = shown(sorted(state.currencies.items()))
        what = f"the money is in {len(state.currencies)} currencies: {codes}"
        mixed.append(("several_currencies", what, "an account has one: import each on its own"))
    if not state.accounts and len(state.account_names) > 1:
        names = shown([*state.account_names.items()][:5])
        what = f"the rows belong to {len(state.account_names)} ad accounts (Account name): {names}"
        cure = (
            "import each account into a config of its own, or add the column Account ID and pick one with "
            "--account-id"
        )
        mixed.append(("several_accounts", what, cure))
    if len(state.id_kinds) > 1:
        kinds = ", ".join(f"{kind}s in {file}" for kind, file in sorted(state.id_kinds.items()))
        what = f"some files name entities by id, others only by name ({kinds})"
        cure = "add the columns of ids to every report: the same entity would be loaded twice"
        mixed.append(("several_id_kinds", what, cure))
    state.problems.add(*(Problem("", *one) for one in mixed))
    if mixed:
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
    dropped = [file.number for file in state.files if file.dropped]
    by_name = [file.number for file in state.files if file.table and file.table.by_name]
    totals = [entity for file in state.files for entity in file.total_names]
    state.tree.forget(totals)
    conflicts: list[Pair] = []
    copies: dict[int, list[Pair]] = defaultdict(list)  # by file
    for part in state.staging.parts(READ):
        rows = part[~np.isin(part["file"], dropped)] if dropped else part
        rows = rows[~np.isin(rows["entity"], totals)] if totals else rows
        found = resolve(rows, cut_leads, by_name=by_name)
        _note_untold(state, found.rows)
        levels, counts = np.unique(state.tree.levels[found.rows["entity"]], return_counts=True)
        state.rows.update(dict(zip(levels.tolist(), counts.tolist(), strict=True)))
        if len(found.rows):
            days = [*(state.days or ()), int(found.rows["day"].min()), int(found.rows["day"].max())]
            state.days = min(days), max(days)
        state.staging.add(SETTLED, found.rows)
        conflicts += found.conflicts
        for pair in found.copies:
            if len(copies[int(pair[0]["file"])]) < LOOKED_AT:
                copies[int(pair[0]["file"])].append(pair)
        state.counts.update(found.counts)
        state.stray_leads += found.stray_leads
        for file, line in zip(found.rejected["file"].tolist(), found.rejected["line"].tolist(), strict=True):
            wrong.add((file, line))
            state.files[file].rejected += 1
    state.staging.drop(READ)
    report_clashes(state, conflicts, copies)
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
        what = f"is broken down by {state.cuts[cut].columns}, under which the leads are not told, or told several times"
        cure = (
            "take leads from a report without this breakdown, alone or together with this file; or pass "
            "--assume-zero leads, by which stored leads stay as they are"
        )
        state.problems.add(file.problem("untold_leads", what, cure, line))


def _write_conflicts(state: ImportState, wrong: set[tuple[int, int]]) -> None:
    """Read the files that contradict themselves again, to write out the rows as they are."""
    for number in sorted({one for one, _ in wrong}):
        file = state.files[number]
        lines = np.array(sorted(line for one, line in wrong if one == number))
        for batch in file.table.batches() if file.table is not None else ():
            for row in np.flatnonzero(np.isin(batch.lines, lines)):
                reason = "another row says something else of this entity and day: keep one"
                place = f"{file.place} {int(batch.lines[row])}"
                state.rejects.write(file.path, file.sheet, batch.raw(int(row)), f"{place}: {reason}")


def _refuse_nothing(state: ImportState) -> None:
    """Refuse an import of which nothing is left."""
    if not state.rows:
        state.problems.raise_if_any()  # no row was good
    if state.rows or any(True for _ in state.tree.entities(1)) or not state.files:
        return
    for file in state.files:
        if file.unused:
            cure = f"import {connectors.BASIC_AD} with {connectors.BASIC_AD_ACTIONS} and the histories"
            state.problems.add(Problem(str(file.path), "unused_table", file.unused, cure))
    if not state.problems:
        what = "holds nothing to load"
        state.problems.add(*state.files[0].source.refusal("no_rows", what, "export it again").problems)
    state.problems.raise_if_any()


def _judge_unnamed(state: ImportState) -> None:
    """Tell the totals among the rows that name nothing; all others are faults.

    A report of one day ends with a row that names nothing, and so does every row but the first of a group in a
    pivot. Only the sums of the other rows tell them apart. Where entities are known by name only, a total may have a
    name in a language that nobody thought of.
    """
    for file in state.files:
        by_name = file.table is not None and file.table.by_name
        if not (file.unnamed or by_name):
            continue
        over_days = any(row.rows["day"][0] == dates.BAD for row in file.unnamed)
        sums = _sums(state, file.number, over_days=over_days)
        for row in file.unnamed:
            more = _exceeds(row, sums, len(state.cuts))
            if more is None:
                state.reject(file, row.raw, row.problem)
                continue
            file.totals += 1
            file.rows -= 1
            if more:
                what = "is empty, and the row sums up more than the days that are in the file: left out as a total"
                state.warnings.add(replace(row.problem, kind="larger_total", what=what, cure=""))
        if by_name:
            _drop_named_totals(state, file, sums)


def _drop_named_totals(state: ImportState, file: ReadFile, sums: Sums) -> None:
    """Leave out a name whose every row is the sum of two or more other rows of its day."""
    for part in state.staging.parts(READ):
        rows = part[(part["file"] == file.number) & (part["cut"] == 0)]
        for entity in np.unique(rows["entity"]).tolist():
            own = rows[rows["entity"] == entity]
            if (own["impressions"] > 0).all() and all(_is_half(row, sums) for row in own):
                file.totals += len(own)
                file.total_names.append(entity)
                what = "is the sum of all other rows on each of its days: taken for a total, left out"
                if file.table is not None:
                    file.table.notes.append(f"'{state.tree.id_of(entity)}' {what}")


def _is_half(row: Any, sums: Sums) -> bool:
    total = sums.get((BLANK, int(row["day"]), 0))
    if total is None or total[-1] <= 2:
        return False
    more = [abs(2 * float(row[name]) - total[index]) for index, name in enumerate(_TOLERANCE)]
    return all(one <= slack for one, slack in zip(more, _TOLERANCE.values(), strict=True))


def _exceeds(row: UnnamedRow, sums: Sums, cuts: int) -> float | None:
    """By how much a row is more than the sum of the rows that it may sum up; None if it is none of theirs.

    One without a day may sum up more days than the file holds.
    """
    values = row.rows[0]
    day = int(values["day"])
    # A total of a whole table may have a name in a language that nobody thought of.
    above = (row.parent, BLANK) if day == dates.BAD else (row.parent,)
    for below in (sums.get((one, day, cut)) for one in above for cut in range(cuts)):
        if below is None:
            continue
        more = [float(values[name]) - below[index] for index, name in enumerate(_TOLERANCE)]
        slack = [one + 0.001 * abs(below[index]) for index, one in enumerate(_TOLERANCE.values())]
        if all(abs(one) <= most for one, most in zip(more, slack, strict=True)):
            return 0.0
        if day == dates.BAD and all(one >= -most for one, most in zip(more, slack, strict=True)):
            return float(max(more))
    return None


def _sums(state: ImportState, number: int, *, over_days: bool) -> Sums:
    """Sums of the rows of a file, of each way to part a day for itself; over all days too, if they are needed."""
    found: list[pd.DataFrame] = []
    for part in state.staging.parts(READ):
        rows = part[part["file"] == number]
        parents = state.tree.parents[rows["entity"]]
        grand = np.where(parents >= 0, state.tree.parents[np.maximum(parents, 0)], BLANK)
        frame = pd.DataFrame({name: rows[name] for name in ("entity", "day", "cut", *_TOLERANCE)})
        daily = frame.assign(rows=1.0, parent=parents, grand=grand, every=BLANK)
        keys = [(daily, "every"), (daily, "parent"), (daily, "grand")]
        if over_days:
            whole = daily.assign(day=dates.BAD)
            keys += [(whole, above) for above in ("every", "entity", "parent", "grand")]
        for some, above in keys:
            known = some[some[above] >= 0] if above != "every" else some
            found.append(known.groupby([above, "day", "cut"])[[*_TOLERANCE, "rows"]].sum())
    if not found:
        return {}
    total = pd.concat(found).groupby(level=[0, 1, 2]).sum()
    return dict(zip(total.index, total.to_numpy(), strict=True))
