"""Exit statuses of the command, and how an error becomes one."""

import json
import sys
from enum import IntEnum

from rich.markup import escape

from adsml_common.cli.output import errors
from adsml_common.domain.errors import AdsmlError, FailedPrecondition, InvalidInput, NotFound


class Exit(IntEnum):
    """Exit statuses, documented in docs/commands.md."""

    OK = 0
    FAILED = 1
    """A retry may mend it: a database that was down, an entity that could not be trained."""
    USAGE = 2
    """A wrong option or a wrong setting."""
    NOT_FOUND = 3
    PRECONDITION = 4
    BAD_DATA = 42
    """The data or the request must change first: not worth a retry."""


def status_of(error: AdsmlError) -> Exit:
    """The exit status for an error."""
    from adsml_common.settings import SettingsError  # noqa: PLC0415 - a quarter of a second

    match error:
        case SettingsError():
            return Exit.USAGE
        case InvalidInput():
            return Exit.BAD_DATA
        case NotFound():
            return Exit.NOT_FOUND
        case FailedPrecondition():
            return Exit.PRECONDITION
        case _:
            return Exit.FAILED


def report(error: AdsmlError, *, as_json: bool) -> Exit:
    """Say what was wrong on standard error and return the exit status."""
    status = status_of(error)
    if as_json:
        body: dict[str, object] = {
            "reason": error.reason,
            "message": error.message,
            "metadata": error.metadata,
        }
        if isinstance(error, InvalidInput):
            body["violations"] = [{"path": v.path, "description": v.description} for v in error.violations]
        sys.stderr.write(json.dumps({"error": body}, ensure_ascii=False) + "\n")
    elif isinstance(error, InvalidInput) and len(error.violations) > 1:
        errors.print(f"[bold red]error:[/] {len(error.violations)} things are wrong")
        for violation in error.violations:
            place = f"{violation.path}: " if violation.path else ""
            errors.print(f"  {escape(place)}{escape(violation.description)}", soft_wrap=True, highlight=False)
    else:
        errors.print(f"[bold red]error:[/] {escape(error.message)}", soft_wrap=True, highlight=False)
    return status
