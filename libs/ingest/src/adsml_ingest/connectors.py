"""Tables and records of connectors: Airbyte and Singer, Fivetran, dlt.

Records have an envelope around the row: of Airbyte's protocol (``{"type": "RECORD", "record": {"stream": ..., "data":
{...}}}``) and its destinations (``_airbyte_ab_id, _airbyte_emitted_at, _airbyte_data``; since version 2
``_airbyte_raw_id, _airbyte_extracted_at, _airbyte_meta, _airbyte_data``), of Singer taps (``{"type": "RECORD",
"stream": ..., "record": {...}}``). An append-only sync fetches the last days again and again: of two rows for one
entity and day the one fetched last counts. A stream is no kind of its own: what its rows hold decides.

Fivetran's tables have columns as in its dbt source package (fivetran/dbt_facebook_ads_source, src_facebook_ads.yml).
``basic_ad`` knows ads only; their ad sets, campaigns and names come from the history tables beside it.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from adsml_ingest import dates, numerals
from adsml_ingest.batch import LEVELS, ZERO, Batch, Table
from adsml_ingest.files import TextSource
from adsml_ingest.insights import CLICKS, STAMPS, InsightsReader, open_flat, open_json
from adsml_ingest.jsonstream import JsonRow, Pages
from adsml_ingest.leads import BREAKDOWN_FIELDS, NULLS, TOTAL, LeadCounter, is_null, leads_of_fields
from adsml_ingest.options import Format, ImportOptions
from adsml_ingest.rows import OWN_ID_CURE, Refs, blank_codes, link, or_blank, read_ids, read_refs
from adsml_ingest.sheet import Sheet
from adsml_ingest.staging import LEAD_PART, LEAD_TOTAL, Rows, empty_rows
from adsml_ingest.state import BatchReader, ReadFile
from adsml_ingest.tree import BLANK, HAS_BUDGET

ENVELOPE: Final = "_airbyte_data"
_CHILD: Final = ("_dlt_parent_id", "action_type", "value")
_MESSAGES: Final = ("RECORD", "STATE", "SCHEMA", "LOG", "TRACE", "ACTIVATE_VERSION", "CATALOG", "SPEC")
BASIC_AD: Final = "basic_ad"
BASIC_AD_ACTIONS: Final = "basic_ad_actions"
VALUES: Final = "basic_ad_action_values"
HISTORIES: Final = {"campaign_history": 0, "ad_set_history": 1, "ad_history": 2}
ACCOUNT: Final = "account_history"
UNUSED_TABLES: Final = ("creative_history", VALUES)
"""Tables of the connector that hold nothing for the store."""
_SYNCED: Final = "_fivetran_synced"
_VERSION: Final = {"updated": "updated_time", "stamp": _SYNCED}
_CELLS: Final[Mapping[str, Any]] = {"blanks": NULLS, "blank_is_zero": ZERO}
_DAY: Final = 86_400.0
_FACTS: Final = ("name", "currency", "time_zone")
_TABLES: Final = (BASIC_AD, *HISTORIES, ACCOUNT, *UNUSED_TABLES)


def is_airbyte(row: dict[str, Any]) -> bool:
    """Whether an object of a JSON document is a connector's."""
    return any(name.startswith("_airbyte_") for name in row) or row.get("type") in _MESSAGES


def unwrap(row: JsonRow) -> JsonRow | None:
    """The row within a message or envelope, with the time at which it was fetched.

    None for a message that is no record. One that can't be read if there is nothing in the envelope.
    """
    if row.value is None:
        return row
    try:
        inner = _inside(row.value)
    except ValueError as error:
        return JsonRow(row.line, None, json.dumps(row.value, default=str), str(error))
    return None if inner is None else JsonRow(row.line, inner)


def _inside(row: dict[str, Any]) -> dict[str, Any] | None:
    if "type" in row and "record" in row:
        return _record(row)
    if "type" in row and "date_start" not in row and ENVELOPE not in row:
        return None
    if ENVELOPE not in row:
        return row
    data = row[ENVELOPE]
    if isinstance(data, str):
        try:
            data = json.loads(data)
        except (ValueError, RecursionError):
            raise ValueError(f"has a {ENVELOPE} that is not JSON") from None
    if not isinstance(data, dict):
        raise ValueError(f"has a {ENVELOPE} that is no object")
    return {**data, **{name: row[name] for name in STAMPS if name in row}}


def _record(message: dict[str, Any]) -> dict[str, Any]:
    record = message["record"]
    if isinstance(record, dict) and "stream" in message:  # Singer
        extracted = message.get("time_extracted")
        return record if extracted is None else {**record, "_sdc_extracted_at": extracted}
    if not isinstance(record, dict) or not isinstance(record.get("data"), dict):
        raise ValueError("is a record message without data")
    return {**record["data"], STAMPS[1]: record.get("emitted_at")}


def open_airbyte_json(source: TextSource, options: ImportOptions, *, pages: Pages | None = None) -> Table:
    """The table behind a JSON document of a connector's."""
    return open_json(source, options, unwrap=unwrap, pages=pages)


def open_airbyte_sheet(sheet: Sheet, options: ImportOptions) -> Table:
    """The table behind a flattened table of Airbyte's, or a raw one with an envelope column."""
    if sheet.position(ENVELOPE) is None or sheet.position("date_start") is not None:
        return open_flat(sheet, options)
    columns = sheet.positions(ENVELOPE, *STAMPS)
    reader = InsightsReader(sheet.file, options)

    def batches() -> Iterator[Batch]:
        for batch in sheet.read(columns):
            cells = zip(*batch.cells.values(), strict=True)
            rows = [unwrap(JsonRow(0, dict(zip(columns, row, strict=True)))) for row in cells]
            yield reader.records([row._replace(text="") for row in rows if row is not None], batch)

    return sheet.table(options, {}, batches=batches, **reader.meaning())


def fivetran_table(file: ReadFile) -> str | None:
    """Which of Fivetran's tables a file is, if it is one."""
    sheet = file.sheet if file.format is Format.FIVETRAN else None
    return None if sheet is None else fivetran_table_of(sheet)


def fivetran_table_of(sheet: Sheet) -> str | None:
    """Which of Fivetran's tables a sheet is: by a column of Fivetran's own or its file name, and its columns."""
    names = {name.strip().casefold() for name in sheet.names}
    stem = sheet.file.path.name.casefold()
    if not (any(name.startswith("_fivetran_") for name in names) or any(table in stem for table in _TABLES)):
        return None
    if {"ad_id", "date", "action_type", "value"} <= names:
        return VALUES if "action_values" in stem else BASIC_AD_ACTIONS
    if {"ad_id", "date", "spend", "impressions"} <= names and "entity_type" not in names:
        return BASIC_AD
    if "id" not in names or not {"updated_time", "_fivetran_synced"} & names:
        return None
    if "account_id" not in names:
        return ACCOUNT
    if "ad_set_id" in names:
        return "ad_history"
    if "campaign_id" in names:
        return "ad_set_history"
    return "creative_history" if "_fivetran_id" in names or "creative" in stem else "campaign_history"


def open_fivetran(sheet: Sheet, options: ImportOptions, *, with_actions: bool) -> Table:
    """The table behind one of Fivetran's tables but those in `UNUSED_TABLES`.

    Raises `Refusal` if a column is missing, or leads can't be known: `with_actions` says whether the actions table is
    imported too.
    """
    name = fivetran_table_of(sheet)
    if name == BASIC_AD:
        return _basic(sheet, options, with_actions=with_actions)
    if name == BASIC_AD_ACTIONS:
        return _actions(sheet, options)
    if name == ACCOUNT:
        columns = sheet.positions("id", "name", "currency", time_zone="timezone_name", **_VERSION)
        return sheet.table(options, columns, source=name, reader=AccountReader, **_CELLS)
    if name in HISTORIES:
        columns = sheet.positions(
            "id", "campaign_id", "name", "status", "objective", "daily_budget", "lifetime_budget",
            adset_id="ad_set_id", account="account_id", **_VERSION,
        )  # fmt: skip
        return sheet.table(
            options, columns, source=name, reader=HistoryReader, level=HISTORIES[name], **_CELLS
        )
    what = f"is none of Fivetran's tables {BASIC_AD}, {BASIC_AD_ACTIONS}, {', '.join(HISTORIES)}"
    raise sheet.refusal("unknown_table", what, "import those")


def _basic(sheet: Sheet, options: ImportOptions, *, with_actions: bool) -> Table:
    fields = sheet.positions(
        "ad_id", "adset_id", "campaign_id", "ad_name", "date", "spend", "impressions", "reach", "campaign_name",
        "adset_name", account="account_id", currency="account_currency", stamp=_SYNCED,
    )  # fmt: skip
    notes: list[str] = []
    positions = {kind: sheet.position(name) for kind, name in CLICKS.items()}
    clicks, click_kind = sheet.clicks(positions, options, notes, "sync the column clicks as well")
    fields |= clicks
    if not with_actions and "leads" not in options.assume_zero:
        what = f"has no leads: they are in the table {BASIC_AD_ACTIONS}"
        cure = "import both together (all files, or their directory), or pass --assume-zero leads"
        raise sheet.file.refusal("missing_table", what, cure)
    if not with_actions:
        notes.append(f"no table {BASIC_AD_ACTIONS}: leads are taken as 0, as asked")
    parts = sheet.positions(*BREAKDOWN_FIELDS)
    if parts:
        notes.append(f"broken down by {', '.join(parts)}: summed over them, unless a total stands beside it")
    return sheet.table(
        options, fields, source=BASIC_AD, level=2, notes=notes, leads_of_cut=leads_of_fields, click_kind=click_kind,
        batches=partial(sheet.read_parted, fields, parts, is_null), **_CELLS,
    )  # fmt: skip


def _actions(sheet: Sheet, options: ImportOptions) -> Table:
    if "actions" not in sheet.file.path.name.casefold():
        what = f"could be {BASIC_AD_ACTIONS} (counts) or {VALUES} (money): they have the same columns"
        cure = f"name the file {BASIC_AD_ACTIONS}{sheet.file.path.suffix}, or leave it out"
        raise sheet.file.refusal("unknown_table", what, cure)
    leads = LeadCounter(options.lead_actions)
    names = ("ad_id", "date", "action_type", "value", "index")
    fields = sheet.positions(*names, identity="_fivetran_id", stamp=_SYNCED)
    return sheet.table(
        options, fields, source=BASIC_AD_ACTIONS, level=2, reader=partial(ActionReader, leads=leads),
        conclude=partial(_conclude, leads), **_CELLS,
    )  # fmt: skip


def _conclude(leads: LeadCounter, table: Table) -> None:
    """Say which wanted actions there were none of."""
    if leads.absent:
        what = f"has no action {', '.join(leads.absent)} in any row"
        table.warn("absent_action", what, "check --lead-action")
    elif not leads.types.intersection(leads.needed):
        kinds = f"; it has {', '.join(leads.passed_over)}" if leads.passed_over else ""
        what = f"has no lead in any row: leads are 0{kinds}"
        table.warn("no_leads", what, "name what counts as a lead with --lead-action")


class ActionReader(BatchReader):
    """Reads a batch of an actions table into staged leads; other actions are counted and passed over."""

    def __init__(self, *given: Any, leads: LeadCounter) -> None:
        super().__init__(*given)
        self._leads = leads

    def read(self) -> Rows:
        """The leads among the actions."""
        self.file.rows += self.size
        types = [str(cell).strip() for cell in self.cells["action_type"]]
        self._leads.types.update(types)
        self.leave_out(np.array([name not in self._leads.needed for name in types], dtype=np.bool_))
        refs = read_refs(self)
        when = dates.parse_days(self.cells["date"], self.table.date_order)
        self.explain("date", when == dates.BAD, self.day_of)
        values, blank = self.numbers("value")
        values[blank] = 0.0
        self.mark(values < 0, "value", "negative", "is negative", "expected 0 or more")
        self.report()
        chosen = np.flatnonzero(self.good)
        rows = self.staged(chosen, refs.own, when)
        rows["leads"] = values[chosen]
        kinds = [types[row] for row in chosen.tolist()]
        only_total = not self._leads.wanted
        rows["kind"] = [LEAD_TOTAL if only_total and kind == TOTAL else LEAD_PART for kind in kinds]
        # One action type stands in several rows of a day if the report has action breakdowns.
        parts = [self.cells[name] for name in ("identity", "index") if name in self.cells]
        named = ["\x1f".join([types[row], *(str(part[row]) for part in parts)]) for row in chosen.tolist()]
        rows["cell"] = pd.util.hash_array(np.array(named, dtype=object)) if named else 0
        if "stamp" in self.cells:
            rows["stamp"] = dates.parse_moments(self.cells["stamp"])[0][chosen]
        return rows


class AccountReader(BatchReader):
    """Reads the history of ad accounts, for their currency and time zone: the last updated version counts."""

    def read(self) -> Rows:
        """Nothing to stage; the state learns what the accounts are."""
        cells, known, blanks = self.cells, self.state.account_facts, self.table.blanks
        self.file.rows += self.size
        moments = [dates.parse_moments(cells[name])[0] for name in ("updated", "stamp") if name in cells]
        for row in self.where(self.good):
            account = str(cells["id"][row]).strip().removeprefix("act_").removesuffix(".0")
            when = max((float(moment[row]) for moment in moments), default=0.0)
            if account not in blanks and when >= known.get(account, (0.0,))[0]:
                texts = {name: str(cells[name][row] or "").strip() for name in _FACTS if name in cells}
                facts: dict[str, str] = {name: text for name, text in texts.items() if text not in blanks}
                known[account] = (when, facts, self.table.file)
        return empty_rows(0)


class HistoryReader(BatchReader):
    """Reads the history of entities of one level: of several versions of one the last updated counts."""

    def read(self) -> Rows:
        """Nothing to stage; the tree learns names, parents and status."""
        self.keep_account()
        self.file.rows += self.size
        level = self.table.level or 0
        codes = [blank_codes(self) for _ in LEVELS]
        for at in (level, *range(level)):
            field = "id" if at == level else f"{LEVELS[at]}_id"
            if field in self.cells:
                codes[at] = read_ids(self, at, field)
        self.mark(codes[level] == BLANK, "id", "no_entity", "is empty", OWN_ID_CURE)
        campaigns, adsets, ads = map(or_blank, codes)
        refs = Refs((campaigns, adsets, ads)[level], (campaigns, adsets, ads))
        link(self, refs)
        self.report()
        self._describe(refs, np.flatnonzero(self.good))
        return empty_rows(0)

    def _describe(self, refs: Refs, chosen: npt.NDArray[np.intp]) -> None:
        cells, tree = self.cells, self.state.tree
        synced, when = (
            dates.parse_moments(cells[name])[0] if name in cells else np.zeros(self.batch.size)
            for name in ("stamp", "updated")
        )
        # Of two versions updated at one moment the one synced last counts.
        chosen = chosen[np.argsort(synced[chosen], kind="stable")]
        told = (np.maximum(synced, when) // _DAY)[chosen]
        for codes in refs.by_level:
            tree.use(codes[chosen], told)
        when, own = when[chosen], refs.own[chosen]
        for field in ("name", "status", "objective"):
            if field in cells:
                said = [cells[field][row] for row in chosen.tolist()]
                tree.describe(own, when, field, said, self.table.blanks)
        budgets = [cells[name] for name in ("daily_budget", "lifetime_budget") if name in cells]
        if not self.table.level and budgets:
            set_here = np.any([numerals.parse(budget)[0] > 0 for budget in budgets], axis=0)
            tree.describe(own, when, HAS_BUDGET, set_here[chosen].tolist(), self.table.blanks)


def is_child(sheet: Sheet | None) -> bool:
    """Whether a file holds the actions of another table's rows, as dlt parts nested lists from them."""
    return sheet is not None and len(sheet.positions(*_CHILD)) == len(_CHILD)


def read_children(sheet: Sheet, options: ImportOptions) -> dict[str, float]:
    """Leads by the key of their row, out of a child table.

    Raises `Refusal` if the table can't be read, or a value is no number.
    """
    fields = sheet.positions(*_CHILD)
    sums: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    leads = LeadCounter(options.lead_actions)
    for batch in sheet.read(fields):
        parents, kinds, cells = (batch.cells[field] for field in fields)
        values, blank = numerals.parse(cells, decimal=options.decimal)
        for row in [row for row, kind in enumerate(kinds) if kind in leads.needed]:
            if np.isnan(values[row]) and not blank[row]:
                what, line = f"has {kinds[row]} with a value that is no number", int(batch.lines[row])
                raise sheet.file.refusal("not_a_number", what, "export it again", line=line)
            sums[str(parents[row])][kinds[row]] += 0.0 if blank[row] else float(values[row])
    return {parent: leads.settle(some) for parent, some in sums.items()}
