"""Puts the command together and maps errors to exit statuses."""

import os
import sys
from typing import Annotated

import typer

from adsml_common.cli import commands
from adsml_common.cli.exits import Exit, report
from adsml_common.cli.output import errors
from adsml_common.domain.errors import AdsmlError
from adsml_common.version import version

train = commands.group(f"{commands.GROUP}.train", help_text="Train models and register them.")
evaluate = commands.group(
    f"{commands.GROUP}.evaluate",
    help_text="Measure a family on a file of yours, without server or database.",
)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"adsml {version()}")
        raise typer.Exit


def _root(
    show_version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and leave."),
    ] = False,
) -> None:
    """Model services for Meta Ads performance data: import, train, serve, ask."""


def build() -> typer.Typer:
    """The whole command, with what every installed distribution adds."""
    app = commands.group(commands.GROUP, help_text=_root.__doc__ or "")
    app.info.name = "adsml"
    app.callback()(_root)
    return app


def script() -> None:
    """Entry point of the `adsml` script."""
    # A process of ours that is started in a folder with a random.py would take it for the library.
    os.environ.setdefault("PYTHONSAFEPATH", "1")
    main()


def main() -> None:
    """Run the command that the process' arguments name."""
    try:
        build()()
    except AdsmlError as error:
        sys.exit(report(error, as_json="--json" in sys.argv))
    except KeyboardInterrupt:
        errors.print("stopped")
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(Exit.OK)
