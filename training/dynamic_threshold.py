"""The nonparametric dynamic threshold of Hundman et al. 2018, to compare a false-alarm budget with.

"Detecting Spacecraft Anomalies Using LSTMs and Nonparametric Dynamic Thresholding", KDD 2018 (telemanom): errors
of a forecast are smoothed; every so many of them, a threshold is chosen over the last ones: of mean + z standard
deviations, the one whose removal of what lies above lowers mean and deviation most for the number of values and of
sequences removed. Sequences that do not stand out enough from the next highest are taken back (pruning).

Written from the paper, with its settings. It looks at a recording in batches: what lies in one is known when it
is over.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Bools = NDArray[np.bool_]

HISTORY, BATCH = 2100, 70
SMOOTHING = 105
"""Span of the exponentially weighted mean: a twentieth of the history."""
PRUNED = 0.13
"""A sequence must be higher than the next one by this share."""
_Z = np.arange(2.0, 10.0, 0.5)


def smooth(errors: Doubles, span: int = SMOOTHING) -> Doubles:
    """Exponentially weighted mean of errors (time,)."""
    weight = 2 / (span + 1)
    smoothed = np.empty(len(errors))
    level = float(errors[0])
    for i, error in enumerate(errors.tolist()):
        level += weight * (error - level)
        smoothed[i] = level
    return smoothed


def flag(errors: Doubles, history: int = HISTORY, batch: int = BATCH) -> Bools:
    """Which of the smoothed errors (time,) are anomalous; those before the first history is full are not."""
    flagged = np.zeros(len(errors), np.bool_)
    for end in range(history, len(errors) + 1, batch):
        past = errors[end - history : end]
        flagged[end - batch : end] = _anomalous(past)[-batch:]
    return flagged


def _anomalous(errors: Doubles) -> Bools:
    """Which of a history's errors lie in sequences above its best threshold that pruning leaves."""
    mean, deviation = errors.mean(), errors.std()
    best, threshold = -np.inf, np.inf
    if deviation <= 0:
        return np.zeros(len(errors), np.bool_)
    for z in _Z:
        level = mean + z * deviation
        above = errors > level
        count = int(above.sum())
        if not count or count >= len(errors) // 2:
            continue
        rest = errors[~above]
        sequences = int(above[0]) + int((above[1:] & ~above[:-1]).sum())
        gain = (mean - rest.mean()) / mean + (deviation - rest.std()) / deviation
        if (score := gain / (count + sequences**2)) > best:
            best, threshold = score, level
    return _pruned(errors, errors > threshold)


def _pruned(errors: Doubles, above: Bools) -> Bools:
    """Without the sequences that stand out too little."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], above.view(np.int8), [0]))))
    spans = sorted(zip(edges[::2], edges[1::2], strict=True), key=lambda span: -errors[span[0] : span[1]].max())
    if not spans:
        return above
    heights = [errors[start:end].max() for start, end in spans] + [errors[~above].max()]
    drops = [(high - low) / high for high, low in pairwise(heights)]
    kept = max((i + 1 for i, drop in enumerate(drops) if drop > PRUNED), default=0)
    found = np.zeros(len(errors), np.bool_)
    for start, end in spans[:kept]:
        found[start:end] = True
    return found
