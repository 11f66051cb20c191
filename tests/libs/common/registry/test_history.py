"""Concurrent writers and kills: some order of all calls explains every answer, and nothing confirmed is lost."""

import signal
from pathlib import Path

import pytest
from adsml_common.registry.models import ModelStatus
from adsml_common.registry.registry import ModelRegistry
from support import histories
from support.forked import finish, start
from support.histories import Operation, linearizable, recorded
from support.models import NAME, activated
from support.serving import eventually


@pytest.mark.parametrize("victim", [None, 5, 11])
def test_every_history_is_that_of_one_registry(
    registry: ModelRegistry, database_url: str, tmp_path: Path, victim: int | None
) -> None:
    activated(registry, 1)
    callers = [start(histories.act, database_url, str(tmp_path), f"caller-{n}-{victim}", 9) for n in range(3)]
    if victim is not None:
        log = tmp_path / f"caller-0-{victim}.jsonl"
        # In the middle of its calls, wherever that is.
        eventually(lambda: log.exists() and log.read_text().count("\n") >= victim)
        callers[0].kill()
    codes = [finish(one) for one in callers]
    assert codes[1:] == [0, 0]
    assert codes[0] in (0, -signal.SIGKILL)
    operations = recorded(tmp_path)
    # What stands at the end is one more look at it.
    end = max(one.returned or one.called for one in operations) + 1
    active = registry.require_active(NAME).version
    assert linearizable([*operations, Operation("active", 0, end, end + 1, active)], last=1, active=1)
    versions = sorted(one.version for one in registry.list(name=NAME))
    assert versions == list(range(1, len(versions) + 1))
    confirmed = {one.result for one in operations if one.kind == "register" and one.result}
    assert confirmed <= set(versions)
    assert sum(one.status is ModelStatus.ACTIVE for one in registry.list(name=NAME)) == 1
    assert registry.verify().ok


@pytest.mark.parametrize(
    ("history", "explained"),
    [
        # One after the other: the second register must have got 2.
        ([("register", 0, 0, 1, 1), ("register", 0, 2, 3, 1)], False),
        ([("register", 0, 0, 1, 1), ("register", 0, 2, 3, 2)], True),
        # At once: either may be first.
        ([("register", 0, 0, 3, 2), ("register", 0, 1, 2, 1)], True),
        # A confirmed activation that a later look does not see is lost.
        ([("register", 0, 0, 1, 1), ("activate", 1, 2, 3, 1), ("active", 0, 4, 5, 0)], False),
        # One whose caller was killed may have happened, or not, but not be undone.
        ([("register", 0, 0, 1, 1), ("activate", 1, 2, None, None), ("active", 0, 4, 5, 0)], True),
        ([("register", 0, 0, 1, 1), ("activate", 1, 2, None, None), ("active", 0, 4, 5, 1), ("active", 0, 6, 7, 0)], False),
    ],
)  # fmt: skip
def test_the_checker_knows_what_can_not_be(history: list[tuple], explained: bool) -> None:
    assert linearizable([Operation(*one) for one in history]) is explained
