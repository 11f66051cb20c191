"""The benchmark's scoring rule against its published results.

The published per-row scores come from the benchmark's own results of the detector ARTime on
realAdExchange/exchange-2_cpm_results.csv (column ``S(t)_standard``), and its file score from ARTime_standard_scores.csv.
"""

import numpy as np
import pytest
from adsml_anomaly.evaluation import nab

ROWS = 1624
# Rows of the file's two labelled windows: 2011-07-24 14:00 to 07-27 22:00, 2011-08-09 00:00 to 08-12 09:00.
FIRST, SECOND = (566, 646), (936, 1017)


def prepared(detections: dict[int, float]) -> nab.Scored:
    scores = np.zeros(ROWS)
    for row, score in detections.items():
        scores[row] = score
    return nab.prepare(scores, [FIRST, SECOND])


@pytest.mark.parametrize(
    ("row", "published"),
    [
        (540, -0.11),  # before any window
        (566, 1.0),  # 2011-07-24 14:00, the window's left edge
        (567, 0.9991422704925975),
        (606, 0.8641216530211080),  # 2011-07-26 06:00
        (607, 0.8553486442381171),
        (646, 0.03127301208135382),  # 2011-07-27 22:00, its right edge
        (647, -0.0034363814590634267),  # just behind
        (678, -0.08377535715513414),  # 2011-07-29 06:00
        (707, -0.10524462679221752),  # 2011-07-30 11:00
    ],
)
def test_worth_of_a_row_as_published(row: int, published: float) -> None:
    assert prepared({}).worth[row] == pytest.approx(published, abs=1e-12)


def test_file_score_as_published() -> None:
    # ARTime: 2 rows detected, both in the first window (2011-07-26 07:00 the earlier), none outside.
    found = nab.score_file(prepared({607: 1.0, 612: 1.0}), 0.317486)
    assert found.raw == pytest.approx(-0.14465135576188293, abs=1e-12)
    assert (found.hit, found.windows, found.false_detections) == (1, 2, 0)


def test_silence_scores_0_and_perfection_100() -> None:
    assert nab.score_file(prepared({}), 0.5).standard == 0.0
    assert nab.score_file(prepared({FIRST[0]: 1.0, SECOND[0]: 1.0}), 0.5).standard == pytest.approx(100.0)


def test_the_first_15_percent_are_not_scored() -> None:
    assert nab.probation_rows(ROWS) == 243
    assert nab.probation_rows(10_320) == 750
    assert nab.score_file(prepared({242: 1.0}), 0.5).raw == -2.0
    assert nab.score_file(prepared({243: 1.0}), 0.5).raw == pytest.approx(-2.11)


def test_best_threshold_is_no_worse_than_any() -> None:
    rng = np.random.default_rng(1)
    files = {f"{k}": nab.prepare(rng.normal(size=ROWS).round(1), [FIRST, SECOND]) for k in range(3)}
    best = nab.score_corpus(files, nab.best_threshold(files))[0]
    every = [
        nab.score_corpus(files, t)[0]
        for t in np.unique(np.concatenate([f.anomaly_scores for f in files.values()]))
    ]
    assert best == pytest.approx(max([0.0, *every]))
