"""Child tables: the actions of another table's rows, as dlt parts nested lists from them."""

from collections import defaultdict

import numpy as np

from adsml_ingest import leads, numerals
from adsml_ingest.detect import Export
from adsml_ingest.options import ImportOptions
from adsml_ingest.sheet import Sheet
from adsml_ingest.source import ignore


def read_children(export: Export, options: ImportOptions) -> dict[str, float]:
    """Leads by the key of their row; raises `Refusal` if the table can't be read, or a value is no number."""
    sheet = export.inside
    if not isinstance(sheet, Sheet):
        raise TypeError("a child table is a sheet")
    fields = sheet.positions({name: name for name in ("_dlt_parent_id", "action_type", "value")})
    sums: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    needed = options.lead_actions or leads.USUAL
    for batch in sheet.read(fields, ignore):
        values, blank = numerals.parse(batch.cells["value"], decimal=options.decimal)
        for row, (parent, kind) in enumerate(
            zip(batch.cells["_dlt_parent_id"], batch.cells["action_type"], strict=True)
        ):
            if kind not in needed:
                continue
            if np.isnan(values[row]) and not blank[row]:
                what, cure = f"has {kind} with a value that is no number", "export it again"
                line = int(batch.lines[row])
                raise export.source.refusal("not_a_number", what, cure, line=line)
            sums[str(parent)][kind] += 0.0 if blank[row] else float(values[row])
    only_total = not options.lead_actions
    return {
        parent: kinds[leads.TOTAL] if only_total and leads.TOTAL in kinds else sum(kinds.values())
        for parent, kinds in sums.items()
    }
