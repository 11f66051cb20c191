"""Levels that an export lacks, as sums of the level below."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from adsml_ingest.batch import LEVELS
from adsml_ingest.resolve import sum_by_day
from adsml_ingest.staging import Staging
from adsml_ingest.tree import BLANK, Codes, Tree

CAMPAIGN: Final = 0
ADSET: Final = 1
AD: Final = 2


@dataclass(frozen=True, slots=True)
class Sums:
    """A level that was built.

    Attributes
    ----------
    level, below
        What was built, and from what.
    orphans
        Entities of the level below that belong to none that is known, and so are in no sum.
    """

    level: int
    below: int
    orphans: int

    @property
    def note(self) -> str:
        """One sentence for the summary."""
        said = (
            f"no rows of {LEVELS[self.level]}s: built as sums of their {LEVELS[self.below]}s, reach left out"
        )
        if self.orphans:
            said += f"; {self.orphans} {LEVELS[self.below]}(s) with unknown parent are in no sum"
        return said


def build(staging: Staging, settled: str, built: str, tree: Tree) -> list[Sums]:
    """Stage sums for each level that has no row of its own but children with known parents.

    Parameters
    ----------
    staging
        Holds the settled rows under `settled`, one per entity and day; gets the sums under `built`.
    tree
        Of the entities.

    Returns
    -------
    What was built, lowest level first. Nothing where a level above has rows: an export that holds them knows
    better than sums.
    """
    present = {
        level for rows in staging.parts(settled) for level in np.unique(tree.levels[rows["entity"]]).tolist()
    }
    done: list[Sums] = []
    if AD in present and ADSET not in present:
        done += _build(staging, settled, built, tree, ADSET, AD, lambda codes: tree.parents[codes])
    if CAMPAIGN not in present and ADSET in present:
        done += _build(staging, settled, built, tree, CAMPAIGN, ADSET, lambda codes: tree.parents[codes])
    elif CAMPAIGN not in present and AD in present:
        done += _build(staging, settled, built, tree, CAMPAIGN, AD, lambda codes: tree.campaigns[codes])
    return done


def _build(
    staging: Staging,
    settled: str,
    built: str,
    tree: Tree,
    level: int,
    below: int,
    above: Callable[[Codes], Codes],
) -> list[Sums]:
    name = f"{built}-{level}"
    orphans: set[int] = set()
    any_built = False
    for rows in staging.parts(settled):
        children = rows[tree.levels[rows["entity"]] == below]
        parents = above(children["entity"])
        orphans.update(np.unique(children["entity"][parents == BLANK]).tolist())
        children = children[parents != BLANK]
        children["entity"] = parents[parents != BLANK]
        if len(children):
            staging.add(name, sum_by_day(children))
            any_built = True
    for rows in staging.parts(name):
        sums = sum_by_day(rows)
        tree.use(sums["entity"])
        staging.add(built, sums)
    staging.drop(name)
    return [Sums(level, below, len(orphans))] if any_built else []
