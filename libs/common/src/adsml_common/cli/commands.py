"""Commands that other distributions bring: whoever installs one, finds them in `adsml`."""

from importlib.metadata import entry_points

import typer
from rich.markup import escape

from adsml_common.cli.output import errors

GROUP = "adsml.commands"


def add_installed(app: typer.Typer) -> None:
    """Let every installed distribution add its commands: entry points of `GROUP` name a function of the app.

    One that can't be imported is reported on standard error and left out.
    """
    for entry in sorted(entry_points(group=GROUP), key=lambda one: one.name):
        try:
            entry.load()(app)
        except ImportError as error:
            errors.print(f"[yellow]{entry.name} can't be loaded:[/] {escape(str(error))}", soft_wrap=True)
