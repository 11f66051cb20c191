"""`adsml import`, `changes`, `sync` and `accounts`."""

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from adsml_common.cli.context import open_database, settings
from adsml_common.cli.exits import Exit
from adsml_common.cli.output import JsonOption, console, errors, print_json, table
from adsml_common.domain.errors import InvalidInput
from rich.markup import escape
from typer import Argument, Option

from adsml_ingest.options import (
    Clicks,
    DateOrder,
    Format,
    ImportOptions,
    ImportSummary,
    OnError,
    load_profile,
)

if TYPE_CHECKING:
    from adsml_ingest.sync.run import AccountResult

changes = typer.Typer(no_args_is_help=True, help="The change log: import, list.")


def import_(
    paths: Annotated[list[Path], Argument(help="Exports, or directories of exports.")],
    config_id: Annotated[int, Option(min=1, help="The ad account that they belong to.")],
    format_: Annotated[Format | None, Option("--format", help="Kind of export, if not found out.")] = None,
    on_error: Annotated[
        OnError, Option(help="If a row is bad: load nothing (stop), or all others (skip).")
    ] = OnError.STOP,
    rejects: Annotated[Path, Option(help="Directory for bad rows, with --on-error skip.")] = Path(),
    decimal: Annotated[str | None, Option(help="Decimal sign, '.' or ','; allows thousands.")] = None,
    date_order: Annotated[DateOrder | None, Option(help="Of dates other than YYYY-MM-DD.")] = None,
    encoding: Annotated[str | None, Option(help="Of text, e.g. cp1252; else found out.")] = None,
    account_id: Annotated[str | None, Option(help="Load only rows of this ad account.")] = None,
    clicks: Annotated[Clicks | None, Option(help="Clicks to load; else all, if there.")] = None,
    column: Annotated[
        list[str] | None,
        Option(help="Which column is which, as field=Header; may be repeated. Fields: see docs/import.md."),
    ] = None,
    profile: Annotated[
        str | None,
        Option(help="Which column is which in a tool's tables: a name (windsor, ...), or a file of yours."),
    ] = None,
    leads_column: Annotated[list[str] | None, Option(help="Counts leads; repeated: added up.")] = None,
    lead_action: Annotated[list[str] | None, Option(help="Action type that is a lead; repeatable.")] = None,
    assume_zero: Annotated[
        list[str] | None,
        Option(help="Take clicks or leads as 0 where the export lacks them; may be repeated."),
    ] = None,
    allow_negative: Annotated[
        bool, Option("--allow-negative", help="Load negative spend: credits that correct earlier days.")
    ] = False,
    older_file: Annotated[
        bool,
        Option("--older-file", help="The file is older than what is stored: only add days that are missing."),
    ] = False,
    new_currency: Annotated[
        bool, Option("--new-currency", help="The account's currency has changed to that of the file.")
    ] = False,
    sums: Annotated[
        bool, Option(help="Build levels that the export lacks as sums of the level below.")
    ] = True,
    check_only: Annotated[bool, Option("--check-only", help="Read and check, but load nothing.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Load exports of ads data into the store: all good rows at once, or nothing.

    Takes Insights API JSON, Ads Manager CSV and XLSX, Airbyte ads_insights, Fivetran basic_ad tables, tidy CSV or
    Parquet, and any table whose columns you name; folders, .gz and .zip too. Importing a file again changes nothing.

    Example: adsml import export.csv --config-id 1
    """
    # pandas is slow to import, and `adsml --help` does not need it.
    from adsml_common.store.metrics import MetricStore  # noqa: PLC0415

    from adsml_ingest.importer import import_files  # noqa: PLC0415

    options = ImportOptions(
        format=format_,
        on_error=on_error,
        decimal=decimal,
        date_order=date_order,
        encoding=encoding,
        account_id=account_id,
        clicks=clicks,
        leads_columns=tuple(leads_column or ()),
        columns=tuple(map(_pair, column or ())),
        profile=load_profile(profile) if profile else None,
        allow_negative=allow_negative,
        older_file=older_file,
        new_currency=new_currency,
        lead_actions=tuple(lead_action or ()),
        assume_zero=frozenset(assume_zero or ()),
        sum_levels=sums,
        rejects=rejects if on_error is OnError.SKIP else None,
    )
    opened = nullcontext() if check_only else open_database(settings(), create=True)
    with errors.status("reading") as status, opened as database:

        def progress(step: str, done: int, total: int) -> None:
            status.update(f"{step}: {done / max(total, 1):.0%}")

        store = MetricStore(database) if database else None
        summary = import_files(paths, config_id=config_id, store=store, options=options, progress=progress)
    if json_output:
        print_json(summary)
    else:
        show(summary, config_id=config_id, is_loaded=not check_only)


def _pair(text: str) -> tuple[str, str]:
    field, _, header = text.partition("=")
    if not header.strip():
        raise InvalidInput.at("column", f"'{text}' is no pair; expected field=Header, such as spend=Cost")
    return field.strip(), header.strip()


def show(summary: ImportSummary, *, config_id: int, is_loaded: bool) -> None:
    """The summary for people: what was done, in a sentence, then the figures and what to know of them."""
    rows, counts = sum(summary.rows.values()), summary.loaded
    days = f" of {summary.first_day} to {summary.last_day}" if summary.first_day else ""
    if is_loaded:
        done = (
            f"Loaded {counts.changed:,} daily rows into account {config_id} ({counts.inserted:,} new, "
            f"{counts.updated:,} changed); {counts.unchanged:,} were there already."
        )
    else:
        done = f"Checked, nothing loaded: {rows:,} daily rows{days} could be loaded into account {config_id}."
    if summary.rows_rejected:
        done += f" {summary.rows_rejected:,} bad rows were left out."
    console.print(f"[bold]{done}[/]", highlight=False)
    if rows:
        table(
            f"Account {config_id}, daily rows{days}",
            ["level", "how many", "daily rows", "of them sums"],
            [
                [
                    level.replace("adset", "ad set") + "s",
                    *map("{:,}".format, (count, summary.rows[level], built)),
                ]
                for (level, count), built in zip(
                    summary.entity_counts.items(), summary.built.values(), strict=True
                )
                if count or summary.rows[level]
            ],
            right=["how many", "daily rows", "of them sums"],
        )
    table(
        "Files",
        ["file", "kind", "rows", "bad", "left out"],
        [
            [
                file.path, " ".join(filter(None, [file.format or "not read", file.table])), f"{file.rows:,}",
                f"{file.rejected:,}",
                ", ".join(_amounts((file.totals, "totals"), (file.other_accounts, "of other accounts"))),
            ]
            for file in summary.files
        ],
        right=["rows", "bad"],
    )  # fmt: skip
    settled = _amounts(
        (summary.duplicates, "rows said the same as another one"),
        (summary.superseded, "rows were fetched again later: the later ones count"),
        (summary.summed, "rows of a breakdown were summed"),
        (summary.conflicts, "rows contradicted another one"),
        (summary.untold, "daily rows whose leads no file tells: those stored stay, else 0"),
    )
    _print("Note", "dim", [*summary.notes, *settled])
    for file in summary.files:
        _print(Path(file.path).name, "dim", file.notes)
    _print("Warning", "yellow", summary.warnings)
    _print("Rejected", "yellow", summary.problems)
    _print("Rejected rows are in", "dim", map(str, summary.reject_files))


def _print(title: str, style: str, texts: Iterable[str]) -> None:
    for text in texts:
        console.print(f"[{style}]{escape(title)}:[/] {escape(text)}", highlight=False)


def _amounts(*amounts: tuple[int, str]) -> list[str]:
    return [f"{number:,} {what}" for number, what in amounts if number]


@changes.command("import")
def import_changes(
    path: Annotated[
        Path, Argument(help="CSV or JSON as in docs/import.md, or Meta's activities or history.")
    ],
    config_id: Annotated[int, Option(min=1, help="The ad account.")],
    decimal: Annotated[
        str | None, Option(help="Decimal sign of amounts, '.' or ','; found out if not given.")
    ] = None,
    date_order: Annotated[
        DateOrder | None, Option(help="Order of dates that are not written YYYY-MM-DD.")
    ] = None,
    encoding: Annotated[
        str | None, Option(help="Of text files, e.g. cp1252; UTF-8 or by byte-order mark if not given.")
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
        bound, entities = AccountStore(database).get(config_id), EntityStore(database).list(config_id)
        account = KnownAccount(config_id, entities, bound.currency_code, bound.time_zone)
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
    _print("Warning", "yellow", log.warnings)


@changes.command("list")
def list_(
    config_id: Annotated[int, Option(min=1, help="The ad account.")],
    since: Annotated[
        datetime | None, Option(formats=["%Y-%m-%d"], help="From this day on.", show_default=False)
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


def sync(
    file: Annotated[
        Path | None,
        Option(
            envvar="ADSML_SYNC_FILE",
            help="TOML file of accounts and their sources; without it the text in ADSML_SYNC_SOURCES.",
        ),
    ] = None,
    config_id: Annotated[list[int] | None, Option(min=1, help="Only this account; may be repeated.")] = None,
    parallel: Annotated[int, Option(min=1, max=64, help="Accounts at once.")] = 4,
    force: Annotated[
        bool, Option("--force", help="Also accounts that were brought up to yesterday already.")
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
        known = [asdict(one) for one in results]
        print_json({"accounts": [{name: one[name] for name in one if name != "warnings"} for one in known]})
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
    counts = ("inserted", "updated", "deleted")
    table(
        "Sync",
        ("account", "state", "data up to", "new", "changed", "deleted", "source"),
        [
            (
                one.config_id, "failed" if one.error else "done before" if one.skipped else "synced", one.through,
                *(f"{getattr(one.loaded, name):,}" if one.loaded else "" for name in counts),
                one.source,
            )
            for one in results
        ],
        right=("account", "new", "changed", "deleted"),
        whole=("state", "data up to"),
    )  # fmt: skip
    for one in results:
        _print(f"Account {one.config_id}", "yellow", (*one.notes, *one.warnings))
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
                    f"{one.first_date} to {one.last_date}" if one.first_date else "none",
                    "failed" if one.sync_error else f"{one.sync_finished_at:%Y-%m-%d %H:%M}" if one.sync_finished_at
                    else "never",
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
        _print(f"Account {one.config_id}", "dim", (f"{text}." for text, applies in said.items() if applies))


def _accounts(number: int) -> str:
    return f"{number:,} account" + ("" if number == 1 else "s")
