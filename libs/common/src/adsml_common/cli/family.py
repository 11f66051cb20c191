"""What a service adds to the `adsml` command."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from adsml_common.cli.output import errors
from adsml_common.domain.errors import NotFound

if TYPE_CHECKING:
    from adsml_common.registry.bundle import Bundle
    from adsml_common.registry.models import ModelVersion

GROUP = "adsml.families"
_PREFIX = "FAMILY_"

Command = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Family:
    """One family's commands. Modules that define one import nothing heavy at the top.

    Attributes
    ----------
    name
        ``"classifier"``, ``"forecasting"``, ``"anomaly"`` or ``"impact"``.
    serve
        Runs the service until it has drained; returns the process' exit status.
    train, evaluate
        ``adsml train NAME`` and ``adsml evaluate NAME``: functions with Typer annotations.
    commands
        ``adsml NAME``, likewise.
    model_prefixes
        First words of its models' names, ``("prophet", "ensemble")``; none: its own name.
    check_model
        Parses a model's bundle as the service would, raising what the service would raise.
    report
        Gives the family's sections of ``adsml report``.
    """

    name: str
    serve: Callable[[], int]
    train: Mapping[str, Command] = field(default_factory=dict)
    evaluate: Mapping[str, Command] = field(default_factory=dict)
    commands: Mapping[str, Command] = field(default_factory=dict)
    model_prefixes: tuple[str, ...] = ()
    check_model: "Callable[[ModelVersion, Bundle], object] | None" = None
    report: Callable[..., Any] | None = None

    def __post_init__(self) -> None:
        if not self.model_prefixes:
            object.__setattr__(self, "model_prefixes", (self.name,))


def names() -> tuple[str, ...]:
    """Every family that the contracts know, in their order."""
    from adsml.common.v1 import answer_pb2  # noqa: PLC0415 - for help, only what is installed counts

    known = sorted(answer_pb2.Family.items(), key=lambda item: item[1])
    return tuple(name.removeprefix(_PREFIX).lower() for name, number in known if number)


def installed() -> dict[str, Family]:
    """The families installed in this environment, by name, in the order of `names`.

    One that can't be imported is reported on standard error and left out: it takes no other command down.
    """
    found: dict[str, Family] = {}
    for entry in entry_points(group=GROUP):
        try:
            found[entry.name] = entry.load()
        except ImportError as error:
            errors.print(
                f"[yellow]family {entry.name} can't be loaded:[/] {escape(str(error))}", soft_wrap=True
            )
    order = names()
    return dict(sorted(found.items(), key=lambda item: (*order, item[0]).index(item[0])))


def family(name: str) -> Family:
    """One installed family.

    Raises
    ------
    NotFound
        If it isn't installed here; says which distribution to install.
    """
    found = installed()
    if name not in found:
        here = ", ".join(found) or "none"
        raise NotFound(f"no family {name!r} in this environment (installed: {here}); install adsml-{name}")
    return found[name]
