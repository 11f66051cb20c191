"""Rows of the Insights API, however they arrive: JSON pages, records of connectors, flattened tables.

Field names are those of the API's AdsInsights object; Airbyte's ``ads_insights`` streams keep them
(source-facebook-marketing, schemas/ads_insights.json). What a file holds is known at its end: the API leaves out
of a row whatever there is none of, so nothing is decided from the rows at its start.
"""

import gc
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from itertools import islice
from typing import Any, Final

import numpy as np

from adsml_ingest import breakdowns, numerals, stamps
from adsml_ingest.batch import Batch, Fault, Table
from adsml_ingest.breakdowns import CutLeads, is_null
from adsml_ingest.distinct import Column
from adsml_ingest.jsonstream import JsonRow, Pages, read_objects
from adsml_ingest.leads import BadActions, LeadCounter
from adsml_ingest.numerals import FloatArray
from adsml_ingest.options import Clicks, Format, ImportOptions
from adsml_ingest.problems import Refusal
from adsml_ingest.sheet import Cells, Sheet
from adsml_ingest.source import Advance, SourceFile, TextSource

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
_LOAD: Final = "_dlt_load_id"
"""dlt's own loads are numbered by the time, somebody else's may not be."""
ZERO: Final = frozenset({"spend", "impressions", "clicks", "leads"})
"""The API leaves out what a row has none of."""
_LISTS: Final = ("results", "conversions")
"""Lists beside actions in which leads may stand."""
KEY: Final = "_dlt_id"
"""Key of a row, under which a child table holds its actions."""
_BATCH: Final = 1 << 14
_SCALARS: Final = (str, int, float, type(None))
_BREAKDOWNS: Final = frozenset(breakdowns.FIELDS)

Unwrap = Callable[[dict[str, Any]], dict[str, Any] | None]
"""The row within an envelope; None for a message that holds no row; ValueError for a broken envelope."""


@dataclass(slots=True)
class InsightsReader:
    """Turns rows of the API into rows of the import, and knows at the end what the file held."""

    source: SourceFile
    options: ImportOptions
    actions_of: Mapping[str, float] | None = None  # leads by the rows' own keys, out of a child table
    columns: dict[str, str] = field(default_factory=lambda: dict(COLUMNS))  # field to column
    seen: set[str] = field(default_factory=set)  # columns that some row has
    labels: dict[str, str] = field(default_factory=dict)  # field to what messages call it
    leads: LeadCounter = field(init=False)
    _undated: int = 0
    _daily: int = 0
    _delivered: bool = False
    _tells_leads: bool = False
    _clicked: bool = False
    _all_clicks: bool = False
    _only_link_clicks: bool = False
    _result_leads: float = 0.0
    _result_types: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.leads = LeadCounter(self.options.lead_actions)
        self.columns |= {name: column for name, column in self.options.mapping.items() if name in COLUMNS}

    def json_batch(self, values: Sequence[dict[str, Any]], batch: Batch) -> Batch:
        """The cells of some objects, into their batch."""
        day, spend, impressions = (self.columns[name] for name in ("date", "spend", "impressions"))
        daily = np.fromiter(
            (day in row or spend in row or impressions in row for row in values), np.bool_, len(values)
        )
        if not daily.all():
            batch.left_out = ~daily

        def column(name: str) -> list[Any]:
            return [value.get(name) for value in values]

        present: set[str] = set().union(*values)
        # A field that is null in every row was not asked for, or there is none of it.
        self.seen |= {
            name for name in present - self.seen if any(value.get(name) is not None for value in values)
        }
        return self.batch(present, column, int(daily.sum()), batch)

    def batch(self, present: set[str], column: Callable[[str], Column], daily: int, batch: Batch) -> Batch:
        """The cells of some rows, into their batch; `present` are their columns, `daily` how many are daily rows."""
        self._daily += daily
        self._undated += batch.size - daily
        cells: Cells = {
            name: _plain(column(where)) for name, where in self.columns.items() if where in present
        }
        cells.setdefault("date", [None] * batch.size)
        cells["clicks"] = self._clicks(present, column, batch.size)
        cells["leads"] = self._leads(present, column, batch)
        stamp = next((name for name in STAMPS if name in present), None)
        if stamp is not None:
            told = column(stamp)
            if stamp == _LOAD:
                told = [cell if stamps.moment(cell) is not None else None for cell in told]
            cells["stamp"], self.labels["stamp"] = told, stamp
        parts = sorted(_BREAKDOWNS.intersection(present))
        if parts:
            rows = list(zip(*(_plain(column(name)) for name in parts), strict=True))
            cells["cut"], cells["cell"] = breakdowns.cuts_of(parts, rows)
        self._tells_leads = self._tells_leads or any(
            breakdowns.leads_of_fields(cut) is CutLeads.TOLD for cut in set(cells.get("cut", ("",)))
        )
        self._delivered = self._delivered or _any(cells.get("impressions"))
        batch.cells = cells
        return batch

    def _clicks(self, present: set[str], column: Callable[[str], Column], size: int) -> Column:
        every, link = self._click_column, CLICKS[Clicks.LINK]
        chosen = _plain(column(every)) if every in present else [None] * size
        self._clicked = self._clicked or _any(chosen)
        if every == link or link not in present:
            self._all_clicks = self._all_clicks or any(not is_null(cell) for cell in chosen)
            return chosen
        links = _plain(column(link))
        self._clicked = self._clicked or _any(links)
        chosen = list(chosen)
        for row, cell in enumerate(chosen):
            if not is_null(cell):
                self._all_clicks = True
            elif not is_null(links[row]) and self.options.clicks is None:
                chosen[row] = links[row]
                self._only_link_clicks = self._only_link_clicks or bool(numerals.number(links[row]))
        return chosen

    @property
    def _click_column(self) -> str:
        return self.options.mapping.get("clicks") or CLICKS[self.options.clicks or Clicks.ALL]

    def _leads(self, present: set[str], column: Callable[[str], Column], batch: Batch) -> FloatArray:
        counts = np.zeros(batch.size)
        if self.options.lead_columns:
            for name in present.intersection(self.options.lead_columns):
                cells = _plain(column(name))
                numbers, blank = numerals.parse(cells, decimal=self.options.decimal, blanks=breakdowns.NULLS)
                for row in np.flatnonzero(np.isnan(numbers) & ~blank).tolist():
                    fault = numerals.explain(cells[row], decimal=self.options.decimal)
                    batch.faults.append(Fault(row, name, str(cells[row]), *fault))
                counts += np.nan_to_num(numbers)
            self.leads.total += float(counts.sum())
            return counts
        if self.actions_of is not None and KEY in present:
            counts += [self.actions_of.get(str(key), 0.0) for key in column(KEY)]
            self.leads.total += float(counts.sum())
            return counts
        # Actions that the caller names may stand among the conversions alone.
        sources = ("actions", "conversions") if self.options.lead_actions else ("actions",)
        if present.intersection(sources):
            lists = [column(name) if name in present else [None] * batch.size for name in sources]
            for row, some in enumerate(zip(*lists, strict=True)):
                if all(one is None or one != one for one in some):  # noqa: PLR0124  # NaN of a frame
                    continue
                try:
                    counts[row] = self.leads.count(*some)
                except BadActions as error:
                    cure = "write actions as the API does: a JSON list (json.dumps)"
                    batch.faults.append(Fault(row, "leads", None, "bad_actions", str(error), cure))
        for name in present.intersection(_LISTS):
            for value in column(name):
                self._look_at_results(name, value)
        return counts

    def _look_at_results(self, place: str, results: Any) -> None:
        """Leads that stand in other lists than actions: they are not counted, but not passed over either."""
        if isinstance(results, str) and "lead" in results:
            try:
                results = json.loads(results)
            except (ValueError, RecursionError):
                return
        if not isinstance(results, list):
            return
        for result in results:
            if not isinstance(result, dict):
                continue
            name = str(result.get("indicator") or result.get("action_type") or "")
            if "lead" not in name:
                continue
            inner = result.get("values")
            for value in inner if isinstance(inner, list) else [result]:
                number = numerals.number(value.get("value")) if isinstance(value, dict) else None
                if number:
                    self._result_leads += number
                    self._result_types.add(f"{place}: {name}")

    def conclude(self, table: Table) -> None:
        """Say what the file as a whole lacked; raises `Refusal` if it was a needed field, or leads can't be known."""
        if not self._daily:
            if self._undated:
                what = "holds names and settings, no daily rows"
                raise self.source.refusal(
                    "no_daily_rows", what, "leave it out, and import the insights themselves"
                )
            return
        self._need_fields()
        self._conclude_clicks(table)
        self._conclude_leads(table)
        if self._undated:
            table.notes.append(
                f"{self._undated:,} records without a day and metrics: names and settings, passed over"
            )

    def _need_fields(self) -> None:
        # Whose columns are named by the caller has one column for the day.
        ends = (
            ()
            if "date" in self.options.mapping and "date_stop" not in self.options.mapping
            else ("date_stop",)
        )
        for name in ("date", *ends, "spend", "impressions"):
            column = self.columns[name]
            if column not in self.seen:
                what = f"has no {column} in any row"
                cure = f"request the field {column} as well, or say which column it is: --column {name}=Name"
                raise self.source.refusal("missing_column", what, cure)
        if not self.seen.intersection(self.columns[name] for name in IDS):
            what = "has no campaign_id, adset_id or ad_id: these are totals of the account"
            raise self.source.refusal(
                "missing_column", what, "request level=ad (or adset, campaign) with its ids"
            )

    def _conclude_clicks(self, table: Table) -> None:
        options, wanted = self.options, self._click_column
        if self._all_clicks and self._only_link_clicks:
            what = (
                f"has {CLICKS[Clicks.ALL]} in some rows and only {CLICKS[Clicks.LINK]} in others: "
                "two kinds of clicks"
            )
            raise self.source.refusal(
                "mixed_clicks", what, "request clicks for all rows, or pass --clicks link"
            )
        if self._all_clicks:
            table.click_kind = "link" if options.clicks is Clicks.LINK else "all"
        elif self._only_link_clicks:
            table.click_kind = "link"
        elif wanted not in self.seen and CLICKS[Clicks.LINK] not in self.seen:
            if self._delivered and "clicks" not in options.assume_zero:
                cure = f"request the field {wanted} as well, or pass --assume-zero clicks"
                raise self.source.refusal("missing_column", f"has no {wanted} in any row", cure)
            table.notes.append("no row has clicks: taken as 0")
        if table.click_kind == "link":
            table.notes.append("clicks are link clicks (inline_link_clicks)")

    def _conclude_leads(self, table: Table) -> None:
        leads, options = self.leads, self.options
        missing = [name for name in options.lead_columns if name not in self.seen]
        if missing:
            what = f"has no column {', '.join(missing)}, named as that of the leads"
            raise self.source.refusal("missing_column", what, f"it has {', '.join(sorted(self.seen))[:300]}")
        if options.lead_columns or self.actions_of is not None or leads.total > 0:
            if leads.absent:
                what = f"has no action {', '.join(leads.absent)} in any row"
                table.warn("absent_action", what, "check --lead-action")
            if not leads.total:
                table.warn("no_leads", "has no lead in any row")
            return
        if "leads" in options.assume_zero:
            table.notes.append("no row has leads: taken as 0, as asked")
            return
        if leads.absent:
            what = f"has no action {', '.join(leads.absent)} in any row; it has {_list(leads.types)}"
            raise self.source.refusal("absent_action", what, "check --lead-action")
        if self._result_leads:
            what = f"counts {self._result_leads:g} leads in {_list(self._result_types)} and none in actions"
            cure = "request the field actions with these leads"
            if any(name.startswith("conversions") for name in self._result_types):
                cure += ", or name the conversion that counts with --lead-action"
            raise self.source.refusal("leads_elsewhere", what, cure)
        if leads.passed_over:
            what = f"has actions that look like leads, none of a kind that is counted: {_list(leads.passed_over)}"
            cure = "name what counts as a lead: --lead-action TYPE, or pass --assume-zero leads"
            raise self.source.refusal("other_leads", what, cure)
        if "actions" not in self.seen:
            if not self._tells_leads:
                return  # refused row by row: a breakdown under which the API has no leads
            if self._clicked:
                what = "has clicks but no actions in any row, so that leads are not known"
                cure = (
                    "request the field actions as well, name the columns that count leads with --leads-column, "
                    "or pass --assume-zero leads"
                )
                raise self.source.refusal("missing_column", what, cure)
            table.notes.append("no row has actions: leads are taken as 0")
            return
        present = f"; actions present: {_list(leads.types)}" if leads.types else ""
        table.warn("no_leads", f"has no lead in any row: leads are 0{present}")


def _list(names: Iterable[str], most: int = 8) -> str:
    some = sorted(names)
    return ", ".join(some[:most]) + (f" and {len(some) - most} more" if len(some) > most else "")


def _any(cells: Any) -> bool:
    """Whether some cell is a number other than 0."""
    return cells is not None and any(
        cell not in ("0", None, "", 0) and numerals.number(cell) for cell in cells
    )


def _plain(cells: Column) -> Column:
    """Cells as text and numbers: whatever else there is is shown as it is written, and refused further on."""
    if isinstance(cells, np.ndarray):
        return cells
    return [cell if type(cell) in _SCALARS or isinstance(cell, date) else json.dumps(cell) for cell in cells]


def open_json(
    source: TextSource,
    options: ImportOptions,
    *,
    kind: Format = Format.INSIGHTS,
    unwrap: Unwrap | None = None,
    pages: Pages | None = None,
) -> Table:
    """The table behind a JSON document of Insights rows."""
    reader = InsightsReader(source.file, options)

    def batches(advance: Advance) -> Iterator[Batch]:
        stream: Iterator[JsonRow] = read_objects(source, advance, pages)
        if unwrap is not None:
            stream = _unwrapped(stream, unwrap)
        ended: Refusal | None = None
        while ended is None:
            chunk: list[JsonRow] = []
            try:
                with _no_collection():
                    chunk.extend(islice(stream, _BATCH))
            except Refusal as refusal:  # what came before it is still good
                ended = refusal
            if chunk:
                yield _json_batch(chunk, reader)
            elif ended is None:
                return
        raise ended

    return make_table(kind, reader, batches)


def _unwrapped(objects: Iterator[JsonRow], unwrap: Unwrap) -> Iterator[JsonRow]:
    for row in objects:
        if row.value is None:
            yield row
            continue
        try:
            inner = unwrap(row.value)
        except ValueError as error:
            yield JsonRow(row.line, None, json.dumps(row.value), str(error))
            continue
        if inner is not None:
            yield JsonRow(row.line, inner)


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


def _json_batch(chunk: Sequence[JsonRow], reader: InsightsReader) -> Batch:
    broken = np.fromiter((row.value is None for row in chunk), np.bool_, len(chunk))
    faults = [
        Fault(index, None, chunk[index].text, "bad_json", chunk[index].error, "export it again")
        for index in np.flatnonzero(broken).tolist()
    ]

    def raw(index: int) -> str:
        row = chunk[index]
        return row.text if row.value is None else json.dumps(row.value, ensure_ascii=False)

    lines = np.fromiter((row.line for row in chunk), dtype=np.int64, count=len(chunk))
    # A broken row is a row: it says nothing, and yet is not left out as one that is none.
    values = [row.value if row.value is not None else {COLUMNS["date"]: None} for row in chunk]
    return reader.json_batch(values, Batch(lines, {}, raw, faults))


def open_flat(
    sheet: Sheet,
    options: ImportOptions,
    *,
    kind: Format = Format.INSIGHTS,
    actions_of: Mapping[str, float] | None = None,
) -> Table:
    """The table behind a sheet whose columns are fields of the API."""
    reader = InsightsReader(sheet.file, options, actions_of)
    # Some warehouses write every column name in capitals.
    names = {name.strip().casefold(): position for position, name in enumerate(sheet.names)}
    wanted = {
        *reader.columns.values(), *CLICKS.values(), *STAMPS, *_BREAKDOWNS, *options.lead_columns, "actions", "results",
        "conversions", KEY, *options.mapping.values(),
    }  # fmt: skip
    read = {name: names[known] for name in sorted(wanted) if (known := name.strip().casefold()) in names}
    numbers = ("spend", "impressions", "clicks")
    sheet.check_decimal({name: read[name] for name in numbers if name in read}, options)

    def batches(advance: Advance) -> Iterator[Batch]:
        for batch in sheet.read(read, advance):
            reader.seen.update(read)
            yield reader.batch(set(read), batch.cells.__getitem__, batch.size, batch)

    return make_table(kind, reader, batches, sheet=sheet)


def make_table(
    kind: Format,
    reader: InsightsReader,
    batches: Callable[[Advance], Iterator[Batch]],
    *,
    sheet: Sheet | None = None,
) -> Table:
    """The table that a reader reads."""
    options = reader.options
    reader.labels = {**reader.columns, "leads": "actions", "clicks": "clicks"}
    more: dict[str, Any] = {
        "labels": reader.labels, "batches": batches, "blank_is_zero": ZERO, "blanks": breakdowns.NULLS,
        "leads_of_cut": breakdowns.leads_of_fields,
    }  # fmt: skip
    if sheet is not None:
        table = sheet.table(kind, options, {}, **more)
    else:
        file = str(reader.source.path)
        table = Table(file, kind, decimal=options.decimal, date_order=options.date_order, **more)
    table.conclude = lambda: reader.conclude(table)
    return table
