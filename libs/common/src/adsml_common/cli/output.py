"""What a command shows: tables for people, one JSON object for machines."""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import date, datetime
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

JsonOption = Annotated[
    bool, typer.Option("--json", help="One JSON object on standard output instead of tables.")
]
"""Every command takes it under this one name."""

console = Console()
"""Standard output, for people."""

errors = Console(stderr=True)
"""Standard error: progress, warnings, errors."""


def plain(value: Any) -> Any:  # the JSON boundary takes and gives anything
    """The value as JSON knows it: dataclasses and messages as objects, dates as ISO 8601, NaN and infinities null."""
    if hasattr(value, "DESCRIPTOR"):
        from google.protobuf import json_format  # noqa: PLC0415 - only of those that have messages

        return json_format.MessageToDict(value, preserving_proto_field_name=True)
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(item) for key, item in value.items()}
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, str | bool | int) or value is None:
        return value
    if isinstance(value, date | datetime):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # numpy scalars and arrays
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Sequence | set | frozenset):
        return [plain(item) for item in value]
    raise TypeError(f"{type(value).__name__} has no JSON form")


def print_json(value: Any) -> None:
    """One JSON object on standard output."""
    sys.stdout.write(json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    right: Sequence[str] = (),
    whole: Sequence[str] = (),
) -> None:
    """A table for people; columns named in `right` are aligned to the right, those in `whole` never broken."""
    drawn = Table(title=title, title_justify="left", header_style="bold", pad_edge=False)
    for name in columns:
        justify: Literal["right", "left"] = "right" if name in right else "left"
        drawn.add_column(name, justify=justify, overflow="fold", no_wrap=name in whole)
    for row in rows:
        drawn.add_row(*("" if cell is None else str(cell) for cell in row))
    console.print(drawn)
