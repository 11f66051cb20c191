"""Every command tells by an example how it is used, and fits a terminal."""

import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import Any

import pytest
import typer
import typer.main
from adsml_common.cli.commands import GROUP, summary
from adsml_common.cli.main import build

WIDTH = 80


def leaves(command: Any, *path: str) -> Iterator[tuple[str, Any]]:
    """Commands that do something, by their words."""
    if hasattr(command, "list_commands"):
        for name in command.list_commands(None):
            yield from leaves(command.get_command(None, name), *path, name)
    else:
        yield " ".join(path), command


COMMANDS = dict(leaves(typer.main.get_command(build())))


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_help_has_an_example_of_this_command(name: str) -> None:
    text = COMMANDS[name].help or ""
    assert f"Example: adsml {name}" in " ".join(text.split())


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_option_is_explained(name: str) -> None:
    silent = [
        one.name
        for one in COMMANDS[name].params
        if one.name not in ("help",) and not getattr(one, "help", None)
    ]
    assert silent == []


@pytest.mark.parametrize("group", [GROUP, f"{GROUP}.train", f"{GROUP}.evaluate"])
def test_what_the_list_says_of_a_command_is_what_its_own_help_says(group: str) -> None:
    """The list reads the source and imports nothing."""
    for entry in entry_points(group=group):
        target = entry.load()
        if isinstance(target, typer.Typer):
            said = typer.main.get_group(target).help
        else:
            said = COMMANDS[f"{group.removeprefix(GROUP).removeprefix('.')} {entry.name}".strip()].help
        assert summary(entry) == said, entry.name


def test_help_fits_a_terminal() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "adsml_common.cli", "report", "--help"],
        capture_output=True, text=True, check=True, env={"COLUMNS": str(WIDTH), "TERM": "dumb"},
    )  # fmt: skip
    assert max(map(len, ran.stdout.splitlines())) <= WIDTH
