"""Rows of the Insights API, however they arrive: JSON pages, Airbyte records, flattened tables.

Field names are those of the API's AdsInsights object; Airbyte's ``ads_insights`` streams keep them
(source-facebook-marketing, schemas/ads_insights.json).
"""

import gc
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import numpy as np

from adsml_ingest import leads, numerals
from adsml_ingest.batch import Batch, Fault, Table
from adsml_ingest.jsonstream import JsonRow, read_objects
from adsml_ingest.options import Clicks, Format, ImportOptions
from adsml_ingest.problems import Problem, Refusal
from adsml_ingest.sheet import Cells, Sheet
from adsml_ingest.source import Advance, TextSource, ignore

COLUMNS: Final[Mapping[str, str]] = {
    "campaign_id": "campaign_id",
    "adset_id": "adset_id",
    "ad_id": "ad_id",
    "campaign_name": "campaign_name",
    "adset_name": "adset_name",
    "ad_name": "ad_name",
    "date": "date_start",
    "date_stop": "date_stop",
    "spend": "spend",
    "impressions": "impressions",
    "reach": "reach",
    "account": "account_id",
    "objective": "objective",
    "currency": "account_currency",
}
"""Field of the import to field of the API."""
IDS: Final = ("ad_id", "adset_id", "campaign_id")
CLICKS: Final = {Clicks.ALL: "clicks", Clicks.LINK: "inline_link_clicks"}
STAMPS: Final = ("_airbyte_extracted_at", "_airbyte_emitted_at")
BREAKDOWNS: Final = (
    "ad_format_asset", "age", "app_id", "body_asset", "call_to_action_asset",
    "coarse_conversion_value", "conversion_destination", "country", "description_asset",
    "device_platform", "dma", "fidelity_type", "frequency_value", "gender",
    "hourly_stats_aggregated_by_advertiser_time_zone",
    "hourly_stats_aggregated_by_audience_time_zone", "hsid", "image_asset", "impression_device",
    "landing_destination", "link_url_asset", "mdsa_landing_destination", "media_asset_url",
    "media_creator", "media_destination_url", "media_format", "media_origin_url",
    "media_text_content", "media_type", "mmm", "place_page_id", "platform_position",
    "postback_sequence_index", "product_id", "publisher_platform", "redownload", "region",
    "signal_source_bucket", "skan_campaign_id", "skan_conversion_id", "skan_version", "title_asset",
    "user_persona_id", "user_persona_name", "user_segment_key", "video_asset",
)  # fmt: skip
"""Fields by which the API parts an entity's day into several rows."""
ZERO: Final = frozenset({"spend", "impressions", "clicks", "leads"})
"""The API leaves out what a row has none of."""
_BATCH: Final = 1 << 14
_SAMPLE: Final = 1_000
_SCALARS: Final = (str, int, float, type(None))

Unwrap = Callable[[dict[str, Any]], dict[str, Any] | None]
"""The row within an envelope; None for a message that holds no row; ValueError for a broken envelope."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to take from the rows of a file.

    Attributes
    ----------
    fields
        Field of the import to field of the file.
    breakdowns
        Fields that part an entity's day.
    has_actions
        Whether leads come from ``actions``.
    lead_actions
        Action types that count as leads, in place of the usual ones.
    notes
        What was decided that the caller should know.
    """

    fields: dict[str, str]
    breakdowns: tuple[str, ...]
    has_actions: bool
    lead_actions: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def read(self) -> tuple[str, ...]:
        """Fields of the file that are needed."""
        more = ("actions",) if self.has_actions else ()
        return tuple(dict.fromkeys((*self.fields.values(), *self.breakdowns, *more)))


def open_json(
    source: TextSource,
    options: ImportOptions,
    *,
    kind: Format = Format.INSIGHTS,
    unwrap: Unwrap | None = None,
) -> Table:
    """The table behind a JSON document of Insights rows.

    Raises
    ------
    Refusal
        If it holds no row, or its rows lack what every row needs.
    """

    def rows(advance: Advance) -> Iterator[JsonRow]:
        objects = read_objects(source, advance)
        return objects if unwrap is None else _unwrapped(objects, unwrap)

    sample = _sample(rows(ignore))
    if not sample:
        cure = "export it again, for days with delivery"
        raise Refusal(Problem(str(source.path), "no_rows", "holds no rows", cure))
    present = {name for row in sample for name, value in row.items() if value is not None}
    plan = make_plan(str(source.path), present, sample, options)

    def batches(advance: Advance) -> Iterator[Batch]:
        stream = rows(advance)
        ended: Refusal | None = None
        while ended is None:
            chunk: list[JsonRow] = []
            try:
                with _no_collection():
                    chunk.extend(islice(stream, _BATCH))
            except Refusal as refusal:  # what came before it is still good
                ended = refusal
            if chunk:
                yield _json_batch(chunk, plan)
            elif ended is None:
                return
        raise ended

    return make_table(str(source.path), kind, plan, options, batches)


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


def _sample(rows: Iterator[JsonRow]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    try:
        found.extend(row.value for row in islice(rows, _SAMPLE) if row.value is not None)
    except Refusal:
        if not found:
            raise
    return found


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


def _json_batch(chunk: Sequence[JsonRow], plan: Plan) -> Batch:
    values = [row.value if row.value is not None else {} for row in chunk]
    cells: Cells = {}
    for name in plan.read:
        column = [value.get(name) for value in values]
        if name != "actions":
            # Whatever is neither text nor number is shown as it is written, and refused further on.
            column = [cell if type(cell) in _SCALARS else json.dumps(cell) for cell in column]
        cells[name] = column
    faults = [
        Fault(index, None, row.text, "bad_json", row.error, "export it again")
        for index, row in enumerate(chunk)
        if row.value is None
    ]

    def raw(index: int) -> str:
        row = chunk[index]
        return row.text if row.value is None else json.dumps(row.value, ensure_ascii=False)

    lines = np.fromiter((row.line for row in chunk), dtype=np.int64, count=len(chunk))
    return finish(Batch(lines, cells, raw, faults), plan)


def open_flat(sheet: Sheet, options: ImportOptions, *, kind: Format = Format.INSIGHTS) -> Table:
    """The table behind a sheet whose columns are fields of the API.

    Raises
    ------
    Refusal
        If a column is missing.
    """
    # Some warehouses write every column name in capitals.
    names = {name.strip().casefold(): position for position, name in enumerate(sheet.names)}
    looked_at = {
        name: names[name] for name in (*COLUMNS.values(), *CLICKS.values(), "actions") if name in names
    }
    columns = sheet.sample(looked_at, _SAMPLE)
    size = len(next(iter(columns.values()), ()))
    sample = [{name: cells[row] for name, cells in columns.items()} for row in range(size)]
    plan = make_plan(str(sheet.path), set(names), sample, options)

    def batches(advance: Advance) -> Iterator[Batch]:
        for batch in sheet.read({name: names[name] for name in plan.read}, advance):
            yield finish(batch, plan)

    return make_table(str(sheet.path), kind, plan, options, batches, sheet=sheet)


def make_plan(
    file: str, present: Collection[str], sample: Sequence[Mapping[str, Any]], options: ImportOptions
) -> Plan:
    """Decide where clicks and leads come from, once for the whole file.

    Parameters
    ----------
    file
        For messages.
    present
        Fields that the file has.
    sample
        Its first rows.
    options
        What the caller wants.

    Raises
    ------
    Refusal
        If a needed field is in no row.
    """
    fields = {field: name for field, name in COLUMNS.items() if name in present}
    notes: list[str] = []
    for field in ("date", "date_stop", "spend", "impressions"):
        if field not in fields:
            what = f"has no {COLUMNS[field]} in any row"
            raise Refusal(
                Problem(file, "missing_column", what, f"request the field {COLUMNS[field]} as well")
            )
    if not any(name in present for name in IDS):
        what = "has no campaign_id, adset_id or ad_id: these are totals of the account"
        raise Refusal(
            Problem(file, "missing_column", what, "request level=ad (or adset, campaign) with its ids")
        )
    wanted = [CLICKS[options.clicks]] if options.clicks else [CLICKS[Clicks.ALL], CLICKS[Clicks.LINK]]
    clicks = next((name for name in wanted if name in present), None)
    delivered = any(numerals.number(row.get("impressions")) for row in sample)
    clicked = any(numerals.number(row.get(name)) for row in sample for name in CLICKS.values())
    if clicks is not None:
        fields["clicks"] = clicks
        if clicks == CLICKS[Clicks.LINK]:
            notes.append("clicks are link clicks (inline_link_clicks)")
    elif "clicks" in options.assume_zero or not delivered:
        notes.append("no row has clicks: taken as 0")
    else:
        cure = f"request the field {wanted[0]} as well, or pass --assume-zero clicks"
        raise Refusal(Problem(file, "missing_column", f"has no {' or '.join(wanted)} in any row", cure))
    has_actions = "actions" in present
    if not has_actions and clicked and "leads" not in options.assume_zero:
        what = "has clicks but no actions in any row, so that leads are not known"
        cure = "request the field actions as well, or pass --assume-zero leads"
        raise Refusal(Problem(file, "missing_column", what, cure))
    if not has_actions:
        notes.append("no row has actions: leads are taken as 0")
    breakdowns = tuple(name for name in BREAKDOWNS if name in present)
    if breakdowns:
        notes.append(
            f"broken down by {', '.join(breakdowns)}: summed over them; reach can't be summed and is left out"
        )
    stamp = next((name for name in STAMPS if name in present), None)
    if stamp is not None:
        fields["stamp"] = stamp
    return Plan(fields, breakdowns, has_actions, options.lead_actions, tuple(notes))


def finish(batch: Batch, plan: Plan) -> Batch:
    """From fields of the file to fields of the import, with leads counted and breakdowns joined."""
    cells: Cells = {field: batch.cells[name] for field, name in plan.fields.items()}
    if plan.has_actions:
        counts: list[float] = []
        for row, actions in enumerate(batch.cells["actions"]):
            try:
                counts.append(leads.count(actions, plan.lead_actions))
            except leads.BadActions as error:
                counts.append(0.0)
                batch.faults.append(Fault(row, "leads", None, "bad_actions", str(error), "export it again"))
        cells["leads"] = np.array(counts, dtype=np.float64)
    if plan.breakdowns:
        parts = [batch.cells[name] for name in plan.breakdowns]
        cells["breakdown"] = ["\x1f".join(map(str, row)) for row in zip(*parts, strict=True)]
    batch.cells = cells
    return batch


def make_table(
    file: str,
    kind: Format,
    plan: Plan,
    options: ImportOptions,
    batches: Callable[[Advance], Iterator[Batch]],
    *,
    sheet: Sheet | None = None,
) -> Table:
    """The table of a plan."""
    labels = {**plan.fields, "leads": "actions"}
    return Table(
        file=file,
        format=kind,
        labels=labels,
        batches=batches,
        blank_is_zero=ZERO,
        decimal=options.decimal,
        date_order=options.date_order,
        breakdowns=plan.breakdowns,
        place=sheet.place if sheet else "line",
        header=sheet.header if sheet else None,
        delimiter=sheet.delimiter if sheet else ",",
        notes=plan.notes,
    )
