"""The best any detector can do on the fair spikes task: the law by which its windows are drawn, turned round.

What is unknown of a window (phase, size of the noise; place, length, sign and height of the spike) is not
estimated but summed over, weighted by how likely `fair_windows` draws it. The ratio of the two sums is what no
detector can better on average (the lemma of Neyman & Pearson 1933). No detector of a real signal knows as much.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from training.baselines import Array
from training.exercises.spike_detectors import LENGTHS, SAMPLES, STEP_RAD

PHASES, LIKELY = 160, 24
"""Phases tried, and how many of these, the likeliest for each window, are summed over."""
NOISES = 5
HEIGHTS = (0.5, 3.0)
_HIGHEST, _COARSE, _FINE = 40.0, 0.02, 0.001  # of the table of means over the height
_CHUNK = 250


def log_odds(values: Array) -> Array:
    """Log of how much likelier each window (window, 50) is with a spike than without: (window,)."""
    return np.concatenate([_some(values[i : i + _CHUNK]) for i in range(0, len(values), _CHUNK)])


def _some(values: Array) -> Array:
    turns = 2 * np.pi * np.arange(PHASES)[:, None] / PHASES
    shapes = np.sin(turns + STEP_RAD * np.arange(SAMPLES))  # (phase, 50)
    rest = (values[:, None] - shapes).astype(np.float32)  # (window, phase, 50)
    energy = np.square(rest).sum(axis=2)  # (window, phase)
    # A phase is likely that leaves little, whatever spike may stand there.
    gain = np.zeros_like(energy)
    for length in LENGTHS:
        lift = np.abs(sliding_window_view(rest, length, axis=2).sum(axis=3)).max(axis=2)
        height = np.clip(lift / length, *HEIGHTS)
        np.maximum(gain, 2 * lift * height - length * height**2, out=gain)
    likely = np.argpartition(energy - gain, LIKELY, axis=1)[:, :LIKELY]  # (window, LIKELY)
    rest = np.take_along_axis(rest, likely[:, :, None], axis=1)
    energy = np.take_along_axis(energy, likely, axis=1)

    nodes, shares = np.polynomial.legendre.leggauss(NOISES)
    quiet, spiky = [], []
    for noise, share in zip(0.2 + 0.1 * nodes, shares, strict=True):
        plain = -energy / (2 * noise**2) - SAMPLES * math.log(noise) + math.log(share)  # (window, phase)
        quiet.append(plain)
        for length in LENGTHS:
            lift = np.abs(sliding_window_view(rest, length, axis=2).sum(axis=3))  # (window, phase, start)
            more = _over_heights(length, float(noise))[(lift / _FINE + 0.5).astype(np.int32)]
            starts = more.shape[2]
            spiky.append(plain + _log_sum(more) - math.log(starts * len(LENGTHS)))
    ratio: Array = _log_sum(np.concatenate(spiky, axis=1)) - _log_sum(np.concatenate(quiet, axis=1))
    return ratio


@lru_cache
def _over_heights(length: int, noise: float) -> NDArray[np.float32]:
    """Log of a box's mean likelihood over height and sign, where the rest adds up in it to 0, 0.001, ..., 40."""
    lift = np.arange(0, _HIGHEST, _COARSE)[:, None]
    heights = np.linspace(*HEIGHTS, 1001)  # much finer than any likelihood is wide
    shares = np.full(len(heights), 1.0 / (len(heights) - 1))
    shares[[0, -1]] /= 2
    sides = [(sign * lift * heights - length * heights**2 / 2) / noise**2 for sign in (1, -1)]
    both = np.logaddexp(*sides) + np.log(shares / 2)  # (lift, height)
    table: NDArray[np.float32] = np.interp(np.arange(0, _HIGHEST, _FINE), lift[:, 0], _log_sum(both)).astype(
        np.float32
    )
    return table


def _log_sum(terms: Array) -> Array:
    """Log of the sum of exponentials along the last axis."""
    highest = terms.max(axis=-1, keepdims=True)
    total: Array = np.log(np.exp(terms - highest).sum(axis=-1)) + highest[..., 0]
    return total
