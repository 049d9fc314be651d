"""Windows with and without a spike, and detectors of spikes that learn nothing.

Both tasks have windows of 50 samples of sin(linspace(0, 10, 50)). In the document's, the class gives itself away
by its noise; in the fair one both classes are made alike, but for the spike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.baselines import Array

SAMPLES = 50
STEP_RAD = 10 / (SAMPLES - 1)
LENGTHS = (1, 2, 3, 4, 5)
"""Samples a spike of the fair task may last."""


@dataclass(frozen=True)
class Windows:
    """Windows, the class of each, and where its spike stands."""

    values: Array
    """(window, 50)"""
    labels: NDArray[np.int64]
    """(window,), 1 where there is a spike"""
    at: NDArray[np.bool_]
    """(window, 50), the samples of the spike"""


def document_windows(random: np.random.Generator, count: int) -> Windows:
    """Half a sine + N(0, 0.1); half the same sine + N(0, 0.3), three neighbours raised by N(3, 0.5)."""
    labels = random.permutation(np.arange(count) % 2)
    starts = random.integers(0, SAMPLES - 2, count)
    at = _span(starts, np.full(count, 3)) & (labels == 1)[:, None]
    noise = np.where(labels == 1, 0.3, 0.1)[:, None] * random.standard_normal((count, SAMPLES))
    values = np.sin(STEP_RAD * np.arange(SAMPLES)) + noise + at * random.normal(3, 0.5, (count, SAMPLES))
    return Windows(values, labels, at)


def fair_windows(random: np.random.Generator, count: int) -> Windows:
    """Any phase, noise of 0.1 to 0.3 in both classes; spikes of 0.5 to 3, any sign, 1 to 5 samples, anywhere."""
    labels = random.permutation(np.arange(count) % 2)
    lengths = random.integers(LENGTHS[0], LENGTHS[-1] + 1, count)
    starts = random.integers(0, SAMPLES - lengths + 1)
    at = _span(starts, lengths) & (labels == 1)[:, None]
    heights = random.uniform(0.5, 3, count) * random.choice((-1.0, 1.0), count)
    phases = random.uniform(0, 2 * np.pi, count)
    noise = random.uniform(0.1, 0.3, (count, 1)) * random.standard_normal((count, SAMPLES))
    values = np.sin(phases[:, None] + STEP_RAD * np.arange(SAMPLES)) + noise + at * heights[:, None]
    return Windows(values, labels, at)


def _span(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.bool_]:
    index = np.arange(SAMPLES)
    found: NDArray[np.bool_] = (index >= starts[:, None]) & (index < (starts + lengths)[:, None])
    return found


def roughness(values: Array) -> Array:
    """Standard deviation of the first differences: (window,)."""
    spread: Array = np.diff(values, axis=1).std(axis=1)
    return spread


def noise_level(values: Array) -> Array:
    """Median size of the second differences, which a spike of a few samples hardly moves: (window,)."""
    level: Array = np.median(np.abs(np.diff(values, n=2, axis=1)), axis=1)
    return level


def _without_sine(values: Array) -> tuple[Array, Array, Array]:
    """What no sine of the known period explains, the fit of every possible spike to that, and its own size.

    Spikes are boxes of 1 to 5 samples at every place; of each, too, only what no sine explains counts. The fit is
    the amplitude's estimate over its standard error for noise of 1.
    """
    phase = STEP_RAD * np.arange(SAMPLES)
    basis = np.linalg.qr(np.column_stack([np.sin(phase), np.cos(phase)]))[0]  # (50, 2)
    boxes = np.concatenate([[_box(s, n) for s in range(SAMPLES - n + 1)] for n in LENGTHS])  # (box, 50)
    boxes = boxes - boxes @ basis @ basis.T
    boxes /= np.linalg.norm(boxes, axis=1, keepdims=True)
    rest = values - values @ basis @ basis.T  # (window, 50)
    return rest, rest @ boxes.T, np.square(rest).sum(axis=1)


def _box(start: int, length: int) -> Array:
    box = np.zeros(SAMPLES)
    box[start : start + length] = 1.0
    return box


def matched_filter(values: Array) -> Array:
    """The best fit of a box, in units of the noise as the median tells it: (window,)."""
    rest, fits, _ = _without_sine(values)
    noise = np.median(np.abs(rest), axis=1) / 0.6745  # of a normal distribution
    best: Array = np.abs(fits).max(axis=1) / noise
    return best


def likelihood_ratio(values: Array) -> Array:
    """Log of how much likelier the best sine with a box is than the best sine alone, noise unknown: (window,).

    The generalised likelihood ratio (Kay 1998, vol. 2, 6.4): all that is unknown takes its likeliest value.
    """
    _, fits, energy = _without_sine(values)
    explained = np.square(fits).max(axis=1) / energy
    ratio: Array = -0.5 * SAMPLES * np.log1p(-np.minimum(explained, 1 - 1e-12))
    return ratio


def best_threshold(scores: Array, labels: NDArray[np.int64]) -> float:
    """The threshold (a spike at or above it) that is right most often."""
    order = np.argsort(scores, kind="stable")
    ranked = scores[order]
    # Right at cut k: the quiet windows below it and the spikes from it on.
    right = np.concatenate([[0], np.cumsum(labels[order] == 0)]) + np.concatenate(
        [np.cumsum(labels[order][::-1])[::-1], [0]]
    )
    right = right.astype(float)
    right[1:-1][ranked[1:] == ranked[:-1]] = -1  # no threshold lies between two scores that are the same
    k = int(right.argmax())
    if k == len(ranked):
        return float(np.nextafter(ranked[-1], np.inf))
    return float(ranked[k] if k == 0 else (ranked[k - 1] + ranked[k]) / 2)
