"""Options that mean the same in every command: one spelling, one default, one help text."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Annotated, Any, Final

import typer
from google.protobuf.message import Message

from adsml_common.domain.entities import EntityType
from adsml_common.domain.metrics import Metric
from adsml_common.serving import contract_rules

DEFAULT_ENTITY_TYPE: Final = EntityType.ADSET
"""What ``--entity-type`` is where it is not given."""

ConfigIdOption = Annotated[int, typer.Option("--config-id", min=1, help="The ad account.")]
EntityTypeOption = Annotated[EntityType, typer.Option("--entity-type", help="Level of the entities.")]
EntityIdsOption = Annotated[
    list[str] | None,
    typer.Option("--entity-id", help="Only these; may be repeated.  [default: all]", show_default=False),
]
MetricOption = Annotated[Metric, typer.Option("--metric", help="The metric.")]
MetricsOption = Annotated[
    list[Metric] | None,
    typer.Option("--metric", help="Only these; may be repeated.  [default: all]", show_default=False),
]
AsOfDateOption = Annotated[
    datetime | None,
    typer.Option(
        "--as-of-date",
        formats=["%Y-%m-%d"],
        help="Last day whose data are used.  [default: the last stored]",
        show_default=False,
    ),
]


def day_option(name: str, help_text: str) -> Any:
    """An option that takes a day, ``2026-05-31``; annotate with ``datetime``."""
    return typer.Option(name, formats=["%Y-%m-%d"], help=help_text, show_default=False)


def sign(
    run: Callable[..., Any],
    own: Iterable[inspect.Parameter],
    added: Mapping[str, tuple[Any, Any]],
) -> None:
    """Give a function of any keywords the signature that Typer reads: its own parameters, then those added."""
    kind = inspect.Parameter.KEYWORD_ONLY
    parameters = [one.replace(kind=kind) for one in own]
    parameters += [
        inspect.Parameter(name, kind, default=default, annotation=annotation)
        for name, (annotation, default) in added.items()
    ]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in parameters}


def contract_option(message: type[Message], field: str, *names: str, help_text: str) -> Any:
    """An option for a number, with the limits and the default that the contract states for a field, beside its help.

    Leave the option's own default None and the field unset. Without `names` it is spelled as the field,
    ``--horizon-days``.
    """
    descriptor: Any = message.DESCRIPTOR.fields_by_name[field]
    bounds = contract_rules.number_bounds(contract_rules.rules(descriptor))
    default = contract_rules.default_number(descriptor)
    return typer.Option(
        *(names or (f"--{field.replace('_', '-')}",)),
        # An open lower bound is left to the contract's own check.
        min=None if bounds.above else bounds.low,
        max=bounds.high,
        help=help_text if default is None else f"{help_text}  [default: {default:g}]",
        show_default=False,
    )
