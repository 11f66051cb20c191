"""`adsml changes`: the account's change log, which impact and forecasting read."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from adsml_common.cli.context import open_database, settings
from adsml_common.cli.output import JsonOption, console, print_json, table

app = typer.Typer(no_args_is_help=True, help="The change log: import, list.")


@app.command("import")
def import_changes(
    path: Annotated[Path, typer.Argument(help="CSV or JSON; its columns are described in docs/import.md.")],
    config_id: Annotated[int, typer.Option(min=1, help="The ad account.")],
    json_output: JsonOption = False,
) -> None:
    """Load a change log: all of it, or nothing. Loading it again changes nothing.

    Example: adsml changes import changes.csv --config-id 1
    """
    from adsml_common.store.changes import ChangeStore  # noqa: PLC0415

    from adsml_ingest.change_log import read_changes  # noqa: PLC0415

    events = read_changes(path, config_id=config_id)
    with open_database(settings(), create=True) as database:
        counts = ChangeStore(database).upsert(events)
    if json_output:
        print_json({"read": len(events), "changes": counts})
        return
    console.print(
        f"read {len(events)} changes: {counts.inserted} new, {counts.updated} changed, "
        f"{counts.unchanged} there already",
        highlight=False,
    )


@app.command("list")
def list_(
    config_id: Annotated[int, typer.Option(min=1, help="The ad account.")],
    since: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="From this day on.", show_default=False)
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """List what was changed, and when.

    Example: adsml changes list --config-id 1
    """
    from adsml_common.store.changes import ChangeStore  # noqa: PLC0415

    with open_database(settings()) as database:
        found = ChangeStore(database).list(config_id, start=since.date() if since else None)
    if json_output:
        print_json({"changes": found})
        return
    table(
        f"Changes of account {config_id}",
        ("day", "level", "id", "change", "detail"),
        [
            (
                one.date, one.entity.entity_type, one.entity.entity_id, one.change_type.replace("_", " "),
                ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in one.detail.items()),
            )
            for one in found
        ],
        whole=("day",),
    )  # fmt: skip
