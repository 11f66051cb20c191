"""Log lines that name the call they belong to."""

import json
import logging
import sys
import time
from contextvars import ContextVar
from typing import Final, Literal

from adsml_common.serving.context import CallContext

current_call: Final[ContextVar[CallContext | None]] = ContextVar("current_call", default=None)
"""The call that this thread or task answers; set by the harness."""

_OWN: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class CallFilter(logging.Filter):
    """Puts ``request_id`` and ``trace_id`` of the current call on every record."""

    def filter(self, record: logging.LogRecord) -> bool:
        call = current_call.get()
        record.request_id = "" if call is None else call.request_id
        record.trace_id = "" if call is None else call.trace_id
        return True


def printable(text: str) -> str:
    """The text with line ends, control characters and marks that turn the direction of writing written out."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


class TextFormatter(logging.Formatter):
    """One line for people; only a traceback has more."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's
        record.message = printable(record.message)
        return super().formatMessage(record)


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time, level, logger, message, request_id, trace_id, extras, traceback."""

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, object] = {
            "time": f"{at}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": printable(record.getMessage()),
        }
        line |= {name: value for name, value in record.__dict__.items() if name not in _OWN and value != ""}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def configure(*, form: Literal["text", "json"], level: str) -> None:
    """Send the process' log to standard error, in one of two forms."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(CallFilter())
    if form == "json":
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(TextFormatter("%(asctime)s %(levelname)-7s %(name)s %(request_id)s %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # Tells of each plugin that it has, at every look at the schema.
    logging.getLogger("alembic.runtime.plugins").setLevel(logging.WARNING)
