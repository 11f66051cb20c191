"""`adsml sync`: accounts from where their data are, into the store; `adsml accounts`: how fresh they are."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from adsml_common.cli.context import open_database, settings
from adsml_common.cli.exits import Exit
from adsml_common.cli.output import JsonOption, console, errors, print_json, table
from rich.markup import escape

if TYPE_CHECKING:
    from adsml_common.store.accounts import AccountStatus

    from adsml_ingest.sync.run import AccountResult


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
    results: list[AccountResult] = []
    with open_database(settings(), create=True) as database, errors.status("syncing accounts") as status:
        for result in Syncer(database, {}, force=force).run(accounts, parallel=parallel):
            results.append(result)
            status.update(f"syncing: {len(results)} of {len(accounts)} accounts done")
    results.sort(key=lambda one: one.config_id)
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
        _show(results)
    if not results or any(one.error or not one.fresh for one in results):
        raise typer.Exit(Exit.FAILED)


def _show(results: Sequence["AccountResult"]) -> None:
    failed = sum(bool(one.error) for one in results)
    done = f"{len(results) - failed} of {_accounts(len(results))} up to date"
    if not results:
        done = "No account to sync: none of those in the file has that --config-id"
    console.print(f"[bold]{done}{f', {failed} not' if failed else ''}.[/]", highlight=False)
    if not results:
        return
    changed = [one.summary.loaded if one.summary else None for one in results]
    table(
        "Sync",
        ("account", "state", "data up to", "new", "changed", "deleted", "source"),
        [
            (
                one.config_id, "failed" if one.error else "done before" if one.skipped else "synced", one.through,
                *((f"{n:,}" for n in (loaded.inserted, loaded.updated, loaded.deleted)) if loaded else ("", "", "")),
                one.source,
            )
            for one, loaded in zip(results, changed, strict=True)
        ],
        right=("account", "new", "changed", "deleted"),
        whole=("state", "data up to"),
    )  # fmt: skip
    for one in results:
        warnings = one.summary.warnings if one.summary else ()
        for text in (*one.notes, *warnings):
            console.print(f"[yellow]Account {one.config_id}:[/] {escape(text)}", highlight=False)
        if one.error:
            errors.print(f"[bold red]Account {one.config_id}:[/] {escape(one.error)}", highlight=False)


def accounts(json_output: JsonOption = False) -> None:
    """List the accounts: ad account, currency, time zone, kind of ids and clicks, days stored, last sync.

    Example: adsml accounts
    """
    from adsml_common.store.accounts import AccountStore  # noqa: PLC0415

    with open_database(settings()) as database:
        listed = AccountStore(database).list()
    if json_output:
        print_json({"accounts": listed})
        return
    # In zones behind UTC yesterday is the day before.
    due = (datetime.now(UTC) - timedelta(days=1)).date() - timedelta(days=1)
    fresh = [one for one in listed if one.last_date and one.last_date >= due]
    failed = [one for one in listed if one.sync_error]
    sentence = f"{len(fresh)} of {_accounts(len(listed))} have data up to {due} or later"
    if failed:
        sentence += f"; the last sync of {len(failed)} failed"
    if not listed:
        sentence = "No accounts yet: load one with adsml import FILE --config-id 1"
    console.print(f"[bold]{sentence}.[/]", highlight=False)
    if listed:
        table(
            "Accounts",
            ("account", "ad account", "money and days", "daily rows", "last sync"),
            [
                (
                    one.config_id, one.account.account_id or one.account.account_name,
                    ", ".join(filter(None, (one.account.currency_code, one.account.time_zone))),
                    f"{one.first_date} to {one.last_date}" if one.first_date else "none", _last_sync(one),
                )
                for one in listed
            ],
            right=("account",),
        )  # fmt: skip
    for one in listed:
        said = {
            "campaigns, ad sets and ads are known by name only": one.account.id_kind == "name",
            "clicks are link clicks": one.account.click_kind == "link",
            f"the last sync failed: {one.sync_error}": bool(one.sync_error),
        }
        for text in (text for text, applies in said.items() if applies):
            console.print(f"[dim]Account {one.config_id}:[/] {escape(text)}.", highlight=False)


def _accounts(number: int) -> str:
    return f"{number:,} account" + ("" if number == 1 else "s")


def _last_sync(one: "AccountStatus") -> str:
    if one.sync_error:
        return "failed"
    return f"{one.sync_finished_at:%Y-%m-%d %H:%M}" if one.sync_finished_at else "never"
