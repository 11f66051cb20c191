"""`adsml migrate`: the database's schema."""

import sys
from typing import Annotated

import typer

from adsml_common.cli.context import settings
from adsml_common.cli.exits import Exit
from adsml_common.cli.output import JsonOption, console, print_json


def migrate(
    check: Annotated[
        bool,
        typer.Option("--check", help="Change nothing; exit status 4 unless this version can work with it."),
    ] = False,
    json_output: JsonOption = False,
) -> None:
    """Bring the schema to what this version needs. Safe to run twice, and by two at once.

    Example: adsml migrate --check
    """
    from adsml_common.database import Database  # noqa: PLC0415

    database = Database.open(settings().database_url)
    try:
        before = database.schema_state()
        if not check:
            database.migrate()
        after = database.schema_state()
    finally:
        database.close()
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
