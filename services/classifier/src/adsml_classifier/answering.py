"""Classifies entities of one account as of a day: by the account's model, or by the rule where there is none."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
from adsml_common.domain.errors import AdsmlError, FailedPrecondition, NotFound
from adsml_common.domain.tiers import Tier

from adsml_classifier.models.panel import FloatArray, IntArray, Panel, Running
from adsml_classifier.models.reasons import Contribution, strongest
from adsml_classifier.models.rule import TIERS
from adsml_classifier.models.snapshot import AccountSnapshot, WeekMetrics

# Holds a place until every entity that has an answer is answered.
_UNANSWERED: Final = NotFound("not answered yet")


class Scorer(Protocol):
    """What answering needs of a model."""

    def probabilities(self, x: npt.NDArray[np.float32]) -> FloatArray:
        """Calibrated probabilities, shape (rows, 4)."""

    def contributions(self, x: npt.NDArray[np.float32]) -> FloatArray:
        """TreeSHAP values, shape (rows, 4, features + 1)."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The tier of one entity as of one day.

    Attributes
    ----------
    tier
        The most probable tier of the next 7 days, or the rule's.
    probabilities
        Of the tiers from best to worst, calibrated; empty when the rule answered.
    contributions
        The strongest first; empty when the rule answered.
    rule_tier
        What the rule says; None where there is no account to compare with.
    week
        What it looked at.
    as_of
        The day.
    """

    tier: Tier
    probabilities: tuple[float, ...]
    contributions: tuple[Contribution, ...]
    rule_tier: Tier | None
    week: WeekMetrics
    as_of: date

    @property
    def confidence(self) -> float | None:
        """Probability of the answered tier; None when the rule answered."""
        return self.probabilities[self.tier.rank] if self.probabilities else None


@dataclass(frozen=True, slots=True)
class Scored:
    """What a model says of some rows.

    Attributes
    ----------
    probabilities
        Calibrated, of the tiers from best to worst, shape (rows, 4).
    best
        Rank of the most probable tier, shape (rows,).
    contributions
        Of each row, the strongest first; empty where none were asked for.
    """

    probabilities: FloatArray
    best: IntArray
    contributions: list[tuple[Contribution, ...]]


def answer(
    standing: AccountSnapshot,
    asked: Sequence[tuple[str, str]],
    *,
    model: Scorer | None,
    most_contributions: int,
    known: Collection[tuple[str, str]] = (),
    called: Sequence[str] | None = None,
) -> list[Answer | AdsmlError]:
    """Classify entities of one account.

    Parameters
    ----------
    standing
        The account as of the day.
    asked
        Level and id of each entity.
    model
        The account's; None for the rule.
    most_contributions
        How many contributions to tell.
    known
        Entities that exist, with rows in the days looked at or without.
    called
        The ids that errors call them by; their own where not given.

    Returns
    -------
    list
        One answer per entity, in order, or why there is none: `NotFound` (no such entity in the account),
        `FailedPrecondition` (nothing delivered in the last 7 days; no model and no account to compare
        with).
    """
    out: list[Answer | AdsmlError] = []
    places: list[int] = []
    found: list[int] = []
    for key, name in zip(asked, called or [name for _, name in asked], strict=True):
        shown = (key[0], name)
        row = standing.rows.get(key)
        if row is None:
            out.append(_idle(shown, standing.as_of) if key in known else _not_found(shown))
        elif not standing.delivered[row]:
            out.append(_idle(shown, standing.as_of))
        elif model is None and not standing.comparable:
            out.append(_incomparable(shown))
        else:
            places.append(len(out))
            found.append(row)
            out.append(_UNANSWERED)
    if not places:
        return out
    rows = np.array(found, dtype=np.int64)
    rule_tiers = [TIERS[rank] if standing.comparable else None for rank in standing.rule_tier[rows].tolist()]
    weeks = standing.weeks(rows)
    if model is None:
        for place, week, tier in zip(places, weeks, rule_tiers, strict=True):
            assert tier is not None  # noqa: S101 - the incomparable are out already
            out[place] = Answer(tier, (), (), tier, week, standing.as_of)
        return out
    scored = score(model, standing, rows, most_contributions=most_contributions)
    ranked = zip(
        places,
        scored.best.tolist(),
        scored.probabilities.tolist(),
        scored.contributions,
        rule_tiers,
        weeks,
        strict=True,
    )
    for place, rank, row_of, why, rule_tier, week in ranked:
        out[place] = Answer(TIERS[rank], tuple(row_of), why, rule_tier, week, standing.as_of)
    return out


def score(model: Scorer, standing: AccountSnapshot, rows: IntArray, *, most_contributions: int) -> Scored:
    """What a model says of some rows."""
    x = standing.x[rows]
    probabilities = model.probabilities(x)
    best = probabilities.argmax(axis=1)
    told: list[tuple[Contribution, ...]] = [()] * len(rows)
    if most_contributions:
        of_tier = model.contributions(x)[np.arange(len(rows)), best, :-1]
        told = [strongest(x[i], of_tier[i], most=most_contributions) for i in range(len(rows))]
    return Scored(probabilities, best, told)


def compared_with(panel: Panel, account: Panel | None) -> Panel:
    """The panel of an entity by itself, compared with an account's totals, or with none.

    Parameters
    ----------
    panel
        The entity.
    account
        The account it belongs to; days it does not have count as 0. None where it is not known: everything
        relative to the account is missing then.
    """
    days = len(panel.days)
    totals: dict[str, Running] = {}
    for name in panel.account:
        daily = np.zeros(days, dtype=np.int64)
        if account is not None:
            shift = account.column(panel.day(0))
            columns = np.arange(days) + shift
            inside = (columns >= 0) & (columns < len(account.days))
            daily[inside] = np.diff(account.account[name].totals)[columns[inside]]
        totals[name] = Running(np.concatenate([[0], np.cumsum(daily)]))
    return replace(panel, account=totals)


def _not_found(key: tuple[str, str]) -> NotFound:
    return NotFound(f"there is no {key[0]} {key[1]} with daily rows in the days looked at")


def _idle(key: tuple[str, str], as_of: date) -> FailedPrecondition:
    """An entity that did nothing in its last week can't be classified."""
    return FailedPrecondition(
        f"{key[0]} {key[1]} had no delivery in the 7 days up to {as_of}: there is nothing to classify it by",
        metadata={"days_had": "0", "days_needed": "1"},
    )


def _incomparable(key: tuple[str, str]) -> FailedPrecondition:
    return FailedPrecondition(
        f"{key[0]} {key[1]} has no model and no account to compare with: send account_rows, or the config_id of "
        "a stored account"
    )
