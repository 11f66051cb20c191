"""`adsml import`: exports into the store."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from adsml_common.cli.context import open_database, settings
from adsml_common.cli.output import JsonOption, console, errors, print_json, table
from adsml_common.domain.errors import InvalidInput
from rich.markup import escape
from rich.progress import BarColumn, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from adsml_ingest import profiles
from adsml_ingest.options import Clicks, DateOrder, Format, ImportOptions, OnError, Progress
from adsml_ingest.summary import ImportSummary


def import_(
    paths: Annotated[list[Path], typer.Argument(help="Exports, or directories of exports.")],
    config_id: Annotated[int, typer.Option(min=1, help="The ad account that they belong to.")],
    format_: Annotated[
        Format | None, typer.Option("--format", help="Kind of export, if not found out.")
    ] = None,
    on_error: Annotated[
        OnError, typer.Option(help="If a row is bad: load nothing (stop), or all others (skip).")
    ] = OnError.STOP,
    rejects: Annotated[Path, typer.Option(help="Directory for bad rows, with --on-error skip.")] = Path(),
    decimal: Annotated[str | None, typer.Option(help="Decimal sign, '.' or ','; allows thousands.")] = None,
    date_order: Annotated[DateOrder | None, typer.Option(help="Of dates other than YYYY-MM-DD.")] = None,
    encoding: Annotated[str | None, typer.Option(help="Of text, e.g. cp1252; else found out.")] = None,
    account_id: Annotated[str | None, typer.Option(help="Load only rows of this ad account.")] = None,
    clicks: Annotated[Clicks | None, typer.Option(help="Clicks to load; else all, if there.")] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            help="Which column is which, as field=Header; may be repeated. Fields: see docs/import.md."
        ),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(
            help="Which column is which in a tool's tables: a name (windsor, ...), or a file of yours."
        ),
    ] = None,
    leads_column: Annotated[list[str] | None, typer.Option(help="Counts leads; repeated: added up.")] = None,
    lead_action: Annotated[
        list[str] | None, typer.Option(help="Action type that is a lead; repeatable.")
    ] = None,
    assume_zero: Annotated[
        list[str] | None,
        typer.Option(help="Take clicks or leads as 0 where the export lacks them; may be repeated."),
    ] = None,
    allow_negative: Annotated[
        bool, typer.Option("--allow-negative", help="Load negative spend: credits that correct earlier days.")
    ] = False,
    older_file: Annotated[
        bool,
        typer.Option(
            "--older-file", help="The file is older than what is stored: only add days that are missing."
        ),
    ] = False,
    new_currency: Annotated[
        bool, typer.Option("--new-currency", help="The account's currency has changed to that of the file.")
    ] = False,
    sums: Annotated[
        bool, typer.Option(help="Build levels that the export lacks as sums of the level below.")
    ] = True,
    check_only: Annotated[
        bool, typer.Option("--check-only", help="Read and check, but load nothing.")
    ] = False,
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
        profile=profiles.load(profile) if profile else None,
        allow_negative=allow_negative,
        older_file=older_file,
        new_currency=new_currency,
        lead_actions=tuple(lead_action or ()),
        assume_zero=frozenset(assume_zero or ()),
        sum_levels=sums,
        rejects=rejects if on_error is OnError.SKIP else None,
    )
    with _bars(shown=not json_output) as progress:
        if check_only:
            summary = import_files(paths, config_id=config_id, store=None, options=options, progress=progress)
        else:
            with open_database(settings(), create=True) as database:
                store = MetricStore(database)
                summary = import_files(
                    paths, config_id=config_id, store=store, options=options, progress=progress
                )
    if json_output:
        print_json(summary.to_dict())
    else:
        show(summary, config_id=config_id, is_loaded=not check_only)


def _pair(text: str) -> tuple[str, str]:
    field, _, header = text.partition("=")
    if not header.strip():
        raise InvalidInput.at("column", f"'{text}' is no pair; expected field=Header, such as spend=Cost")
    return field.strip(), header.strip()


@contextmanager
def _bars(*, shown: bool) -> Iterator[Progress]:
    """One bar for the bytes read, one for the rows loaded, on standard error."""
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    tasks: dict[str, TaskID] = {}
    with Bars(*columns, console=errors, transient=True, disable=not (shown and errors.is_terminal)) as bars:

        def progress(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = bars.add_task(step, total=total)
            bars.update(tasks[step], completed=done)

        yield progress


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
                    f"{level}s".replace("adset", "ad set"),
                    f"{count:,}",
                    f"{summary.rows[level]:,}",
                    f"{summary.built[level]:,}",
                ]
                for level, count in summary.entity_counts.items()
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
                ", ".join(_amounts([(file.totals, "totals"), (file.other_accounts, "of other accounts")])),
            ]
            for file in summary.files
        ],
        right=["rows", "bad"],
    )  # fmt: skip
    settled = (
        (summary.duplicates, "rows said the same as another one"),
        (summary.superseded, "rows were fetched again later: the later ones count"),
        (summary.summed, "rows of a breakdown were summed"),
        (summary.conflicts, "rows contradicted another one"),
        (summary.untold, "daily rows whose leads no file tells: those stored stay, else 0"),
    )
    _print("Note", "dim", [*summary.notes, *_amounts(settled)])
    for file in summary.files:
        _print(Path(file.path).name, "dim", file.notes)
    _print("Warning", "yellow", summary.warnings)
    _print("Rejected", "yellow", summary.problems)
    _print("Rejected rows are in", "dim", map(str, summary.reject_files))


def _print(title: str, style: str, texts: Iterable[str]) -> None:
    for text in texts:
        console.print(f"[{style}]{escape(title)}:[/] {escape(text)}", highlight=False)


def _amounts(amounts: Iterable[tuple[int, str]]) -> list[str]:
    return [f"{number:,} {what}" for number, what in amounts if number]
