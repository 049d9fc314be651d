"""What needs no model: the controls that a model's figures stand beside.

If a plain detector, the energy of the signal or an early beat tell as much, the model has told nothing new.
Filters in here look at the whole recording (forwards and backwards); none of this runs in the monitor.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from monitor.core.blocks import Floats
from monitor.core.conditioning import fill_gaps
from training.metrics import Doubles

_QRS_HZ = (5.0, 20.0)
_ECG_HZ = (0.5, 40.0)


def without_gaps(values: Floats) -> Doubles:
    """One channel (time,) with its missing values interpolated."""
    filled, _ = fill_gaps(values[:, None].astype(np.float32), np.zeros(1, np.float32))
    return np.asarray(np.nan_to_num(filled[:, 0]), np.float64)


def band(values: Doubles, rate_hz: float, low_hz: float, high_hz: float) -> Doubles:
    """`values` (time,) between two corners, without delay; a slow recording lowers the upper one."""
    from scipy.signal import butter, sosfiltfilt

    high_hz = min(high_hz, 0.45 * rate_hz)
    if len(values) < 64 or low_hz >= high_hz:
        centred: Doubles = values - values.mean()
        return centred
    sections = butter(2, (low_hz, high_hz), "band", fs=rate_hz, output="sos")
    return np.asarray(sosfiltfilt(sections, values), np.float64)


def qrs_by_slope(values: Doubles, rate_hz: float) -> Doubles:
    """Beats (seconds) where the energy of the slope stands out: Pan & Tompkins (1985) cut to its bones.

    5-20 Hz band, squared derivative averaged over 0.12 s, maxima at least 0.25 s apart and above a third of the
    median of the largest values in each of the surrounding 11 stretches of two seconds.
    """
    from scipy.ndimage import median_filter, uniform_filter1d
    from scipy.signal import find_peaks

    slope = np.gradient(band(values, rate_hz, *_QRS_HZ))
    power = uniform_filter1d(slope**2, max(round(0.12 * rate_hz), 1))
    energy = np.sqrt(np.maximum(power, 0.0))  # a running sum may end a hair below nothing
    piece = max(round(2 * rate_hz), 1)
    count = -(-len(energy) // piece)
    largest = np.array([energy[i * piece : (i + 1) * piece].max() for i in range(count)])
    level = np.repeat(median_filter(largest, 11, mode="nearest") / 3, piece)[: len(energy)]
    peaks, _ = find_peaks(energy, height=np.maximum(level, 1e-9), distance=max(round(0.25 * rate_hz), 1))
    return np.asarray(peaks / rate_hz, np.float64)


def beat_energy(values: Doubles, rate_hz: float, at_s: Doubles) -> Doubles:
    """Energy of each beat (n,), 0.1 s before to 0.4 s after `at_s`, over the median of the ten beats before it."""
    total = np.concatenate(([0.0], np.cumsum(band(values, rate_hz, *_ECG_HZ) ** 2)))
    low, high = (np.clip(np.round((at_s + off) * rate_hz), 0, len(values)).astype(int) for off in (-0.1, 0.4))
    return relative_to_usual(total[high] - total[low])


def prematurity(at_s: Doubles) -> Doubles:
    """By how much each beat (n,) came early: 1 - its RR interval over the median of the ten before it."""
    rr = np.diff(at_s, prepend=at_s[:1] - 0.8)
    return 1 - rr / np.maximum(_usual(rr), 1e-3)


def relative_to_usual(values: Doubles) -> Doubles:
    """`values` (n,), one a beat, over the median of the ten before each."""
    return values / np.maximum(_usual(values), 1e-12)


def _usual(values: Doubles) -> Doubles:
    """For each value the median of the ten before it; for the first ones that of the first ten."""
    if not len(values):
        return values
    start = np.full(10, np.median(values[:10]))
    medians: Doubles = np.median(sliding_window_view(np.concatenate([start, values])[:-1], 10), axis=1)
    return medians


def jumps(values: Doubles) -> Doubles:
    """|x[t] - x[t-1]| (time,): the one line that everything is to be compared with."""
    jump: Doubles = np.abs(np.diff(values, prepend=values[:1]))
    return jump


def bends(values: Doubles) -> Doubles:
    """|x[t+1] - 2 x[t] + x[t-1]| (time,), a sample late."""
    padded = np.concatenate([values[:1], values, values[-1:]])
    bend: Doubles = np.abs(padded[2:] - 2 * padded[1:-1] + padded[:-2])
    return bend


def matched_boxes(values: Doubles, longest: int = 5, beside: int = 3) -> Doubles:
    """The largest answer (time,) of filters matched to a box of 1 to `longest` samples that begins at each sample.

    A template is the box less the mean of `beside` samples on either side, of norm 1: blind to level and to slope.
    """
    best = np.zeros(len(values))
    for length in range(1, longest + 1):
        template = np.concatenate(
            [np.full(beside, -0.5 / beside), np.full(length, 1 / length), np.full(beside, -0.5 / beside)]
        )
        span = length + 2 * beside
        if len(values) < span:
            break
        answer = np.abs(sliding_window_view(values, span) @ (template / np.linalg.norm(template)))
        first = slice(beside, beside + len(answer))
        best[first] = np.maximum(best[first], answer)
    return best


def periods(values: Doubles, ends: NDArray[np.int64], shortest: int, longest: int) -> NDArray[np.int64]:
    """The period (n,) in samples that `values` (time,) show up to each of `ends` (n,): causal.

    The shortest lag from `shortest` to `longest` at which the autocorrelation of the last 4 `longest` samples is
    a maximum, at least 0.1, and at least 0.8 of the largest one; where there is none, so up to four times
    `longest`, and else `longest` itself. Looked for anew every `longest` / 2 samples.
    """
    every = max(longest // 2, 1)
    known: dict[int, int] = {}
    found = np.empty(len(ends), np.int64)
    for i, turn in enumerate((ends // every).tolist()):
        if turn not in known:
            past = values[: turn * every]
            known[turn] = _period(past, shortest, longest) or _period(past, longest, 4 * longest) or longest
        found[i] = known[turn]
    return found


def _period(past: Doubles, shortest: int, longest: int) -> int:
    """See `periods`; 0 where `past` is too short, or shows none."""
    past = past[-4 * longest :]
    if len(past) < 2 * longest:
        return 0
    centred = past - past.mean()
    spectrum = np.fft.rfft(centred, 2 * len(centred))
    alike = np.fft.irfft(np.abs(spectrum) ** 2)[: longest + 2] / np.arange(len(past), len(past) - longest - 2, -1)
    lags = np.arange(shortest, longest + 1)
    peak = (alike[lags] >= alike[lags - 1]) & (alike[lags] >= alike[lags + 1]) & (alike[lags] >= 0.1 * alike[0])
    if not peak.any():
        return 0
    return int(lags[peak & (alike[lags] >= 0.8 * alike[lags[peak]].max())][0])
