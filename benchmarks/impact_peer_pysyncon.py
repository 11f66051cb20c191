"""Runs in the peer's own environment: times pysyncon's placebo test on a panel and prints one JSON object.

Called by bench_impact.py with the panel's path; every unit in turn takes the role of the treated.
"""

import json
import sys
import time

import pandas as pd
from pysyncon import Dataprep, Synth
from pysyncon.utils import PlaceboTest


def main(path: str, before: int) -> None:
    """Time one placebo test; the first unit is the treated."""
    frame = pd.read_csv(path)
    units = list(dict.fromkeys(frame["unit"]))
    past = range(before)
    # One predictor, its cheapest form: with one per week its search over predictor weights takes many times longer.
    predictors = [("y", past, "mean")]
    dataprep = Dataprep(
        foo=frame,
        predictors=[],
        predictors_op="mean",
        dependent="y",
        unit_variable="unit",
        time_variable="day",
        treatment_identifier=units[0],
        controls_identifier=units[1:],
        time_predictors_prior=past,
        time_optimize_ssr=past,
        special_predictors=predictors,
    )
    started = time.perf_counter()
    test = PlaceboTest()
    test.fit(dataprep=dataprep, scm=Synth(), max_workers=None, verbose=False)
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "placebos": len(units) - 1}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
