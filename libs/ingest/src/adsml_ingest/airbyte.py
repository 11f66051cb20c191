"""Airbyte's ``ads_insights`` streams: messages, raw tables with an envelope, flattened tables.

Envelopes are those of Airbyte's protocol (``{"type": "RECORD", "record": {...}}``) and of its destinations
(``_airbyte_ab_id, _airbyte_emitted_at, _airbyte_data``; since version 2 of the destinations
``_airbyte_raw_id, _airbyte_extracted_at, _airbyte_meta, _airbyte_data``). An append-only sync fetches the
last days again and again: of two rows for one entity and day the one fetched last counts.
"""

import json
from collections.abc import Iterator
from typing import Any, Final

from adsml_ingest.batch import Batch, Fault, Table
from adsml_ingest.insights import STAMPS, finish, make_plan, make_table, open_flat, open_json
from adsml_ingest.options import Format, ImportOptions
from adsml_ingest.problems import Problem, Refusal
from adsml_ingest.sheet import Sheet
from adsml_ingest.source import Advance, TextSource

ENVELOPE: Final = "_airbyte_data"
_SAMPLE: Final = 1_000


def is_airbyte(row: dict[str, Any]) -> bool:
    """Whether an object of a JSON document is Airbyte's."""
    return any(name.startswith("_airbyte_") for name in row) or row.get("type") in (
        "RECORD",
        "STATE",
        "LOG",
        "TRACE",
    )


def unwrap(row: dict[str, Any]) -> dict[str, Any] | None:
    """The row within a message or envelope, with the time at which it was fetched.

    Returns
    -------
    The row; None for a message that is no record or belongs to a stream other than ``ads_insights``.

    Raises
    ------
    ValueError
        If there is nothing in the envelope.
    """
    if "type" in row and "record" in row:
        record = row["record"]
        if not isinstance(record, dict) or not isinstance(record.get("data"), dict):
            raise ValueError("is a record message without data")
        if not str(record.get("stream", "ads_insights")).startswith("ads_insights"):
            return None
        return {**record["data"], STAMPS[1]: record.get("emitted_at")}
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


def open_airbyte_json(source: TextSource, options: ImportOptions) -> Table:
    """The table behind a JSON document of Airbyte's."""
    return open_json(source, options, kind=Format.AIRBYTE, unwrap=unwrap)


def open_airbyte_sheet(sheet: Sheet, options: ImportOptions) -> Table:
    """The table behind a flattened table of Airbyte's, or a raw one with an envelope column.

    Raises
    ------
    Refusal
        If a column is missing.
    """
    position = sheet.position(ENVELOPE)
    if position is None or sheet.position("date_start") is not None:
        return open_flat(sheet, options, kind=Format.AIRBYTE)
    columns = {ENVELOPE: position}
    columns |= {name: at for name in STAMPS if (at := sheet.position(name)) is not None}

    def opened(advance: Advance) -> Iterator[tuple[Batch, list[dict[str, Any]]]]:
        for batch in sheet.read(columns, advance):
            rows: list[dict[str, Any]] = []
            for index in range(batch.size):
                row: dict[str, Any] = {}
                try:
                    row = unwrap({name: cells[index] for name, cells in batch.cells.items()}) or {}
                except ValueError as error:
                    batch.faults.append(Fault(index, None, None, "bad_json", str(error), "export it again"))
                rows.append(row)
            yield batch, rows

    sample = next((rows for _, rows in opened(lambda _: None)), [])[:_SAMPLE]
    if not sample:
        raise Refusal(Problem(str(sheet.path), "no_rows", "has a header but no rows", "export it again"))
    plan = make_plan(str(sheet.path), {name for row in sample for name in row}, sample, options)

    def batches(advance: Advance) -> Iterator[Batch]:
        for batch, rows in opened(advance):
            batch.cells = {name: [row.get(name) for row in rows] for name in plan.read}
            yield finish(batch, plan)

    return make_table(str(sheet.path), Format.AIRBYTE, plan, options, batches, sheet=sheet)
