"""`adsml migrate`: the database's schema."""

import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from adsml_common.cli.context import settings
from adsml_common.cli.exits import Exit
from adsml_common.cli.output import JsonOption, console, print_json
from adsml_common.domain.errors import InvalidInput, Unavailable

if TYPE_CHECKING:
    from adsml_common.database import Database, SchemaState

_POLL_SECONDS = 2.0


def migrate(
    check: Annotated[
        bool,
        typer.Option("--check", help="Change nothing; exit status 4 unless this version can work with it."),
    ] = False,
    wait_seconds: Annotated[
        float, typer.Option(min=0.0, help="With --check: wait so long for somebody else to migrate.")
    ] = 0.0,
    json_output: JsonOption = False,
) -> None:
    """Bring the schema to what this version needs. Safe to run twice, and by two at once.

    Example: adsml migrate --check
    """
    from adsml_common.database import Database  # noqa: PLC0415

    if wait_seconds and not check:
        raise InvalidInput.at("--wait-seconds", "goes with --check")
    with closing(Database.open(settings().database_url)) as database:
        before = _state(database, wait_seconds)
        if not check:
            database.migrate()
        after = database.schema_state()
    if json_output:
        print_json(
            {"before": before.current, "after": after.current, "needed": after.head, "usable": after.usable}
        )
    elif before.current != after.current:
        console.print(f"the schema went from {before.current or 'empty'} to {after.current}")
    else:
        console.print(f"the schema is {after.status} ({after.current or 'empty'}; needed: {after.head})")
    if not after.usable:
        sys.exit(Exit.PRECONDITION)


def _state(database: "Database", wait_seconds: float) -> "SchemaState":
    until = time.monotonic() + wait_seconds
    while True:
        try:
            state = database.schema_state()
            if state.usable or time.monotonic() >= until:
                return state
        except Unavailable:
            # At a first deployment the database comes up beside us.
            if time.monotonic() >= until:
                raise
        time.sleep(_POLL_SECONDS)
