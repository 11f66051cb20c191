"""Runs in the peer's own environment: tfcausalimpact on one panel; prints one JSON object.

Called by bench_impact.py with an .npy of (days, 1 + k) daily values, the treated first.
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
    """Two-sided, of the effect over the days from `before` on, by variational inference, with a weekly season."""
    frame = pd.DataFrame(values, index=pd.date_range("2024-01-01", periods=values.shape[0]))
    frame.columns = ["y", *(f"x{k}" for k in range(1, values.shape[1]))]
    pre, post = [frame.index[0], frame.index[before - 1]], [frame.index[before], frame.index[-1]]
    days = [[str(day.date()) for day in window] for window in (pre, post)]
    found = CausalImpact(frame, *days, model_args={"nseasons": 7, "fit_method": "vi"})
    return 2 * float(found.p_value)  # its own is one-sided: the share of samples beyond the observed


def main(path: str, before: int, factor: float) -> None:
    """The panel as it is, and with the treated's days after the change multiplied."""
    values = np.load(path)
    started = time.perf_counter()
    null = p_value(values, before)
    seconds = time.perf_counter() - started
    values[before:, 0] *= factor
    print(json.dumps({"null": null, "shifted": p_value(values, before), "seconds": seconds}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
