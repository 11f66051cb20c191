"""What a service brings beside its commands: how it is served, and what its models and its part of a report are."""

from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Family:
    """A family as commands know it. Modules that define one import nothing heavy at the top.

    Attributes
    ----------
    name
        ``"classifier"``, ``"forecasting"``, ``"anomaly"`` or ``"impact"``.
    serve
        Runs the service until it has drained; returns the process' exit status.
    model_prefixes
        First words of its models' names, ``("prophet", "ensemble")``; none: its own name.
    check_model
        Parses a model's bundle as the service would, raising what the service would raise.
    report
        Gives the family's sections of ``adsml report``.
    """

    name: str
    serve: Callable[[], int]
    model_prefixes: tuple[str, ...] = ()
    check_model: "Callable[[ModelVersion, Bundle], object] | None" = None
    report: Callable[..., Any] | None = None

    def __post_init__(self) -> None:
        if not self.model_prefixes:
            object.__setattr__(self, "model_prefixes", (self.name,))


def names() -> tuple[str, ...]:
    """Every family that the contracts know, in their order."""
    from adsml.common.v1 import answer_pb2  # noqa: PLC0415

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


def by_prefix() -> dict[str, Family]:
    """The installed families by the first words of their models' names."""
    return {prefix: one for one in installed().values() for prefix in one.model_prefixes}


def family(name: str) -> Family:
    """One installed family; `NotFound` says which distribution to install."""
    entries = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name not in entries:
        here = ", ".join(sorted(entries)) or "none"
        raise NotFound(f"no family {name!r} in this environment (installed: {here}); install adsml-{name}")
    loaded: Family = entries[name].load()
    return loaded
