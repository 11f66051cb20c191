"""Rows of the Insights API, however they arrive: JSON pages, records of connectors, flattened tables.

Field names are those of the API's AdsInsights object; Airbyte's ``ads_insights`` streams keep them
(source-facebook-marketing, schemas/ads_insights.json). What a file holds is known at its end: the API leaves out
of a row whatever there is none of, so nothing is decided from the rows at its start.
"""

import gc
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from itertools import islice
from typing import Any, Final, NoReturn

import numpy as np

from adsml_ingest import dates, numerals
from adsml_ingest.batch import ZERO, Batch, Column, CutLeads, Fault, Table
from adsml_ingest.files import SourceFile, TextSource
from adsml_ingest.jsonstream import JsonRow, Pages, read_objects
from adsml_ingest.leads import (
    BREAKDOWN_FIELDS,
    NULLS,
    BadActions,
    LeadCounter,
    add_up,
    cuts_of,
    is_null,
    leads_of_fields,
)
from adsml_ingest.options import Clicks, ImportOptions
from adsml_ingest.problems import Refusal
from adsml_ingest.sheet import Cells, Sheet

_SAME: Final = (
    "campaign_id", "adset_id", "ad_id", "campaign_name", "adset_name", "ad_name", "date_stop", "spend", "impressions",
    "reach", "account_name", "objective",
)  # fmt: skip
COLUMNS: Final[Mapping[str, str]] = {name: name for name in _SAME} | {
    "date": "date_start", "account": "account_id", "currency": "account_currency", "time_zone": "account_timezone",
}  # fmt: skip
"""Field of the import to field of the API."""
IDS: Final = ("ad_id", "adset_id", "campaign_id")
CLICKS: Final = {Clicks.ALL: "clicks", Clicks.LINK: "inline_link_clicks"}
STAMPS: Final = (
    "_airbyte_extracted_at", "_airbyte_emitted_at", "_sdc_extracted_at", "_sdc_batched_at", "_sdc_received_at",
    "_dlt_extracted_at", "_dlt_load_id", "_fivetran_synced",
)  # fmt: skip
"""When a row was fetched, as connectors say it; the first that is there counts."""
_LOAD: Final = "_dlt_load_id"  # dlt's own loads are numbered by the time, somebody else's may not be
_LISTS: Final = ("results", "conversions")  # lists beside actions in which leads may stand
KEY: Final = "_dlt_id"  # key of a row, under which a child table holds its actions
_BATCH: Final = 1 << 14
_SCALARS: Final = (str, int, float, type(None))
_BREAKDOWNS: Final = frozenset(BREAKDOWN_FIELDS)

Unwrap = Callable[[JsonRow], JsonRow | None]
"""The row within an envelope; None for a message that holds no row."""


@dataclass(slots=True)
class InsightsReader:
    """Turns rows of the API into rows of the import, and knows at the end what the file held."""

    source: SourceFile
    options: ImportOptions
    actions_of: Mapping[str, float] | None = None  # leads by the rows' own keys, out of a child table
    columns: dict[str, str] = field(default_factory=lambda: dict(COLUMNS))  # field to column
    seen: set[str] = field(default_factory=set)  # columns that some row has
    labels: dict[str, str] = field(init=False)  # field to what messages call it
    wanted: set[str] = field(init=False)  # columns that are looked at
    leads: LeadCounter = field(init=False)
    met: Counter[str] = field(default_factory=Counter)  # kinds of rows and cells, and how many or whether any
    result_leads: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Leads in other lists than actions, by kind."""

    def __post_init__(self) -> None:
        self.leads = LeadCounter(self.options.lead_actions)
        self.columns |= {name: column for name, column in self.options.mapping.items() if name in COLUMNS}
        self.wanted = {
            *self.columns.values(), *self.options.mapping.values(), *self.options.lead_columns, *CLICKS.values(),
            *STAMPS, *_BREAKDOWNS, "actions", *_LISTS, KEY,
        }  # fmt: skip
        named = ", ".join(self.options.lead_columns)
        self.labels = {**self.columns, "leads": named or "actions", "clicks": "clicks"}

    def meaning(self) -> dict[str, Any]:
        """Attributes of the `Table` that it reads."""
        return {
            "labels": self.labels, "blank_is_zero": ZERO, "blanks": NULLS,
            "leads_of_cut": leads_of_fields, "conclude": self.conclude,
        }  # fmt: skip

    def records(self, rows: Sequence[JsonRow], batch: Batch) -> Batch:
        """The cells of some objects, into their batch; its faults where one can't be read."""
        day, spend, impressions = (self.columns[name] for name in ("date", "spend", "impressions"))
        batch.faults += [
            Fault(index, None, row.text or None, "bad_json", row.error, "export it again")
            for index, row in enumerate(rows)
            if row.value is None
        ]
        # A broken row is a row: it says nothing, and yet is not left out as one that is none.
        values = [{day: None} if row.value is None else row.value for row in rows]
        daily = np.array([day in row or spend in row or impressions in row for row in values], np.bool_)
        batch.left_out |= ~daily

        present: set[str] = set().union(*values)
        # A field that is null in every row was not asked for, or there is none of it.
        fresh = present - self.seen
        self.seen |= {name for name in fresh if any(value.get(name) is not None for value in values)}
        batch.cells = {name: [value.get(name) for value in values] for name in present & self.wanted}
        return self.batch(int(daily.sum()), batch)

    def batch(self, daily: int, batch: Batch) -> Batch:
        """The cells of a batch by fields, out of those by columns; `daily` of its rows are daily rows."""
        self.met.update(daily=daily, undated=batch.size - daily)
        given = batch.cells
        cells: Cells = {name: _plain(given[where]) for name, where in self.columns.items() if where in given}
        cells.setdefault("date", [None] * batch.size)
        cells["clicks"] = self._clicks(given, batch.size)
        cells["leads"] = self._leads(given, batch)
        stamp = next((name for name in STAMPS if name in given), None)
        if stamp is not None:
            told = given[stamp]
            if stamp == _LOAD:
                told = [cell if dates.moment(cell) is not None else None for cell in told]
            cells["stamp"], self.labels["stamp"] = told, stamp
        parts = sorted(_BREAKDOWNS.intersection(given))
        if parts:
            rows = list(zip(*(_plain(given[name]) for name in parts), strict=True))
            cells["cut"], cells["cell"] = cuts_of(parts, rows)
        tells = any(leads_of_fields(cut) is CutLeads.TOLD for cut in set(cells.get("cut", ("",))))
        self.met.update(tells_leads=tells, delivered=_any(cells.get("impressions")))
        batch.cells = cells
        return batch

    def _clicks(self, given: Cells, size: int) -> Column:
        every, link = self._click_column, CLICKS[Clicks.LINK]
        chosen = _plain(given.get(every, [None] * size))
        self.met["clicked"] += _any(chosen)
        if every == link or link not in given:
            self.met["all_clicks"] += any(not is_null(cell) for cell in chosen)
            return chosen
        chosen, links = list(chosen), _plain(given[link])
        self.met["clicked"] += _any(links)
        for row, cell in enumerate(chosen):
            if not is_null(cell):
                self.met["all_clicks"] += 1
            elif not is_null(links[row]) and self.options.clicks is None:
                chosen[row] = links[row]
                self.met["only_link_clicks"] += bool(numerals.number(links[row]))
        return chosen

    @property
    def _click_column(self) -> str:
        return self.options.mapping.get("clicks") or CLICKS[self.options.clicks or Clicks.ALL]

    def _leads(self, given: Cells, batch: Batch) -> Column:
        counts = np.zeros(batch.size)
        if self.options.lead_columns:
            columns = [_plain(given[name]) for name in self.options.lead_columns if name in given]
            added = add_up(columns or [counts], decimal=self.options.decimal, blanks=NULLS)
            self.leads.total += sum(cell for cell in added if isinstance(cell, float))
            return added
        if self.actions_of is not None and KEY in given:
            counts += [self.actions_of.get(str(key), 0.0) for key in given[KEY]]
            self.leads.total += float(counts.sum())
            return counts
        # Actions that the caller names may stand among the conversions alone.
        sources = ("actions", "conversions") if self.options.lead_actions else ("actions",)
        if any(name in given for name in sources):
            lists = [given.get(name, [None] * batch.size) for name in sources]
            for row, some in enumerate(zip(*lists, strict=True)):
                if all(one is None or one != one for one in some):  # noqa: PLR0124  # NaN of a frame
                    continue
                try:
                    counts[row] = self.leads.count(*some)
                except BadActions as error:
                    cure = "write actions as the API does: a JSON list (json.dumps)"
                    batch.faults.append(Fault(row, "leads", None, "bad_actions", str(error), cure))
        for name in _LISTS:
            for value in given.get(name, ()):
                self._look_at_results(name, value)
        return counts

    def _look_at_results(self, place: str, results: Any) -> None:
        """Leads that stand in other lists than actions: they are not counted, but not passed over either."""
        if isinstance(results, str) and "lead" in results:
            with suppress(ValueError, RecursionError):
                results = json.loads(results)
        for result in results if isinstance(results, list) else ():
            known = result if isinstance(result, dict) else {}
            name = str(known.get("indicator") or known.get("action_type") or "")
            if "lead" not in name:
                continue
            inner = known.get("values")
            for value in inner if isinstance(inner, list) else [known]:
                number = numerals.number(value.get("value")) if isinstance(value, dict) else None
                if number:
                    self.result_leads[f"{place}: {name}"] += number

    def conclude(self, table: Table) -> None:
        """Say what the file as a whole lacked; raises `Refusal` if it was a needed field, or leads can't be known."""
        undated = self.met["undated"]
        if self.met["daily"]:
            self._need_fields()
            self._conclude_clicks(table)
            self._conclude_leads(table)
            if undated:
                what = f"{undated:,} records without a day and metrics: names and settings, passed over"
                table.notes.append(what)
        elif undated:
            what = "holds names and settings, no daily rows"
            self._refuse("no_daily_rows", what, "leave it out, and import the insights themselves")

    def _refuse(self, kind: str, what: str, cure: str) -> NoReturn:
        raise self.source.refusal(kind, what, cure)

    def _need_fields(self) -> None:
        # Whose columns are named by the caller has one column for the day.
        mapping = self.options.mapping
        ends = () if "date" in mapping and "date_stop" not in mapping else ("date_stop",)
        for name in ("date", *ends, "spend", "impressions"):
            column = self.columns[name]
            if column not in self.seen:
                cure = f"request the field {column} as well, or say which column it is: --column {name}=Name"
                self._refuse("missing_column", f"has no {column} in any row", cure)
        if not self.seen.intersection(self.columns[name] for name in IDS):
            what = "has no campaign_id, adset_id or ad_id: these are totals of the account"
            self._refuse("missing_column", what, "request level=ad (or adset, campaign) with its ids")

    def _conclude_clicks(self, table: Table) -> None:
        options, wanted, link = self.options, self._click_column, CLICKS[Clicks.LINK]
        if self.met["all_clicks"] and self.met["only_link_clicks"]:
            what = f"has {CLICKS[Clicks.ALL]} in some rows and only {link} in others: two kinds of clicks"
            self._refuse("mixed_clicks", what, "request clicks for all rows, or pass --clicks link")
        if self.met["all_clicks"]:
            table.click_kind = "link" if options.clicks is Clicks.LINK else "all"
        elif self.met["only_link_clicks"]:
            table.click_kind = "link"
        elif wanted not in self.seen and link not in self.seen:
            if self.met["delivered"] and "clicks" not in options.assume_zero:
                cure = f"request the field {wanted} as well, or pass --assume-zero clicks"
                self._refuse("missing_column", f"has no {wanted} in any row", cure)
            table.notes.append("no row has clicks: taken as 0")
        if table.click_kind == "link":
            table.notes.append("clicks are link clicks (inline_link_clicks)")

    def _conclude_leads(self, table: Table) -> None:
        leads, options, elsewhere = self.leads, self.options, self.result_leads
        absent = f"has no action {', '.join(leads.absent)} in any row"
        if missing := [name for name in options.lead_columns if name not in self.seen]:
            what = f"has no column {', '.join(missing)}, named as that of the leads"
            self._refuse("missing_column", what, f"it has {', '.join(sorted(self.seen))[:300]}")
        if options.lead_columns or self.actions_of is not None or leads.total > 0:
            if leads.absent:
                table.warn("absent_action", absent, "check --lead-action")
            if not leads.total:
                table.warn("no_leads", "has no lead in any row")
        elif "leads" in options.assume_zero:
            table.notes.append("no row has leads: taken as 0, as asked")
        elif leads.absent:
            what = f"{absent}; it has {_list(leads.types)}"
            self._refuse("absent_action", what, "check --lead-action")
        elif elsewhere:
            what = f"counts {sum(elsewhere.values()):g} leads in {_list(elsewhere)} and none in actions"
            cure = "request the field actions with these leads"
            if any(name.startswith("conversions") for name in elsewhere):
                cure += ", or name the conversion that counts with --lead-action"
            self._refuse("leads_elsewhere", what, cure)
        elif leads.passed_over:
            what = f"has actions that look like leads, none of a kind that is counted: {_list(leads.passed_over)}"
            cure = "name what counts as a lead: --lead-action TYPE, or pass --assume-zero leads"
            self._refuse("other_leads", what, cure)
        elif "actions" in self.seen:
            present = f"; actions present: {_list(leads.types)}" if leads.types else ""
            table.warn("no_leads", f"has no lead in any row: leads are 0{present}")
        elif self.met["tells_leads"]:  # else refused row by row: a breakdown under which the API has no leads
            if self.met["clicked"]:
                what = "has clicks but no actions in any row, so that leads are not known"
                cure = (
                    "request the field actions as well, name the columns that count leads with --leads-column, "
                    "or pass --assume-zero leads"
                )
                self._refuse("missing_column", what, cure)
            table.notes.append("no row has actions: leads are taken as 0")


def _list(names: Iterable[str], most: int = 8) -> str:
    some = sorted(names)
    return ", ".join(some[:most]) + (f" and {len(some) - most} more" if len(some) > most else "")


def _any(cells: Any) -> bool:
    """Whether some cell is a number other than 0."""
    zeros = ("0", None, "", 0)
    return cells is not None and any(cell not in zeros and numerals.number(cell) for cell in cells)


def _plain(cells: Column) -> Column:
    """Cells as text and numbers: whatever else there is is shown as it is written, and refused further on."""
    if isinstance(cells, np.ndarray):
        return cells
    return [cell if type(cell) in _SCALARS or isinstance(cell, date) else json.dumps(cell) for cell in cells]


def open_json(
    source: TextSource, options: ImportOptions, *, unwrap: Unwrap | None = None, pages: Pages | None = None
) -> Table:
    """The table behind a JSON document of Insights rows."""
    reader = InsightsReader(source.file, options)

    def batches() -> Iterator[Batch]:
        stream: Iterator[JsonRow] = read_objects(source, pages)
        if unwrap is not None:
            stream = (row for row in map(unwrap, stream) if row is not None)
        ended: Refusal | None = None
        while ended is None:
            chunk: list[JsonRow] = []
            try:
                with _no_collection():
                    chunk.extend(islice(stream, _BATCH))
            except Refusal as refusal:  # what came before it is still good
                ended = refusal
            if chunk:
                lines = np.fromiter((row.line for row in chunk), dtype=np.int64, count=len(chunk))
                nothing = np.zeros(len(chunk), np.bool_)
                yield reader.records(chunk, Batch(lines, {}, partial(_raw, chunk), left_out=nothing))
            elif ended is None:
                return
        raise ended

    return Table(
        str(source.file.path), batches=batches, decimal=options.decimal, date_order=options.date_order,
        **reader.meaning(),
    )  # fmt: skip


def _raw(rows: Sequence[JsonRow], index: int) -> str:
    row = rows[index]
    return row.text if row.value is None else json.dumps(row.value, ensure_ascii=False)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Spare the garbage collector thousands of small objects, all of them needed."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def open_flat(
    sheet: Sheet, options: ImportOptions, *, actions_of: Mapping[str, float] | None = None
) -> Table:
    """The table behind a sheet whose columns are fields of the API."""
    reader = InsightsReader(sheet.file, options, actions_of)
    # Some warehouses write every column name in capitals.
    names = {name.strip().casefold(): position for position, name in enumerate(sheet.names)}
    read = {
        name: names[known] for name in sorted(reader.wanted) if (known := name.strip().casefold()) in names
    }
    numbers = ("spend", "impressions", "clicks")
    sheet.check_decimal({name: read[name] for name in numbers if name in read}, options)

    def batches() -> Iterator[Batch]:
        for batch in sheet.read(read):
            reader.seen.update(read)
            yield reader.batch(batch.size, batch)

    return sheet.table(options, {}, batches=batches, **reader.meaning())
