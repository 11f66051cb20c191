"""`adsml report`: one self-contained page about an account."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from adsml_common.cli import family
from adsml_common.cli.context import open_database, open_registry, settings
from adsml_common.cli.output import JsonOption, console, errors, print_json
from adsml_common.domain.errors import AdsmlError, InvalidInput
from adsml_common.version import version

if TYPE_CHECKING:
    from adsml_report.content import Section
    from adsml_report.context import ReportContext, Reporter

_TITLES = {
    "classifier": "Tiers",
    "forecasting": "Forecasts",
    "anomaly": "Alarms",
    "impact": "Changes",
}


def report_(
    config_id: Annotated[int, typer.Option(min=1, help="The ad account.")],
    output: Annotated[Path, typer.Option(help="File to write.", dir_okay=False)] = Path("report.html"),
    days: Annotated[int, typer.Option(min=14, max=730, help="Days of history to show.")] = 90,
    most: Annotated[
        int,
        typer.Option(
            min=1, max=1000, help="Most entities with pictures in a section: those that spent most."
        ),
    ] = 20,
    json_output: JsonOption = False,
) -> None:
    """Write one HTML page about an account: tiers, forecasts, alarms, changes, models, data quality.

    The page needs no network and no server: mail it, print it, keep it.

    Example: adsml report --config-id 1 --output report.html
    """
    from adsml_report.context import open_context  # noqa: PLC0415
    from adsml_report.page import render  # noqa: PLC0415

    if output.suffix.lower() not in (".html", ".htm"):
        raise InvalidInput.at("--output", f"ends in {output.suffix or 'nothing'!r}; expected .html")
    if not output.absolute().parent.is_dir():
        raise InvalidInput.at("--output", f"there is no folder {output.absolute().parent}; make it first")
    config = settings()
    with open_database(config) as database, errors.status("reading", spinner="line") as status:

        def told(what: str) -> None:
            status.update(what)

        context = open_context(
            database,
            open_registry(config, database),
            config_id=config_id,
            days=days,
            most=most,
            progress=told,
        )
        sections = _sections(context)
        page = render(context, sections, made=datetime.now(UTC), version=version())
    output.write_text(page, encoding="utf-8")
    if json_output:
        print_json(
            {
                "output": output,
                "bytes": len(page.encode()),
                "last_day": context.last_day,
                "entities": len(context.tree),
                "sections": [section.key for section in sections],
            }
        )
        return
    console.print(
        f"wrote {output} ({len(page.encode()) / 1e6:.1f} MB, data up to {context.last_day}); open it in a browser",
        soft_wrap=True,
        highlight=False,
    )


def _sections(context: "ReportContext") -> "list[Section]":
    from adsml_report.account import data_quality, overview  # noqa: PLC0415
    from adsml_report.models import models  # noqa: PLC0415

    installed = family.installed()
    found = [overview(context)]
    for name in family.names():
        here = installed.get(name)
        found += _of_family(name, here.report if here is not None else None, context)
    return [*found, models(context), data_quality(context)]


def _of_family(name: str, reporter: "Reporter | None", context: "ReportContext") -> "list[Section]":
    """A family's sections; one that is not installed or fails says so and takes no other one down."""
    from adsml_report.content import Note, Section  # noqa: PLC0415

    if reporter is None:
        why = f"The {name} family is not installed where this report was made (adsml-{name})."
    else:
        context.progress(name)
        try:
            return list(reporter(context))
        except AdsmlError as error:
            why = f"The {name} family could not answer: {error.message}"
    return [Section(name, _TITLES[name], "", (Note(why, caution=True),))]


def add_to(app: typer.Typer) -> None:
    """Add `adsml report`."""
    app.command("report")(report_)
