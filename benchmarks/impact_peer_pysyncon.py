"""Runs in the peer's own environment: pysyncon's placebo test on one panel; prints one JSON object.

Called by bench_impact.py with an .npy of (days, units) daily values, the treated first; each unit in turn takes its
role.
"""

import json
import sys
import time

import numpy as np
import pandas as pd
from pysyncon import Dataprep, Synth
from pysyncon.utils import PlaceboTest


def placebo_test(values: np.ndarray, before: int) -> PlaceboTest:
    """Of the first unit, treated from day `before` on."""
    days, units = values.shape
    frame = pd.DataFrame(
        {
            "unit": np.tile(np.arange(units), days),
            "day": np.repeat(np.arange(days), units),
            "y": values.ravel(),
        }
    )
    past = range(before)
    dataprep = Dataprep(
        foo=frame,
        predictors=[],
        predictors_op="mean",
        dependent="y",
        unit_variable="unit",
        time_variable="day",
        treatment_identifier=0,
        controls_identifier=list(range(1, units)),
        time_predictors_prior=past,
        time_optimize_ssr=past,
        # One predictor, its cheapest form: with one per week its search over weights takes many times longer.
        special_predictors=[("y", past, "mean")],
    )
    test = PlaceboTest()
    test.fit(dataprep=dataprep, scm=Synth(), max_workers=None, verbose=False)
    return test


def main(path: str, before: int, factor: float) -> None:
    """The panel as it is, and with the treated's days after the change multiplied."""
    values = np.load(path)
    started = time.perf_counter()
    null = float(placebo_test(values, before).pvalue(treatment_time=before))
    seconds = time.perf_counter() - started
    shifted = null
    if factor != 1.0:
        values[before:, 0] *= factor
        shifted = float(placebo_test(values, before).pvalue(treatment_time=before))
    placebos = values.shape[1] - 1
    print(json.dumps({"null": null, "shifted": shifted, "seconds": seconds, "placebos": placebos}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
