"""Records of connectors: messages and raw tables, with an envelope around the row.

Envelopes are those of Airbyte's protocol (``{"type": "RECORD", "record": {"stream": ..., "data": {...}}}``) and of its
destinations (``_airbyte_ab_id, _airbyte_emitted_at, _airbyte_data``; since version 2 ``_airbyte_raw_id,
_airbyte_extracted_at, _airbyte_meta, _airbyte_data``), and of Singer taps (``{"type": "RECORD", "stream": ...,
"record": {...}}``). An append-only sync fetches the last days again and again: of two rows for one entity and day
the one fetched last counts. A stream is no kind of its own: what its rows hold decides.
"""

import json
from collections.abc import Iterator
from typing import Any, Final

from adsml_ingest.batch import Batch, Fault, Table
from adsml_ingest.insights import STAMPS, InsightsReader, make_table, open_flat, open_json
from adsml_ingest.jsonstream import Pages
from adsml_ingest.options import Format, ImportOptions
from adsml_ingest.sheet import Sheet
from adsml_ingest.source import Advance, TextSource

ENVELOPE: Final = "_airbyte_data"
_MESSAGES: Final = ("RECORD", "STATE", "SCHEMA", "LOG", "TRACE", "ACTIVATE_VERSION", "CATALOG", "SPEC")


def is_airbyte(row: dict[str, Any]) -> bool:
    """Whether an object of a JSON document is a connector's."""
    return any(name.startswith("_airbyte_") for name in row) or row.get("type") in _MESSAGES


def unwrap(row: dict[str, Any]) -> dict[str, Any] | None:
    """The row within a message or envelope, with the time at which it was fetched.

    None for a message that is no record. Raises `ValueError` if there is nothing in the envelope.
    """
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
    return open_json(source, options, kind=Format.AIRBYTE, unwrap=unwrap, pages=pages)


def open_airbyte_sheet(sheet: Sheet, options: ImportOptions) -> Table:
    """The table behind a flattened table of Airbyte's, or a raw one with an envelope column."""
    if sheet.position(ENVELOPE) is None or sheet.position("date_start") is not None:
        return open_flat(sheet, options, kind=Format.AIRBYTE)
    columns = sheet.positions({name: name for name in (ENVELOPE, *STAMPS)})
    reader = InsightsReader(sheet.file, options)

    def batches(advance: Advance) -> Iterator[Batch]:
        for batch in sheet.read(columns, advance):
            rows: list[dict[str, Any]] = []
            for index in range(batch.size):
                row: dict[str, Any] = {reader.columns["date"]: None}
                try:
                    row = unwrap({name: cells[index] for name, cells in batch.cells.items()}) or row
                except ValueError as error:
                    batch.faults.append(Fault(index, None, None, "bad_json", str(error), "export it again"))
                rows.append(row)
            yield reader.json_batch(rows, batch)

    return make_table(Format.AIRBYTE, reader, batches, sheet=sheet)
