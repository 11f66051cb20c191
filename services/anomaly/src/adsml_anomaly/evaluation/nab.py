"""The scoring rule of the Numenta Anomaly Benchmark (NAB), standard profile.

Every detection inside a labelled window counts once, by the window's earliest: the earlier, the more. Every
detection outside one costs, less just behind a window. With a detection's position ``y`` in window lengths
(-1 is the window's left edge, 0 its right edge, above 0 behind it)::

    sigma(y) = 2 / (1 + exp(5 y)) - 1
    hit      = A_TP * sigma(y) / sigma(-1)
    miss     = -A_FN
    false    = A_FP * sigma(y)            (-A_FP with no window before, or 3 window lengths behind it)

Weights of the standard profile: ``A_TP = A_FN = 1``, ``A_FP = 0.11``. The first 15% of a file (at most 750
rows) are for learning and not scored. One threshold serves all files; the published scores use the one that
is best over the files. Scores are scaled so that detecting nothing gives 0 and a perfect detector 100.

Source: A. Lavin, S. Ahmad, "Evaluating real-time anomaly detection algorithms - the Numenta Anomaly
Benchmark", ICMLA 2015, section III; positions are counted as the benchmark's own program does it (a
position ``y = -(right - i + 1) / width`` inside, ``(i - right) / (width - 1)`` behind).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

import numpy as np
import numpy.typing as npt

from adsml_anomaly.models.arrays import FloatArray, IntArray

HIT_WEIGHT: Final = 1.0
MISS_WEIGHT: Final = 1.0
FALSE_WEIGHT: Final = 0.11
PROBATION_SHARE: Final = 0.15
PROBATION_ROWS_MOST: Final = 750
_FAR_BEHIND: Final = 3.0
_PROBATION: Final = -2
_OUTSIDE: Final = -1


@dataclass(frozen=True, slots=True)
class Scored:
    """Points of one file, shape (n,) each, ready for any threshold."""

    anomaly_scores: FloatArray  # The detector's, larger is stranger
    worth: FloatArray  # What a detection at this row adds if it counts
    window: IntArray  # Number of the row's window, -1 outside of any, -2 in the probation
    windows: int  # How many windows can be hit: those with a row behind the probation


@dataclass(frozen=True, slots=True)
class FileScore:
    """One file at one threshold."""

    raw: float
    standard: float  # 0 for a silent detector, 100 for a perfect one; NaN where a file has no window
    # Windows that count, and those with a detection
    windows: int
    hit: int
    # Rows detected behind the probation, and those of them outside every window
    detections: int
    false_detections: int


def position_value(y: float) -> float:
    """``sigma(y)``: 0.987 at -1, 0 at 0, -0.987 at 1, and -1 from 3 on."""
    return -1.0 if y >= _FAR_BEHIND else 2.0 / (1.0 + math.exp(5.0 * y)) - 1.0


def probation_rows(rows: int) -> int:
    """How many rows at a file's start are not scored."""
    return int(min(math.floor(PROBATION_SHARE * rows), PROBATION_ROWS_MOST))


def prepare(anomaly_scores: npt.ArrayLike, windows: Sequence[tuple[int, int]]) -> Scored:
    """Give every row its window and its worth.

    `anomaly_scores`, shape (n,), never NaN, are larger for what is stranger; windows are first and last row, both
    inclusive, in order and apart.
    """
    scores = np.asarray(anomaly_scores, dtype=np.float64)
    n, best = scores.size, position_value(-1.0)
    worth, window = np.empty(n), np.full(n, _OUTSIDE, dtype=np.int64)
    for number, (left, right) in enumerate(windows):
        window[left : right + 1] = number
    # A window of one row has no length to measure a distance by: what lies behind it is far behind, as without one.
    right, width = 0, 1
    for i in range(n):
        if window[i] >= 0:
            left, right = windows[window[i]]
            width = right - left + 1
            worth[i] = HIT_WEIGHT * position_value(-(right - i + 1) / width) / best
        else:
            y = (i - right) / (width - 1) if width > 1 else _FAR_BEHIND
            worth[i] = FALSE_WEIGHT * position_value(y)
    window[: probation_rows(n)] = _PROBATION
    return Scored(scores, worth, window, np.unique(window[window >= 0]).size)


def score_file(prepared: Scored, threshold: float) -> FileScore:
    """One file, where a row with a score of at least `threshold` is a detection."""
    detected = (prepared.anomaly_scores >= threshold) & (prepared.window != _PROBATION)
    false = detected & (prepared.window == _OUTSIDE)
    hit, total = 0, float(prepared.worth[false].sum())
    for number in np.unique(prepared.window[prepared.window >= 0]):
        found = detected & (prepared.window == number)
        if found.any():
            hit, total = hit + 1, total + float(prepared.worth[found].max())
        else:
            total -= MISS_WEIGHT
    return FileScore(
        raw=total,
        standard=scaled(total, prepared.windows),
        windows=prepared.windows,
        hit=hit,
        detections=int(detected.sum()),
        false_detections=int(false.sum()),
    )


def scaled(raw: float, windows: int) -> float:
    """Raw score on the scale where silence is 0 and perfection 100; NaN without a window."""
    if windows == 0:
        return math.nan
    return 100.0 * (raw + MISS_WEIGHT * windows) / ((HIT_WEIGHT + MISS_WEIGHT) * windows)


def score_corpus(files: Mapping[str, Scored], threshold: float) -> tuple[float, dict[str, FileScore]]:
    """All files at one threshold: `standard` as in `FileScore`, over the sum of the files, and each file."""
    found = {name: score_file(prepared, threshold) for name, prepared in files.items()}
    raw = math.fsum(score.raw for score in found.values())
    return scaled(raw, sum(score.windows for score in found.values())), found


def best_threshold(files: Mapping[str, Scored]) -> float:
    """The one threshold with the highest score over all files; the highest such threshold if several.

    Works down through all scores that occur, as the benchmark's program does it: lowering the threshold by one
    step adds the rows with that score. Infinity (silence) where nothing scores better.
    """
    rows = [
        (score, worth, (number, window))
        for number, one in enumerate(files.values())
        for score, worth, window in zip(
            one.anomaly_scores.tolist(), one.worth.tolist(), one.window.tolist(), strict=True
        )
        if window != _PROBATION
    ]
    held: dict[tuple[int, int], float] = {}
    gain, best = 0.0, (0.0, math.inf)  # over silence; the best gain and its threshold
    for threshold, tied in groupby(sorted(rows, key=lambda row: -row[0]), key=lambda row: row[0]):
        for _, worth, place in tied:
            if place[1] == _OUTSIDE:
                gain += worth
            else:
                before = held.get(place, -MISS_WEIGHT)
                held[place] = max(before, worth)
                gain += held[place] - before
        if gain > best[0] + 1e-12:
            best = (gain, threshold)
    return best[1]
