"""``adsml settings``: every variable of every process, from the settings classes themselves."""

import inspect
import re
from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Annotated

import typer

from adsml_common.cli.output import JsonOption, print_json, table
from adsml_common.domain.errors import NotFound

if TYPE_CHECKING:
    from adsml_common.settings import Settings

GROUP = "adsml.settings"
_ENTRY = re.compile(r"^(\w+(?:, \w+)*)\n((?:    .*\n?|\n)+)", re.MULTILINE)
_PAGE = """# Settings

Written by `make reference` from the settings classes; `adsml settings` prints the same. All are environment variables.
*common* is read by every process, *serving* by every service with its own name in place of `SERVICE`
(`ADSML_CLASSIFIER_PORT`), the others by one service and its commands.
"""


def installed() -> "dict[str, type[Settings]]":
    """Settings classes by name: what every process has, what every server has, then each service's own."""
    found = {one.name: one.load() for one in entry_points(group=GROUP)}
    return dict(sorted(found.items(), key=lambda item: (len(item[1].__mro__), item[0])))


def described(cls: "type[Settings]") -> Iterator[dict[str, str]]:
    """The variables that a class adds to its bases'; their meaning is its docstring's."""
    from adsml_common.settings import variables  # noqa: PLC0415 - slow to load, and --help needs it not

    section = (inspect.getdoc(cls) or "").partition("Attributes\n----------\n")[2]
    meanings = {
        name: " ".join(text.split()).replace("``", "`")
        for names, text in _ENTRY.findall(section + "\n")
        for name in names.split(", ")
    }
    names = variables(cls)
    for name in cls.__annotations__:
        if (field := cls.model_fields.get(name)) is None:
            continue
        variable = names[name]
        if cls.model_config.get("env_prefix") == "ADSML_" and field.validation_alias is None:
            variable = variable.replace("ADSML_", "ADSML_SERVICE_")
        default = "of the machine" if field.default_factory is not None else field.default
        shown = "" if default in (None, "", {}) else str(default)
        meaning = meanings.get(name, "").removeprefix(f"`{variable}`: ")
        yield {"variable": variable, "default": shown, "meaning": meaning}


def settings(
    name: Annotated[
        str,
        typer.Argument(
            help="common; serving (of every service: ADSML_SERVICE_ stands for ADSML_CLASSIFIER_ ...); "
            "or a service. None: all."
        ),
    ] = "",
    *,
    as_json: JsonOption = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="As docs/settings.md.")] = False,
) -> None:
    """Show every setting: its environment variable, its default and what it does.

    Example: adsml settings classifier
    """
    found = installed()
    if name and name not in found:
        raise NotFound(f"no settings {name!r} here; there are {', '.join(found)}")
    chosen = {key: list(described(cls)) for key, cls in found.items() if name in ("", key)}
    if as_json:
        print_json(chosen)
        return
    if as_markdown:
        typer.echo(_PAGE.rstrip())
        for key, rows in chosen.items():
            typer.echo(f"\n## {key}\n\n| variable | default | |\n|---|---|---|")
            for row in rows:
                default = f"`{row['default']}`" if row["default"] else ""
                typer.echo(f"| `{row['variable']}` | {default} | {row['meaning'].replace('|', '&#124;')} |")
        return
    for key, rows in chosen.items():
        table(
            key,
            ("variable", "default", "meaning"),
            [tuple(row.values()) for row in rows],
            whole=("variable",),
        )
