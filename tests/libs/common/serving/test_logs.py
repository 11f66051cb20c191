"""Log lines that can't be forged by what they tell of."""

import json
import logging

import pytest
from adsml_common.serving.logs import CallFilter, JsonFormatter, TextFormatter

NASTY = "no model a\u2028ERROR all is lost\u202egnihton\nINFO fine\x1b[31m"


@pytest.mark.parametrize("formatter", [TextFormatter("%(levelname)s %(message)s"), JsonFormatter()])
def test_what_a_caller_wrote_is_one_line_and_turns_nothing_round(formatter: logging.Formatter) -> None:
    record = logging.LogRecord("x", logging.INFO, "f", 1, "%s", (NASTY,), None)
    CallFilter().filter(record)
    line = formatter.format(record)
    assert line.isprintable()
    assert "\\u2028" in line
    assert len(line.splitlines()) == 1
    if isinstance(formatter, JsonFormatter):
        assert "gnihton" in json.loads(line)["message"]


def test_a_traceback_keeps_its_lines() -> None:
    try:
        raise ValueError("bad")
    except ValueError:
        import sys

        record = logging.LogRecord("x", logging.ERROR, "f", 1, "failed", (), sys.exc_info())
    assert "Traceback" in TextFormatter("%(message)s").format(record).splitlines()[1]
