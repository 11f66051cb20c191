"""Leads from the platform's list of actions.

``lead`` is the total of all leads, and lists its parts beside it: adding them up counts every lead twice.
"""

import json
import math
from collections.abc import Sequence
from typing import Any, Final

TOTAL: Final = "lead"
PARTS: Final = ("onsite_conversion.lead_grouped", "offsite_conversion.fb_pixel_lead")
_USUAL: Final = (TOTAL, *PARTS)


class BadActions(ValueError):
    """A list of actions that can't be read."""


def count(actions: Any, wanted: Sequence[str] = ()) -> float:
    """Leads in one row's actions.

    Parameters
    ----------
    actions
        List of ``{"action_type": ..., "value": ...}``, the same as JSON text, or None for no actions at all.
    wanted
        Action types whose sum is asked for, in place of `TOTAL` or else the sum of `PARTS`.

    Raises
    ------
    BadActions
        If this is no such list, or a value that is needed is no number.
    """
    if isinstance(actions, str):
        if not actions.strip():
            return 0.0
        try:
            actions = json.loads(actions)
        except (ValueError, RecursionError):
            raise BadActions("is not a JSON list of actions") from None
    if actions is None:
        return 0.0
    if not isinstance(actions, list):
        raise BadActions("is not a list of actions")
    sums: dict[str, float] = {}
    needed = wanted or _USUAL
    for action in actions:
        try:
            name = action["action_type"]
        except (TypeError, KeyError):
            raise BadActions("holds something that is no action") from None
        if name in needed:
            # A breakdown of the actions lists a type several times.
            sums[name] = sums.get(name, 0.0) + _value(action, name)
    if wanted or TOTAL not in sums:
        return sum(sums.values())
    return sums[TOTAL]


def _value(action: dict[str, Any], name: str) -> float:
    value = action.get("value")
    try:
        if value is None or isinstance(value, bool):
            raise ValueError
        number = float(value)
        if not math.isfinite(number):
            raise ValueError
        return number
    except (TypeError, ValueError, OverflowError):
        raise BadActions(f"has {name} with the value {value!r}, which is no number") from None
