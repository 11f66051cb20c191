"""`adsml sync`: accounts from where their data are, into the store."""

from pathlib import Path
from typing import Annotated

import typer
from adsml_common.cli.context import open_database, settings
from adsml_common.cli.exits import Exit
from adsml_common.cli.output import JsonOption, console, errors, print_json, table
from rich.markup import escape


def sync(
    file: Annotated[
        Path | None,
        typer.Option(
            envvar="ADSML_SYNC_FILE",
            help="TOML file of accounts and their sources; without it the text in ADSML_SYNC_SOURCES.",
        ),
    ] = None,
    config_id: Annotated[
        list[int] | None, typer.Option(min=1, help="Only this account; may be repeated.")
    ] = None,
    parallel: Annotated[int, typer.Option(min=1, max=64, help="Accounts at once.")] = 4,
    force: Annotated[
        bool, typer.Option("--force", help="Also accounts that were brought up to yesterday already.")
    ] = False,
    json_output: JsonOption = False,
) -> None:
    """Bring accounts up to date from object stores, databases and the Marketing API: see docs/sync.md.

    Each account's look-back window is replaced in one transaction. Exit 0 only if yesterday is there for all.

    Example: adsml sync --file sync.toml
    """
    from adsml_ingest.sync.config import load_sources  # noqa: PLC0415
    from adsml_ingest.sync.run import Syncer  # noqa: PLC0415

    accounts = [one for one in load_sources(file) if not config_id or one.config_id in config_id]
    with open_database(settings(), create=True) as database:
        results = sorted(
            Syncer(database, {}, force=force).run(accounts, parallel=parallel), key=lambda one: one.config_id
        )
    if json_output:
        print_json(
            {
                "accounts": [
                    {
                        "config_id": one.config_id, "source": one.source, "through": one.through, "fresh": one.fresh,
                        "error": one.error or None, "skipped": one.skipped, "notes": list(one.notes),
                        "loaded": one.summary.loaded if one.summary else None,
                    }
                    for one in results
                ]
            }
        )  # fmt: skip
    else:
        table(
            "Sync",
            ("config", "source", "through", "new", "changed", "deleted", "state"),
            [
                (
                    str(one.config_id), one.source, one.through,
                    *((str(n) for n in (loaded.inserted, loaded.updated, loaded.deleted))
                      if (loaded := one.summary.loaded if one.summary else None) else ("", "", "")),
                    "failed" if one.error else "done before" if one.skipped else "ok",
                )
                for one in results
            ],
            right=("config", "new", "changed", "deleted"),
        )  # fmt: skip
        for one in results:
            warnings = one.summary.warnings if one.summary else ()
            for text in (*one.notes, *warnings):
                console.print(f"[yellow]{one.config_id}:[/] {escape(text)}", soft_wrap=True, highlight=False)
            if one.error:
                errors.print(
                    f"[bold red]{one.config_id}:[/] {escape(one.error)}", soft_wrap=True, highlight=False
                )
    if not results or any(one.error or not one.fresh for one in results):
        raise typer.Exit(Exit.FAILED)
