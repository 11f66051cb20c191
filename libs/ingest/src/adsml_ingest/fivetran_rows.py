"""Fivetran's actions and history tables: leads for the daily rows, and the tree above the ads."""

import numpy as np
import numpy.typing as npt
import pandas as pd

from adsml_ingest import days, leads, numerals, stamps
from adsml_ingest.batch import LEVELS, Batch, Table
from adsml_ingest.check import RowCheck
from adsml_ingest.refs import Refs, link, note_bad_ids, read_refs
from adsml_ingest.rows import keep_account
from adsml_ingest.staging import LEAD_PART, LEAD_TOTAL, Rows, empty_rows
from adsml_ingest.state import ImportState, ReadFile, TableReader
from adsml_ingest.tree import BAD, BLANK, HAS_BUDGET

_DAY = 86_400.0
_FACTS = ("name", "currency", "time_zone")


class ActionReader(TableReader):
    """Reads the batches of an actions table into staged leads."""

    def __init__(self, file: ReadFile, table: Table, number: int, state: ImportState) -> None:
        super().__init__(file, table, number, state)
        self._types: set[str] = set()
        table.conclude = self._conclude

    def _conclude(self) -> None:
        """Say which wanted actions there were none of."""
        wanted = self._state.options.lead_actions
        counter = leads.LeadCounter(wanted, self._types)
        if counter.absent:
            what = f"has no action {', '.join(counter.absent)} in any row"
            self.table.warn("absent_action", what, "check --lead-action")
        elif not self._types.intersection(leads.USUAL) and not wanted:
            kinds = f"; it has {', '.join(counter.passed_over)}" if counter.passed_over else ""
            what = f"has no lead in any row: leads are 0{kinds}"
            self.table.warn("no_leads", what, "name what counts as a lead with --lead-action")

    def read(self, batch: Batch) -> Rows:
        """The leads among a batch of actions; other actions are counted and passed over."""
        check, asked = RowCheck(self.table, batch), self._state.options.lead_actions
        self._file.rows += check.size
        types = [str(cell).strip() for cell in batch.cells["action_type"]]
        self._types.update(types)
        check.leave_out(np.array([name not in (asked or leads.USUAL) for name in types], dtype=np.bool_))
        refs = read_refs(check, self._state.tree)
        when = days.parse(batch.cells["date"], self.table.date_order, self._known_days)
        check.explain("date", when == days.BAD, lambda cell: days.day(cell, self.table.date_order))
        values, blank = numerals.parse(batch.cells["value"], decimal=self.table.decimal)
        values[blank] = 0.0
        for row in check.where(np.isnan(values)):
            cell = batch.cells["value"][row]
            check.fault(row, "value", *numerals.explain(cell, decimal=self.table.decimal))
        for row in check.where(values < 0):
            check.fault(row, "value", "negative", "is negative", "expected 0 or more")
        check.report(self._file, self._state)
        chosen = np.flatnonzero(check.good)
        rows = empty_rows(len(chosen))
        rows["entity"], rows["day"], rows["leads"] = refs.own[chosen], when[chosen], values[chosen]
        kinds = [types[row] for row in chosen.tolist()]
        rows["kind"] = [LEAD_TOTAL if kind == leads.TOTAL and not asked else LEAD_PART for kind in kinds]
        # One action type stands in several rows of a day if the report has action breakdowns.
        parts = [batch.cells[name] for name in ("identity", "index") if name in batch.cells]
        named = ["\x1f".join([types[row], *(str(part[row]) for part in parts)]) for row in chosen.tolist()]
        rows["cell"] = pd.util.hash_array(np.array(named, dtype=object)) if named else 0
        if "stamp" in batch.cells:
            rows["stamp"] = stamps.parse(batch.cells["stamp"])[0][chosen]
        rows["file"], rows["line"] = self._number, batch.lines[chosen]
        return rows


class AccountReader(TableReader):
    """Reads the history of ad accounts, for their currency and time zone: the last updated version counts."""

    def read(self, batch: Batch) -> Rows:
        """Nothing to stage; the state learns what the accounts are."""
        check, cells = RowCheck(self.table, batch), batch.cells
        self._file.rows += check.size
        known = self._state.account_facts
        moments = [stamps.parse(cells[name])[0] for name in ("updated", "stamp") if name in cells]
        for row in check.where(check.good):
            account = str(cells["id"][row]).strip().removeprefix("act_").removesuffix(".0")
            when = max((float(moment[row]) for moment in moments), default=0.0)
            if account not in self.table.blanks and when >= known.get(account, (0.0,))[0]:
                texts = {name: str(cells[name][row] or "").strip() for name in _FACTS if name in cells}
                facts = {name: text for name, text in texts.items() if text not in self.table.blanks}
                known[account] = (when, facts, self.table.file)
        return empty_rows(0)


class HistoryReader(TableReader):
    """Reads the history of entities of one level: of several versions of one the last updated counts."""

    def read(self, batch: Batch) -> Rows:
        """Nothing to stage; the tree learns names, parents and status."""
        check = RowCheck(self.table, batch)
        self._file.other_accounts += keep_account(check, self._state)
        self._file.rows += check.size
        cells, tree, level = batch.cells, self._state.tree, self.table.level or 0
        fields = {level: "id", **{above: f"{LEVELS[above]}_id" for above in range(level)}}
        codes = [np.full(batch.size, BLANK, dtype=np.int32) for _ in LEVELS]
        for at, field in fields.items():
            if field in cells:
                codes[at] = tree.codes(at, cells[field], digits=True, blanks=self.table.blanks)
                note_bad_ids(check, field, codes[at])
        for row in check.where(codes[level] == BLANK):
            check.fault(row, "id", "no_entity", "is empty", "every row needs the id of its entity")
        campaigns, adsets, ads = (np.where(found == BAD, BLANK, found).astype(np.int32) for found in codes)
        refs = Refs((campaigns, adsets, ads)[level], (campaigns, adsets, ads))
        link(check, refs, tree)
        check.report(self._file, self._state)
        self._describe(batch, refs, np.flatnonzero(check.good))
        return empty_rows(0)

    def _describe(self, batch: Batch, refs: Refs, chosen: npt.NDArray[np.intp]) -> None:
        cells, tree = batch.cells, self._state.tree
        synced = stamps.parse(cells["stamp"])[0] if "stamp" in cells else np.zeros(batch.size)
        when = stamps.parse(cells["updated"])[0] if "updated" in cells else np.zeros(batch.size)
        # Of two versions updated at one moment the one synced last counts.
        chosen = chosen[np.argsort(synced[chosen], kind="stable")]
        told = (np.maximum(synced, when) // _DAY)[chosen]
        for codes in refs.by_level:
            tree.use(codes[chosen], told)
        when, own = when[chosen], refs.own[chosen]
        for field in ("name", "status", "objective"):
            if field in cells:
                tree.describe(own, when, field, [cells[field][row] for row in chosen.tolist()])
        budgets = [cells[name] for name in ("daily_budget", "lifetime_budget") if name in cells]
        if not self.table.level and budgets:
            amounts = [numerals.parse(budget)[0] for budget in budgets]
            set_here = np.any([amount > 0 for amount in amounts], axis=0)
            tree.describe(own, when, HAS_BUDGET, set_here[chosen].tolist())
