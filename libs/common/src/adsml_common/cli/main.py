"""Puts the command together and maps errors to exit statuses."""

import sys
from typing import Annotated

import typer

from adsml_common.cli import commands, doctor, family, gateway, migrate, models, runs, serve, settings
from adsml_common.cli.exits import Exit, report
from adsml_common.cli.launcher import launcher
from adsml_common.cli.output import errors
from adsml_common.domain.errors import AdsmlError
from adsml_common.version import version


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
    """The whole command, with what every installed family adds."""
    app = typer.Typer(
        name="adsml", no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="rich"
    )
    app.callback()(_root)
    commands.add_installed(app)
    app.command("migrate")(migrate.migrate)
    app.add_typer(models.app, name="models")
    app.add_typer(runs.app, name="runs")
    app.command("serve")(serve.serve)
    app.command("launcher")(launcher)
    app.command("gateway-config")(gateway.gateway_config)
    app.command("doctor")(doctor.doctor)
    app.command("settings")(settings.settings)

    train = typer.Typer(no_args_is_help=True, help="Train models and register them.")
    evaluate = typer.Typer(
        no_args_is_help=True, help="Measure a family on a file of yours, without server or database."
    )
    for one in family.installed().values():
        for name, command in one.train.items():
            train.command(name)(command)
        for name, command in one.evaluate.items():
            evaluate.command(name)(command)
        for name, command in one.commands.items():
            app.command(name)(command)
    app.add_typer(train, name="train")
    app.add_typer(evaluate, name="evaluate")
    return app


def main() -> None:
    """Entry point of the `adsml` script."""
    try:
        build()()
    except AdsmlError as error:
        sys.exit(report(error, as_json="--json" in sys.argv))
    except KeyboardInterrupt:
        errors.print("stopped")
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(Exit.OK)
