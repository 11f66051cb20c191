"""`adsml import`: exports into the store."""

from pathlib import Path
from types import TracebackType
from typing import Annotated

import typer
from adsml_common.cli.context import open_database, settings
from adsml_common.cli.output import JsonOption, console, errors, print_json, table
from adsml_common.domain.errors import InvalidInput
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

from adsml_ingest import profiles
from adsml_ingest.options import Clicks, DateOrder, Format, ImportOptions, OnError
from adsml_ingest.summary import ImportSummary


def import_(
    paths: Annotated[list[Path], typer.Argument(help="Exports, or directories of exports.")],
    config_id: Annotated[int, typer.Option(min=1, help="The ad account that they belong to.")],
    format_: Annotated[
        Format | None, typer.Option("--format", help="Kind of export; found out if not given.")
    ] = None,
    on_error: Annotated[
        OnError, typer.Option(help="If a row is bad: load nothing (stop), or all others (skip).")
    ] = OnError.STOP,
    rejects: Annotated[
        Path, typer.Option(help="Directory for the files of rejected rows, with --on-error skip.")
    ] = Path(),
    decimal: Annotated[
        str | None, typer.Option(help="Decimal sign of the numbers, '.' or ','; allows thousands separators.")
    ] = None,
    date_order: Annotated[
        DateOrder | None, typer.Option(help="Order of dates that are not written YYYY-MM-DD.")
    ] = None,
    encoding: Annotated[
        str | None, typer.Option(help="Of text files, e.g. cp1252; UTF-8 or by byte-order mark if not given.")
    ] = None,
    account_id: Annotated[
        str | None, typer.Option(help="Load only rows of this ad account, as the platform names it.")
    ] = None,
    clicks: Annotated[
        Clicks | None, typer.Option(help="Which clicks to load; all where the export has them.")
    ] = None,
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
    leads_column: Annotated[
        list[str] | None, typer.Option(help="Column that counts leads; those of several are added up.")
    ] = None,
    lead_action: Annotated[
        list[str] | None, typer.Option(help="Action type that counts as a lead; may be repeated.")
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
        columns=_pairs(column or []),
        profile=profiles.load(profile) if profile else None,
        allow_negative=allow_negative,
        older_file=older_file,
        new_currency=new_currency,
        lead_actions=tuple(lead_action or ()),
        assume_zero=frozenset(assume_zero or ()),
        sum_levels=sums,
        rejects=rejects if on_error is OnError.SKIP else None,
    )
    with Bars(shown=not json_output) as bars:
        if check_only:
            summary = import_files(paths, config_id=config_id, store=None, options=options, progress=bars)
        else:
            with open_database(settings(), create=True) as database:
                store = MetricStore(database)
                summary = import_files(
                    paths, config_id=config_id, store=store, options=options, progress=bars
                )
    if json_output:
        print_json(summary.to_dict())
    else:
        show(summary, config_id=config_id, loaded=not check_only)


def _pairs(columns: list[str]) -> tuple[tuple[str, str], ...]:
    """``field=Header`` options as pairs.

    Raises
    ------
    InvalidInput
        Naming one that is no pair.
    """
    pairs: list[tuple[str, str]] = []
    for text in columns:
        field, sign, header = text.partition("=")
        if not sign or not header.strip():
            raise InvalidInput.at("column", f"'{text}' is no pair; expected field=Header, such as spend=Cost")
        pairs.append((field.strip(), header.strip()))
    return tuple(pairs)


class Bars:
    """One bar for the bytes read, one for the rows loaded, on standard error."""

    def __init__(self, *, shown: bool) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            console=errors,
            transient=True,
            disable=not shown,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> "Bars":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def reading(self, done: int, total: int) -> None:
        """Bytes read, of how many."""
        self._show("reading", done, total)

    def loading(self, done: int, total: int) -> None:
        """Daily rows handed to the database, of how many."""
        self._show("loading", done, total)

    def _show(self, name: str, done: int, total: int) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=total)
        self._progress.update(self._tasks[name], completed=done)


def show(summary: ImportSummary, *, config_id: int, loaded: bool) -> None:
    """The summary for people."""
    table(
        "Read",
        ["file", "kind", "rows", "rejected", "left out"],
        [
            [
                file.path,
                " ".join(filter(None, [file.format or "?", file.table])),
                f"{file.rows:,}",
                f"{file.rejected:,}",
                _left_out(file.totals, file.other_accounts),
            ]
            for file in summary.files
        ],
        right=["rows", "rejected"],
    )
    days = f"{summary.first_day} to {summary.last_day}" if summary.first_day else "no daily rows"
    table(
        f"Account {config_id}, {days}",
        ["level", "entities", "daily rows", "of them sums"],
        [
            [level, f"{count:,}", f"{summary.rows[level]:,}", f"{summary.built[level]:,}"]
            for level, count in summary.entity_counts.items()
        ],
        right=["entities", "daily rows", "of them sums"],
    )
    for note in (*summary.notes, *_collapsed(summary)):
        console.print(f"[dim]note:[/] {escape(note)}", soft_wrap=True, highlight=False)
    for file in summary.files:
        for note in file.notes:
            console.print(f"[dim]{escape(file.path)}:[/] {escape(note)}", soft_wrap=True, highlight=False)
    for kind, said in (("warning", summary.warnings), ("rejected", summary.problems)):
        for text in said:
            console.print(f"[yellow]{kind}:[/] {escape(text)}", soft_wrap=True, highlight=False)
    for path in summary.reject_files:
        console.print(f"rejected rows are in {escape(str(path))}", soft_wrap=True, highlight=False)
    if loaded:
        counts, entities = summary.loaded, summary.entities
        console.print(
            f"loaded {counts.changed:,} daily rows ({counts.inserted:,} new, {counts.updated:,} changed), "
            f"{counts.unchanged:,} were there already; {entities.inserted:,} new entities; "
            f"{summary.seconds:.1f} s",
            soft_wrap=True,
            highlight=False,
        )
    else:
        console.print(f"checked, nothing loaded; {summary.seconds:.1f} s", highlight=False)


def _left_out(totals: int, other_accounts: int) -> str:
    told = [(totals, "totals"), (other_accounts, "of other accounts")]
    return ", ".join(f"{number:,} {what}" for number, what in told if number)


def _collapsed(summary: ImportSummary) -> list[str]:
    told = [
        (summary.duplicates, "rows said the same as another one"),
        (summary.superseded, "rows were fetched again later: the later ones count"),
        (summary.summed, "rows of a breakdown were summed"),
        (summary.conflicts, "rows contradicted another one"),
        (summary.untold, "daily rows whose leads no file tells: those stored stay, else 0"),
    ]
    return [f"{number:,} {what}" for number, what in told if number]
