"""Records and their lines, wherever the blocks of the file happen to end."""

import csv
import io
from pathlib import Path

import pytest
from adsml_ingest import files, sheet
from adsml_ingest.files import SourceFile, sniff
from adsml_ingest.problems import Refusal
from adsml_ingest.sheet import Header, read_header, read_records
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

CELLS = st.text(st.sampled_from(list("ab1\"',;\n\r\té ")), max_size=6)


def _read(path: Path) -> tuple[Header, list[list[str]], list[int], list[str]]:
    text = sniff(SourceFile(path, path))
    header = read_header(text, ",")
    rows: list[list[str]] = []
    lines: list[int] = []
    raws: list[str] = []
    for records in read_records(text, header):
        rows += records.rows
        lines += records.lines.tolist()
        raws += [records.raw(index) for index in range(len(records.rows))]
    return header, rows, lines, raws


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None)
@given(
    rows=st.lists(st.lists(CELLS, min_size=3, max_size=3), max_size=12),
    block=st.sampled_from([7, 16, 33, 1 << 20]),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_records_are_what_was_written(
    rows: list[list[str]], block: int, end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = io.StringIO(newline="")
    # csv leaves a lone \r unquoted, where readers take it for the end of a line.
    quoting = csv.QUOTE_ALL if any("\r" in cell for row in rows for cell in row) else csv.QUOTE_MINIMAL
    writer = csv.writer(text, lineterminator=end, quoting=quoting)
    writer.writerow(["x", "y", "z"])
    starts = []
    for row in rows:
        # Lines end at \n, \r\n and lone \r alike.
        starts.append(1 + len(list(io.StringIO(text.getvalue(), newline=""))))
        writer.writerow(row)
    path = tmp_path / "any.csv"
    path.write_bytes(text.getvalue().encode())
    monkeypatch.setattr(files, "BLOCK_BYTES", block)
    _, found, lines, raws = _read(path)
    assert found == rows
    assert lines == starts
    assert [next(csv.reader(io.StringIO(raw, newline=""))) for raw in raws] == rows


@pytest.mark.parametrize("block", [5, 1 << 20])
def test_quotes_inside_unquoted_cells_are_meant(
    block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "inches.csv"
    path.write_text('name,size\n12" screen,1\n"a ""quoted"" name",2\n7" tablet,3\n')
    monkeypatch.setattr(files, "BLOCK_BYTES", block)
    _, rows, lines, _ = _read(path)
    assert rows == [['12" screen', "1"], ['a "quoted" name', "2"], ['7" tablet', "3"]]
    assert lines == [2, 3, 4]


@pytest.mark.parametrize("limit", [40, 1 << 20])
def test_a_quote_that_is_never_closed_is_found_where_it_opens(
    limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "open.csv"
    path.write_text('x,y\n1,2\n3,"4\n' + "5,6\n" * 50)
    monkeypatch.setattr(files, "BLOCK_BYTES", 16)
    monkeypatch.setattr(sheet, "MAX_RECORD", limit)
    rows: list[list[str]] = []
    text = sniff(SourceFile(path, path))
    blocks = read_records(text, read_header(text))
    with pytest.raises(Refusal, match="line 3: opens a quote that is never closed"):
        rows.extend(row for records in blocks for row in records.rows)
    assert rows == [["1", "2"]]  # what came before is still there


def test_a_cell_beyond_the_limit_of_the_parser_is_an_open_quote(tmp_path: Path) -> None:
    path = tmp_path / "huge.csv"
    path.write_text('x,y\n1,2\n3,"' + "4" * 200_000 + "\n5,6\n")
    with pytest.raises(Refusal, match="line 3: opens a quote"):
        _read(path)


def test_a_file_without_line_ends_is_no_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "one.csv"
    path.write_text("x,y\n" + "1," * 400)
    monkeypatch.setattr(files, "BLOCK_BYTES", 64)
    monkeypatch.setattr(sheet, "MAX_RECORD", 100)
    with pytest.raises(Refusal, match="line 2: is longer than"):
        _read(path)


@pytest.mark.parametrize(
    ("text", "delimiter", "names"),
    [
        ("a;b;c\n", ";", ("a", "b", "c")),
        ("a\tb\n", "\t", ("a", "b")),
        ("a|b, and c|d\n", "|", ("a", "b, and c", "d")),
        ('"a;1",b\n', ",", ("a;1", "b")),
        ("sep=;\na;b\n", ";", ("a", "b")),
        ("\n\n a , b \n", ",", ("a", "b")),
        ("\ufeffa,b\n", ",", ("a", "b")),
    ],
)
def test_header(text: str, delimiter: str, names: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "header.csv"
    path.write_text(text, encoding="utf-8")
    header = read_header(sniff(SourceFile(path, path)))
    assert (header.delimiter, header.names) == (delimiter, names)
