"""The binary COPY format against PostgreSQL itself."""

import numpy as np
import psycopg
import pytest
from adsml_common.store import pgcopy

KINDS = {"k": "bigint", "d": "date", "x": "double"}
COLUMNS = {
    "k": np.array([1, -(2**62), 2**62]),
    "d": np.array(["1969-12-31", "2000-01-01", "2199-02-28"], dtype="datetime64[D]"),
    "x": np.array([0.1, -np.inf, 1e308]),
}


def test_postgresql_reads_what_we_write(postgresql: str) -> None:
    with psycopg.connect(postgresql) as connection:
        connection.execute("CREATE TEMP TABLE t (k bigint, d date, x double precision)")
        with connection.cursor().copy("COPY t FROM STDIN (FORMAT BINARY)") as copy:
            copy.write(pgcopy.encode(COLUMNS, KINDS))
        rows = connection.execute("SELECT k, d::text, x FROM t").fetchall()
    assert rows == list(zip(COLUMNS["k"].tolist(), COLUMNS["d"].astype(str), COLUMNS["x"], strict=True))


def test_we_read_what_postgresql_writes(postgresql: str) -> None:
    query = """COPY (SELECT * FROM (VALUES
        (1::bigint, DATE '1969-12-31', 0.1::float8),
        (-4611686018427387904, DATE '2000-01-01', '-Infinity'),
        (4611686018427387904, DATE '2199-02-28', 1e308)) AS t) TO STDOUT (FORMAT BINARY)"""
    with psycopg.connect(postgresql) as connection, connection.cursor().copy(query) as copy:
        found = pgcopy.decode(copy, KINDS)
    for name, values in COLUMNS.items():
        np.testing.assert_array_equal(found[name], values)
        assert found[name].dtype.isnative


def test_there_and_back_without_rows() -> None:
    empty = {name: values[:0] for name, values in COLUMNS.items()}
    found = pgcopy.decode([pgcopy.encode(empty, KINDS)], KINDS)
    assert [len(values) for values in found.values()] == [0, 0, 0]


@pytest.mark.parametrize("cut", [slice(0, 5), slice(1, None), slice(0, -3), slice(0, -2)])
def test_a_stream_of_something_else_is_refused(cut: slice) -> None:
    stream = pgcopy.encode(COLUMNS, KINDS)[cut]
    with pytest.raises(ValueError, match="not a COPY stream"):
        pgcopy.decode([stream], KINDS)


def test_a_null_is_refused(postgresql: str) -> None:
    query = "COPY (SELECT 1::bigint, NULL::date, 0.5::float8) TO STDOUT (FORMAT BINARY)"
    with psycopg.connect(postgresql) as connection, connection.cursor().copy(query) as copy:
        chunks = [bytes(chunk) for chunk in copy]
    with pytest.raises(ValueError, match="without NULL"):
        pgcopy.decode(chunks, KINDS)
