"""Histories of a registry under concurrent callers, and whether some order of them explains what each was told.

The checker is that of Wing and Gong (1993): an operation may take effect at one moment between its call and its return;
one whose caller was killed may have taken effect at any later moment, or never.
"""

import json
import os
import random
import time
from dataclasses import dataclass
from pathlib import Path

from adsml_common.database import Database
from adsml_common.domain.errors import NotFound
from adsml_common.registry.artifacts import ArtifactStore
from adsml_common.registry.registry import ModelRegistry

from support.models import NAME, candidate


@dataclass(frozen=True)
class Operation:
    """One call: ``register`` gives a version, ``activate`` takes one, ``active`` gives one (0: none)."""

    kind: str
    argument: int
    called: int
    returned: int | None
    result: int | None


def act(url: str, folder: str, caller: str, count: int) -> None:
    """Make random calls and note when each begins and what came of it, until done or killed."""
    root, chance = Path(folder), random.Random(caller)  # noqa: S311 - to be the same each time
    registry = ModelRegistry(
        Database.open(url), ArtifactStore(str(root / "artifacts"), cache_dir=root / caller)
    )
    log = os.open(root / f"{caller}.jsonl", os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def note(**facts: object) -> None:
        os.write(log, json.dumps({**facts, "at": time.monotonic_ns()}).encode() + b"\n")

    known = [1]
    for _ in range(count):
        kind, argument = chance.choice(("register", "activate", "active")), chance.choice(known)
        note(kind=kind, argument=argument)
        result = 0
        match kind:
            case "register":
                result = registry.register(candidate(argument)).version
                known.append(result)
            case "activate":
                result = registry.activate(NAME, argument, actor=caller, reason="history").version
            case "active":
                try:
                    result = registry.require_active(NAME).version
                except NotFound:
                    result = 0
        note(result=result)


def recorded(folder: Path) -> list[Operation]:
    """What all callers noted; of one who was killed the last call has no return."""
    operations: list[Operation] = []
    for path in sorted(folder.glob("*.jsonl")):
        lines = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
        for place in range(0, len(lines), 2):
            call, end = lines[place], lines[place + 1] if place + 1 < len(lines) else None
            operations.append(
                Operation(
                    call["kind"],
                    call["argument"],
                    call["at"],
                    None if end is None else end["at"],
                    None if end is None else end["result"],
                )
            )
    return operations


def linearizable(operations: list[Operation], *, last: int = 0, active: int = 0) -> bool:
    """Whether the operations can have happened one after the other, beginning with these versions."""
    seen: set[tuple[frozenset[int], int, int]] = set()

    def explained(left: frozenset[int], last: int, active: int) -> bool:
        if not any(operations[place].returned is not None for place in left):
            return True
        if (left, last, active) in seen:
            return False
        seen.add((left, last, active))
        ends = [operations[place].returned for place in left]
        first_end = min(end for end in ends if end is not None)
        for place in left:
            one = operations[place]
            # What was called after another returned did not come before it.
            if one.called > first_end:
                continue
            after = _effect(one, last, active)
            if after is not None and explained(left - {place}, *after):
                return True
        return False

    return explained(frozenset(range(len(operations))), last, active)


def _effect(one: Operation, last: int, active: int) -> tuple[int, int] | None:
    """Last and active version after an operation; None where it can't have been told what it was."""
    match one.kind:
        case "register":
            return (last + 1, active) if one.result in (None, last + 1) else None
        case "activate":
            return (last, one.argument) if one.argument <= last else None
    return (last, active) if one.result in (None, active) else None
