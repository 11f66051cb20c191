"""`adsml report`: one self-contained page about an account, or about each with a list of them."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from adsml_common.cli import family
from adsml_common.cli.context import open_database, open_registry, settings
from adsml_common.cli.exits import Exit
from adsml_common.cli.output import JsonOption, console, errors, print_json
from adsml_common.domain.errors import AdsmlError, InvalidInput
from adsml_common.version import version

if TYPE_CHECKING:
    from adsml_report.content import Entry, Section
    from adsml_report.context import ReportContext
    from adsml_report.files import Folder
    from adsml_report.page import IndexRow


def report_(
    config_id: Annotated[int | None, typer.Option(min=1, help="The ad account.", show_default=False)] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Every account, with an index.html that lists them.")
    ] = False,
    output: Annotated[
        str,
        typer.Option(
            help="File to write; with --all a folder. A path, or a URL such as s3://bucket/reports."
        ),
    ] = "report.html",
    days: Annotated[int, typer.Option(min=14, max=730, help="Days of history to show.")] = 90,
    most: Annotated[
        int,
        typer.Option(
            min=1, max=1000, help="Most entities with pictures in a section: those that spent most."
        ),
    ] = 20,
    json_output: JsonOption = False,
) -> None:
    """Write one HTML page about an account: what to do today, and the pictures and figures behind it.

    The page needs no network and no server: mail it, print it, keep it.

    Example: adsml report --config-id 1 --output report.html
    """
    from adsml_report.files import Folder  # noqa: PLC0415

    if every == (config_id is not None):
        raise InvalidInput.at("--config-id", "is missing, or stands beside --all; name one account, or all")
    if not every and not output.lower().endswith((".html", ".htm")):
        raise InvalidInput.at("--output", f"is {output!r}; expected a file that ends in .html")
    url, _, name = (output, "", "") if every else output.rpartition("/")
    folder = Folder.open(url, make=every)
    config = settings()
    with open_database(config) as database, errors.status("reading", spinner="line") as status:
        registry = open_registry(config, database)

        def written(account: int, file: str) -> "tuple[dict[str, Any], IndexRow]":
            from adsml_report.context import open_context  # noqa: PLC0415

            context = open_context(
                database, registry, config_id=account, days=days, most=most,
                progress=lambda what: status.update(f"account {account}: {what}"),
            )  # fmt: skip
            return _write(context, folder, file)

        if config_id is not None:
            facts, row = written(config_id, name)
            heads = [f"{one.head} {one.text}" for one in row.headlines]
            failed = 0
        else:
            facts, heads, failed = _write_all(database, folder, written)
    if json_output:
        print_json(facts)
    else:
        for head in heads:
            console.print(f"- {head}", highlight=False, markup=False)
        console.print(
            f"wrote {facts['output']}; open it in a browser", soft_wrap=True, highlight=False, markup=False
        )
    if failed:
        raise typer.Exit(Exit.FAILED)


def _write(context: "ReportContext", folder: "Folder", file: str) -> "tuple[dict[str, Any], IndexRow]":
    from adsml_report.account import data_quality, data_state, overview  # noqa: PLC0415
    from adsml_report.content import Entry  # noqa: PLC0415
    from adsml_report.models import models  # noqa: PLC0415
    from adsml_report.page import IndexRow, ranked, render  # noqa: PLC0415

    sections, absent = _of_families(context)
    sections.append(overview(context))
    state = data_state(context)
    behind = [
        Entry("Models in use", "", models(context)), Entry("Data quality", "", data_quality(context)), *absent
    ]  # fmt: skip
    page = render(context, sections, state, behind, made=datetime.now(UTC), version=version())
    facts = {
        "output": folder.write(file, page),
        "bytes": len(page.encode()),
        "last_day": context.last_day,
        "entities": len(context.tree),
        "sections": [section.key for section in sorted(sections, key=lambda one: one.rank)],
        "findings": [
            {"head": one.head, "text": one.text, "tone": one.tone, "weekly": one.weekly}
            for one in ranked(sections)
        ],
    }
    row = IndexRow(
        context.config_id, context.name, context.last_day, state.old, tuple(ranked(sections)), file
    )
    return facts, row


def _of_families(context: "ReportContext") -> "tuple[list[Section], list[Entry]]":
    """The families' sections; one that is not installed or fails says so and takes no other one down."""
    from adsml_report.content import Entry, Note  # noqa: PLC0415

    installed = family.installed()
    sections: list[Section] = []
    absent: list[Entry] = []
    for name in family.names():
        here = installed.get(name)
        if here is None or here.report is None:
            why = f"The {name} family is not installed where this report was made (adsml-{name})."
        else:
            context.progress(name)
            try:
                sections += here.report(context)
                continue
            except AdsmlError as error:
                why = f"The {name} family could not answer: {error.message}"
        absent.append(Entry(f"Not answered: {name}", why, (Note(why, caution=True),)))
    return sections, absent


def _write_all(
    database: Any, folder: "Folder", written: "Callable[[int, str], tuple[dict[str, Any], IndexRow]]"
) -> tuple[dict[str, Any], list[str], int]:
    """A page for each account and the list of them; one that fails is named there and stops no other one."""
    from adsml_common.store.accounts import AccountStore  # noqa: PLC0415

    from adsml_report.page import IndexRow, render_index  # noqa: PLC0415

    rows, pages = [], []
    for one in AccountStore(database).list():
        try:
            facts, row = written(one.config_id, f"{one.config_id}.html")
            pages.append(facts)
        except AdsmlError as error:
            name = one.account.account_name or f"Ad account {one.config_id}"
            row = IndexRow(one.config_id, name, one.last_date, error=error.message)
        rows.append(row)
    rows.sort(key=lambda row: -sum(one.weekly or 0.0 for one in row.headlines))
    index = folder.write("index.html", render_index(rows, made=datetime.now(UTC), version=version()))
    failed = [row for row in rows if row.error]
    heads = [f"{len(pages)} of {len(rows)} accounts written"] + [f"{row.name}: {row.error}" for row in failed]
    facts = {
        "output": index,
        "accounts": pages,
        "failed": [{"config_id": row.config_id, "reason": row.error} for row in failed],
    }
    return facts, heads, len(failed)
