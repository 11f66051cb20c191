"""`adsml changes`: the account's change log, which impact and forecasting read."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from adsml_common.cli.context import open_database, settings
from adsml_common.cli.output import JsonOption, console, print_json, table
from rich.markup import escape

from adsml_ingest.options import DateOrder, ImportOptions

app = typer.Typer(no_args_is_help=True, help="The change log: import, list.")


@app.command("import")
def import_changes(
    path: Annotated[
        Path, typer.Argument(help="CSV or JSON as in docs/import.md, or Meta's activities or history.")
    ],
    config_id: Annotated[int, typer.Option(min=1, help="The ad account.")],
    decimal: Annotated[
        str | None, typer.Option(help="Decimal sign of amounts, '.' or ','; found out if not given.")
    ] = None,
    date_order: Annotated[
        DateOrder | None, typer.Option(help="Order of dates that are not written YYYY-MM-DD.")
    ] = None,
    encoding: Annotated[
        str | None, typer.Option(help="Of text files, e.g. cp1252; UTF-8 or by byte-order mark if not given.")
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Load a change log: all of it, or nothing. Loading it again changes nothing.

    Example: adsml changes import changes.csv --config-id 1
    """
    from adsml_common.store.accounts import AccountStore  # noqa: PLC0415
    from adsml_common.store.changes import ChangeStore  # noqa: PLC0415
    from adsml_common.store.entities import EntityStore  # noqa: PLC0415

    from adsml_ingest.change_log import KnownAccount, read_changes  # noqa: PLC0415

    options = ImportOptions(decimal=decimal, date_order=date_order, encoding=encoding)
    with open_database(settings(), create=True) as database:
        bound = AccountStore(database).get(config_id)
        account = KnownAccount(
            config_id, EntityStore(database).list(config_id), bound.currency_code, bound.time_zone
        )
        log = read_changes(path, account=account, options=options)
        counts = ChangeStore(database).upsert(log.events)
    if json_output:
        print_json({"read": len(log.events), "changes": counts, "warnings": log.warnings})
        return
    done = (
        f"Read {len(log.events):,} changes of account {config_id}: {counts.inserted:,} new, {counts.updated:,} "
        f"changed, {counts.unchanged:,} were there already."
    )
    console.print(f"[bold]{done}[/]", highlight=False)
    for warning in log.warnings:
        console.print(f"[yellow]Warning:[/] {escape(warning)}", highlight=False)


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
