"""Workbooks as Ads Manager and spreadsheets write them."""

import io
import zipfile
from pathlib import Path
from xml.sax.saxutils import escape

import pytest
from adsml_common.domain.errors import InvalidInput
from adsml_ingest import read_frame
from adsml_ingest.change_log import KnownAccount, read_changes

HEADER = ["Campaign name", "Campaign ID", "Day", "Amount spent (EUR)", "Impressions", "Clicks (all)", "Leads"]
ROW = ["Spring", "120330000000000417", "2026-03-01", 4.5, 100, 5, 1]
Sheets = dict[str, list[list[str | float]]]


def workbook(path: Path, sheets: Sheets) -> Path:
    """The least that is an XLSX file: texts inline, numbers as they are."""
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    names, links, types = "", "", ""
    files = {}
    for number, (name, rows) in enumerate(sheets.items(), start=1):
        cells = "".join(f"<row>{''.join(map(_cell, row))}</row>" for row in rows)
        files[f"xl/worksheets/s{number}.xml"] = (
            f'<worksheet xmlns="{main}"><sheetData>{cells}</sheetData></worksheet>'
        )
        names += f'<sheet name="{name}" sheetId="{number}" r:id="r{number}"/>'
        links += f'<Relationship Id="r{number}" Type="{office}/worksheet" Target="worksheets/s{number}.xml"/>'
        kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"
        types += f'<Override PartName="/xl/worksheets/s{number}.xml" ContentType="{kind}"/>'
    files["xl/workbook.xml"] = (
        f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets>{names}</sheets></workbook>'
    )
    files["xl/_rels/workbook.xml.rels"] = (
        f'<Relationships xmlns="{package}/relationships">{links}</Relationships>'
    )
    files["[Content_Types].xml"] = f'<Types xmlns="{package}/content-types">{types}</Types>'
    root = f'<Relationship Id="r" Type="{office}/officeDocument" Target="xl/workbook.xml"/>'
    files["_rels/.rels"] = f'<Relationships xmlns="{package}/relationships">{root}</Relationships>'
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    path.write_bytes(stream.getvalue())
    return path


def _cell(value: str | float) -> str:
    if isinstance(value, str):
        return f'<c t="inlineStr"><is><t>{escape(value)}</t></is></c>'
    return f"<c><v>{value}</v></c>"


@pytest.mark.parametrize(
    "sheets",
    [
        {"Raw Data Report": [HEADER, ROW]},
        {"Notes": [["for Ann"]], "Raw Data Report": [HEADER, ROW]},
        # A title above the header; and the formatted twin of a raw sheet.
        {"Report": [["Spring, all ads"], ["1 to 31 March"], HEADER, ROW]},
        {"Formatted Report": [["Spring"], HEADER, ROW], "Raw Data Report": [HEADER, ROW]},
        # A pivot, with its sums.
        {"Pivot": [HEADER, ROW, ["", "", "2026-03-02", 1, 10, 1, 0], ["", "", "2026-03-03", 2, 20, 1, 0],
                   ["Spring Total", "", "", 7.5, 130, 7, 1], ["Grand Total", "", "", 7.5, 130, 7, 1]]},
    ],
)  # fmt: skip
def test_the_sheet_that_is_an_export_is_read(sheets: Sheets, tmp_path: Path) -> None:
    rows, _ = read_frame(workbook(tmp_path / "r.xlsx", sheets))
    first = rows[rows["date"] == "2026-03-01"]
    assert first[["entity_id", "spend", "leads"]].to_numpy().tolist() == [["120330000000000417", 4.5, 1.0]]
    assert rows["spend"].sum() == (7.5 if "Pivot" in sheets else 4.5)


@pytest.mark.parametrize(
    ("sheets", "said"),
    [
        ({"A": [HEADER, ROW], "B": [HEADER, ROW]}, "2 sheets with cells, 2 of them exports"),
        # Numbers of a spreadsheet keep fifteen digits.
        (
            {"A": [HEADER, [ROW[0], 1.2033e17, *ROW[2:]]]},
            "row 2: Campaign ID '1.2033e+17' is an id that lost its last",
        ),
    ],
)
def test_what_can_not_be_told_is_refused(sheets: Sheets, said: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=said.replace("+", r"\+")):
        read_frame(workbook(tmp_path / "r.xlsx", sheets))


def test_a_change_log_may_be_a_workbook(tmp_path: Path) -> None:
    header: list[str | float] = [
        "entity_type",
        "entity_id",
        "change_type",
        "date",
        "budget_before",
        "budget_after",
    ]
    rows: Sheets = {"Log": [header, ["adset", "7", "budget_change", "2026-03-01", 50, 80]]}
    [event] = read_changes(workbook(tmp_path / "log.xlsx", rows), account=KnownAccount(1)).events
    assert event.detail == {"budget_before": 50.0, "budget_after": 80.0}
