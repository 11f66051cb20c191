"""`adsml db`: the schema."""

import typer

from adsml_common.cli.context import settings
from adsml_common.cli.output import JsonOption, console, print_json
from adsml_common.database import Database

app = typer.Typer(no_args_is_help=True, help="The database's schema.")


@app.command()
def upgrade(json_output: JsonOption = False) -> None:
    """Bring the schema to what this version needs. Safe to run twice, and by two at once."""
    database = Database.open(settings().database_url)
    try:
        before = database.schema_state()
        database.migrate()
        after = database.schema_state()
    finally:
        database.close()
    if json_output:
        print_json({"before": before.current, "after": after.current})
    elif before.current == after.current:
        console.print(f"the schema is current ({after.current})")
    else:
        console.print(f"the schema went from {before.current or 'empty'} to {after.current}")


@app.command()
def status(json_output: JsonOption = False) -> None:
    """Show the schema's revision and the one this version needs."""
    database = Database.open(settings().database_url)
    try:
        state = database.schema_state()
    finally:
        database.close()
    if json_output:
        print_json({"current": state.current, "head": state.head, "is_current": state.is_current})
    else:
        word = "current" if state.is_current else "not current; run: adsml db upgrade"
        console.print(f"{state.current or 'empty'} (needed: {state.head}): {word}")
