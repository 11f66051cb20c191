"""Runs in the peer's own environment: tfcausalimpact on panels of cost per lead; prints one JSON object.

Called by bench_impact.py with an .npz of panels: (units, days, 1 + k) daily values, the treated first.
"""

import json
import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pandas as pd
from causalimpact import CausalImpact


def p_value(values: np.ndarray, before: int) -> float:
    """Of the effect over the days from `before` on, by variational inference, with a weekly season."""
    frame = pd.DataFrame(values, index=pd.date_range("2024-01-01", periods=values.shape[0]))
    frame.columns = ["y", *(f"x{k}" for k in range(1, values.shape[1]))]
    pre, post = [frame.index[0], frame.index[before - 1]], [frame.index[before], frame.index[-1]]
    days = [[str(day.date()) for day in window] for window in (pre, post)]
    found = CausalImpact(frame, *days, model_args={"nseasons": 7, "fit_method": "vi"})
    return float(found.p_value)


def main(path: str, before: int, factor: float) -> None:
    """Every panel as it is, and with the treated's days after the change multiplied."""
    stored = np.load(path)["panels"]
    null, shifted, seconds = [], [], []
    for values in stored:
        started = time.perf_counter()
        null.append(p_value(values, before))
        seconds.append(time.perf_counter() - started)
        changed = values.copy()
        changed[before:, 0] *= factor
        shifted.append(p_value(changed, before))
    # Its p-value is one-sided: the share of samples beyond the observed.
    print(
        json.dumps(
            {
                "false_positive_rate": float((2 * np.array(null) < 0.05).mean()),
                "power": float((2 * np.array(shifted) < 0.05).mean()),
                "seconds": float(np.median(seconds)),
                "analyses": len(null),
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
