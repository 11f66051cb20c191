"""Whatever happens to a file, an import ends with its rows or with a reason: never with a traceback."""

import csv
import io
import json
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from adsml_common.domain.errors import FailedPrecondition, InvalidInput
from adsml_ingest import ImportOptions, OnError, import_files
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.exports import insights_rows, make_account, tidy_csv

ACCOUNT = make_account()
HEADER = "entity_type,entity_id,parent_id,date,spend,impressions,clicks,leads\n"


def _tidy(path: Path) -> None:
    tidy_csv(path, ACCOUNT.summed(), ACCOUNT.parent)


def _parquet(path: Path) -> None:
    ACCOUNT.summed().to_parquet(path)


def _page(path: Path) -> None:
    path.write_text(json.dumps({"data": insights_rows(ACCOUNT), "paging": {}}, indent=1), encoding="utf-8")


def _airbyte(path: Path) -> None:
    rows = [{"_airbyte_emitted_at": 1, "_airbyte_data": row} for row in insights_rows(ACCOUNT)]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")


def _flat(path: Path) -> None:
    rows = insights_rows(ACCOUNT)
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="")
    writer.writeheader()
    writer.writerows({**row, "actions": json.dumps(row.get("actions", []))} for row in rows)
    path.write_text(text.getvalue(), encoding="utf-8")


def _report(path: Path) -> None:
    lines = ["Nom de la campagne;Jour;Montant dépensé (EUR);Impressions;Couverture;Clics (tous);Prospects"]
    lines += [f'"Été ""{i}""";{i + 1:02d}/03/2026;"1 2{i:02d},56";45{i:03d};--;9;' for i in range(20)]
    path.write_text("\n".join(lines), encoding="utf-16")


JUNK = st.sampled_from(
    [b"\x00", b"\xff", b'"', b",", b";", b"\n", b"\r", b"{", b"}", b"[", b"]", b"\\", b"-", b"9" * 5_000,
     b"1e999", b"null", b"true", b"NaN", b'{"data": []}', b"[" * 3_000, "é".encode(), b"PAR1"]
)  # fmt: skip


@pytest.mark.parametrize("write", [_tidy, _parquet, _page, _airbyte, _flat, _report])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(data=st.data(), on_error=st.sampled_from(OnError))
def test_damaged_files(
    write: Callable[[Path], None], data: st.DataObject, on_error: OnError, tmp_path: Path
) -> None:
    path = tmp_path / "damaged"
    write(path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, max(len(content) - 1, 0)))
        # Something in the middle, or all that follows.
        end = min(len(content), start + data.draw(st.sampled_from([0, 1, 3, 400, len(content)])))
        content[start:end] = data.draw(st.just(b"") | JUNK | st.binary(max_size=4))
    path.write_bytes(content)
    options = ImportOptions(on_error=on_error, rejects=tmp_path / "rejects")
    try:
        summary = import_files([path], config_id=1, store=None, options=options)
    except InvalidInput:
        return
    assert on_error is OnError.SKIP or summary.rows_rejected == 0


def test_rejects_that_can_not_be_written_are_said(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(HEADER + "ad,1,,2026-03-01,1,9,2,1\nad,1,,2026-03-02,x,9,2,1\n")
    options = ImportOptions(on_error=OnError.SKIP, rejects=path / "inside a file")
    with pytest.raises(FailedPrecondition, match="pass --rejects another directory"):
        import_files([path], config_id=1, store=None, options=options)


def test_a_temporary_directory_without_room_is_said(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(HEADER + "ad,1,,2026-03-01,1,9,2,1\n")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, limits[1]))
    try:
        with pytest.raises(FailedPrecondition, match="set TMPDIR to a directory with room"):
            import_files([path], config_id=1, store=None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_file_without_permission_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="can't be read"):
        import_files([tmp_path / ("y" * 300)], config_id=1, store=None)
