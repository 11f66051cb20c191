"""Every command tells by an example how it is used, and fits a terminal."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main
from adsml_common.cli.main import build

WIDTH = 80


def leaves(command: Any, *path: str) -> Iterator[tuple[str, Any]]:
    """Commands that do something, by their words."""
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from leaves(inner, *path, name)
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


def test_help_fits_a_terminal() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "adsml_common.cli", "report", "--help"],
        capture_output=True, text=True, check=True, env={"COLUMNS": str(WIDTH), "TERM": "dumb"},
    )  # fmt: skip
    assert max(map(len, ran.stdout.splitlines())) <= WIDTH
