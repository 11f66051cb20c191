"""Commands as entry points: whoever installs a distribution finds its commands in `adsml`.

An entry point of ``adsml.commands`` (``.train``, ``.evaluate``) names a function with Typer's annotations, or a
`typer.Typer`. Only the command that is called is imported; for a list of them the source is read.
"""

import ast
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup

from adsml_common.domain.errors import FailedPrecondition

GROUP = "adsml.commands"


def group(entry_group: str, help_text: str) -> typer.Typer:
    """A group of the commands that an entry-point group has."""
    lazy = type("Commands", (_EntryPointGroup,), {"entry_group": entry_group})
    return typer.Typer(
        cls=lazy,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        help=help_text,
    )


class _EntryPointGroup(TyperGroup):
    entry_group: str
    _listing = False

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted({*self.commands, *_entries(self.entry_group)})

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        entry = _entries(self.entry_group).get(cmd_name)
        if entry is None:
            return super().get_command(ctx, cmd_name)
        if self._listing:
            return TyperCommand(cmd_name, help=summary(entry))
        try:
            return _command(cmd_name, entry.load())
        except ImportError as error:
            raise FailedPrecondition(f"{cmd_name} can't be loaded: {error}") from error

    def format_help(self, ctx: Any, formatter: Any) -> None:
        with self._importing_nothing():
            super().format_help(ctx, formatter)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        with self._importing_nothing():
            return super().shell_complete(ctx, incomplete)

    @contextmanager
    def _importing_nothing(self) -> Iterator[None]:
        self._listing = True
        try:
            yield
        finally:
            self._listing = False


@cache
def _entries(entry_group: str) -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=entry_group)}


def _command(name: str, target: Any) -> Any:
    if isinstance(target, typer.Typer):
        group_of_commands = typer.main.get_group(target)
        group_of_commands.name = name
        return group_of_commands
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
    app.command(name)(target)
    return typer.main.get_command(app)


def summary(entry: EntryPoint) -> str:
    """The help of a command: its docstring, or a Typer's ``help``, without importing the module."""
    package = find_spec(entry.module)
    if package is None or package.origin is None:
        return ""
    return next(_texts(ast.parse(Path(package.origin).read_text()), entry.attr), "")


def _texts(tree: ast.Module, name: str) -> Iterator[str]:
    for node in tree.body:
        match node:
            case ast.FunctionDef(name=found) if found == name:
                yield ast.get_docstring(node) or ""
            case ast.Assign(targets=[ast.Name(id=found)], value=ast.Call(keywords=keywords)) if found == name:
                texts = [one.value for one in keywords if one.arg in ("help", "help_text")]
                yield from (str(text.value) for text in texts if isinstance(text, ast.Constant))
