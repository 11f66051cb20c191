"""Objects and their lines, wherever the blocks of the file happen to end."""

import json
from pathlib import Path
from typing import Any

import pytest
from adsml_ingest import files
from adsml_ingest.files import SourceFile, sniff
from adsml_ingest.jsonstream import read_objects
from adsml_ingest.problems import Refusal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
ROWS = st.lists(
    st.dictionaries(st.sampled_from(["ad_id", "spend", "actions"]), VALUES, min_size=1), max_size=8
)


def _read(path: Path) -> list[Any]:
    return [(row.line, row.value) for row in read_objects(sniff(SourceFile(path, path)))]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None)
@given(
    rows=ROWS,
    block=st.sampled_from([3, 11, 64, 1 << 20]),
    indent=st.sampled_from([None, 1]),
    page=st.booleans(),
)
def test_objects_are_what_was_written(
    rows: list[dict[str, Any]], block: int, indent: int | None, page: bool, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    value: Any = {"paging": {"cursors": {"after": "x"}}, "data": rows, "count": 12} if page else rows
    text = json.dumps(value, indent=indent)
    path = tmp_path / "any.json"
    path.write_text(text, encoding="utf-8")
    monkeypatch.setattr(files, "BLOCK_BYTES", block)
    found = _read(path)
    assert [value for _, value in found] == rows
    lines = text.split("\n")
    for line, value in found:
        opened = "\n".join(lines[line - 1 :])
        if indent is not None:  # every object starts on a line of its own
            assert json.JSONDecoder().raw_decode(opened.lstrip())[0] == value


def test_a_page_longer_than_memory_allows_is_read_row_by_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"ad_id": str(index), "name": "x" * 50} for index in range(2_000)]
    path = tmp_path / "long.json"
    path.write_text(json.dumps({"data": rows}))
    monkeypatch.setattr(files, "BLOCK_BYTES", 256)
    monkeypatch.setattr("adsml_ingest.jsonstream.MAX_OBJECT", 1_000)
    assert [value for _, value in _read(path)] == rows


@pytest.mark.parametrize("block", [4, 1 << 20])
@pytest.mark.parametrize(
    ("text", "line", "rows"),
    [
        ('{"data": [\n{"a": 1},\n{"a": 2', 3, 1),
        ('[{"a": 1},\n', 2, 1),
        ('{"data": [{"a": 1}]', 1, 1),
        ('[{"a": "open', 1, 0),
        ('[{"a": 1}', 1, 1),
    ],
)
def test_a_cut_is_found_after_what_is_whole(
    text: str, line: int, rows: int, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cut.json"
    path.write_text(text)
    monkeypatch.setattr(files, "BLOCK_BYTES", block)
    found = []
    with pytest.raises(Refusal, match=f"line {line}: is cut off in the middle"):
        found.extend(read_objects(sniff(SourceFile(path, path))))
    assert len(found) == rows


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 100_000, '[{"a": 1} {"a": 2}]', '[{"a": tru}]', '{"a": 1}}']
)
def test_what_is_no_json_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(Refusal, match="line 1"):
        list(read_objects(sniff(SourceFile(path, path))))


def test_reading_goes_on_after_a_bad_line(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text('{"a": 1}\n{"a": \n\n17\n{"data": [{"a": 2}, 5]}\n{"a": 3}')
    found = [(row.line, row.value, row.error) for row in read_objects(sniff(SourceFile(path, path)))]
    assert found == [
        (1, {"a": 1}, ""),
        (2, None, "is cut off in the middle"),
        (4, None, "is not an object"),
        (5, {"a": 2}, ""),
        (5, None, "is not an object"),
        (6, {"a": 3}, ""),
    ]
