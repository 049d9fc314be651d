"""From a raw signal to windows: clean, scale, find its rhythm, embed, cut.

Arrays are (time, channel), or (time,) for one channel, and every function returns a new one. Filters that run at
serving time too come from `monitor.core.conditioning` and windows from `monitor.core.windows`, so that training
and serving cannot disagree. All but `fill_missing`, which needs both neighbours of a gap, and `median_filter`,
which looks half its width ahead, are causal: a filter that runs forwards and backwards (zero phase) would carry
the future into the windows that are asked to forecast it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from monitor.core.blocks import Floats
from monitor.core.conditioning import Conditioner, Conditioning
from monitor.core.errors import ConfigError, RecordingError
from monitor.core.windows import Windows

_CHUNK = 4096


def fill_missing(values: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Straight lines across what is not finite, and a mask of it; at either end the nearest value is kept."""
    missing = ~np.isfinite(values)
    filled = np.array(values, np.float32)
    at = np.arange(len(values))
    for number, (column, gaps) in enumerate(zip(_columns(filled), _columns(missing), strict=True), 1):
        if gaps.all():
            raise RecordingError(f"channel {number}: expected numbers, got no finite value")
        column[gaps] = np.interp(at[gaps], at[~gaps], column[~gaps])
    return filled, missing


def find_outliers(values: Floats, limit: float = 3.0) -> NDArray[np.bool_]:
    """Where a value is further from the median than `limit` times the distance of the 1st and 99th percentile.

    Percentiles and not the standard deviation, which outliers themselves blow up; and those far out, because the
    peaks of an ECG are rare and high, but no outliers (a Hampel filter, Hampel 1974, would cut them off).
    """
    low, middle, high = np.nanpercentile(values, (1, 50, 99), axis=0)
    with np.errstate(invalid="ignore"):  # NaN is missing, not far
        far: NDArray[np.bool_] = (np.abs(values - middle) > limit * (high - low)) & (high > low)
    return far


def median_filter(values: Floats, width: int) -> Floats:
    """The median of `width` (odd) neighbours: removes spikes shorter than half of it, keeps edges (Tukey 1977)."""
    if width < 1 or width % 2 == 0:
        raise ConfigError(f"median filter: expected an odd width, got {width}")
    half = width // 2
    padded = np.concatenate((np.repeat(values[:1], half, axis=0), values, np.repeat(values[-1:], half, axis=0)))
    middle: Floats = np.median(sliding_window_view(padded, width, axis=0), axis=-1).astype(np.float32)
    return middle


def low_pass(values: Floats, corner_hz: float, rate_hz: float, to_hz: float = 0.0) -> Floats:
    """Butterworth low-pass of order 2, causal, and resampling `to_hz`: the monitor's own."""
    spec = Conditioning(low_pass_hz=corner_hz)
    columns = values[:, None] if values.ndim == 1 else values  # (time, channel)
    conditioner = Conditioner(spec, to_hz or rate_hz, columns.shape[1], 1)
    conditioner.start(0, rate_hz)
    slot = np.zeros(1, np.int64)
    parts = [conditioner.push(slot, columns[None, i : i + _CHUNK])[1] for i in range(0, len(columns), _CHUNK)]
    return np.concatenate(parts).reshape(-1, *values.shape[1:])


@dataclass(frozen=True)
class Scale:
    """(x - offset) / spread, per channel, and the way back."""

    offset: Floats
    spread: Floats

    def apply(self, values: Floats) -> Floats:
        """From the signal's unit to the network's."""
        return ((values - self.offset) / self.spread).astype(np.float32)

    def undo(self, values: Floats) -> Floats:
        """From the network's unit to the signal's."""
        return (values * self.spread + self.offset).astype(np.float32)


def z_score(values: Floats) -> Scale:
    """To mean 0 and standard deviation 1 over `values`, which should be what is trained on and nothing else."""
    return _scale(values.mean(axis=0), values.std(axis=0), values)


def min_max(values: Floats) -> Scale:
    """To the range from 0 to 1 over `values`; one outlier squeezes all the others together."""
    return _scale(values.min(axis=0), np.ptp(values, axis=0), values)


def _scale(offset: NDArray[np.floating], spread: NDArray[np.floating], values: Floats) -> Scale:
    for number, (part, first) in enumerate(
        zip(np.atleast_1d(np.ptp(values, axis=0)), values[0:1].flat, strict=True), 1
    ):
        if not part > 0:
            raise RecordingError(
                f"channel {number}: expected a signal, got the constant {first:g}; is this the right channel?"
            )
    return Scale(np.asarray(offset, np.float32), np.asarray(spread, np.float32))


def dominant_frequencies(values: Floats, rate_hz: float, count: int = 3) -> list[tuple[float, float]]:
    """The `count` highest peaks of the spectrum of `values` (time,): frequency in Hz, and share of all power.

    Welch's method (1967): the mean of the periodograms of half-overlapping, tapered stretches of 1024 samples, or
    of all there are.
    """
    from scipy.signal import find_peaks, welch

    frequency, power = welch(values, rate_hz, nperseg=min(1024, len(values)), detrend="constant")
    share = power / max(float(power.sum()), 1e-30)
    peaks, _ = find_peaks(np.concatenate(([0.0], share, [0.0])))
    highest = sorted(peaks - 1, key=lambda i: -share[i])[:count]
    return [(float(frequency[i]), float(share[i])) for i in highest]


def embed(values: Floats, dimension: int, delay: int) -> Floats:
    """Time-delay embedding: (time,) -> (time - (dimension - 1) * delay, dimension), newest value last.

    x(t) beside x(t - delay), x(t - 2 delay), ... unfolds what one channel hides of the system behind it (Packard
    et al. 1980, Takens 1981).
    """
    span = (dimension - 1) * delay + 1
    if dimension < 1 or delay < 1 or len(values) < span:
        raise ConfigError(
            f"embedding: expected a dimension and a delay of 1 or more that fit into {len(values)} samples, "
            f"got {dimension} and {delay}"
        )
    return sliding_window_view(values, span)[:, ::delay].astype(np.float32)


def cut(values: Floats, window: int, hop: int, ahead: int = 1) -> tuple[Floats, Floats]:
    """Overlapping windows (n, window, channel), one every `hop` samples, and what follows (n, ahead, channel).

    Raises RecordingError for a series shorter than one window and what follows it.
    """
    columns = values[:, None] if values.ndim == 1 else values  # (time, channel)
    span = window + ahead
    if len(columns) < span:
        raise RecordingError(
            f"expected {span} samples or more (a window of {window} and {ahead} after it), got {len(columns)}; "
            "take a longer recording"
        )
    windows = Windows(span, hop, columns.shape[1], 1)
    slot = np.zeros(1, np.int64)
    pieces = (columns[i : i + _CHUNK] for i in range(0, len(columns), _CHUNK))
    both = np.concatenate([windows.push(slot, np.array([len(piece)]), piece)[2] for piece in pieces])
    return both[:, :window], both[:, window:]


def _columns(values: NDArray) -> NDArray:  # type: ignore[type-arg]
    """A view of `values` with one row for each channel."""
    return values[None] if values.ndim == 1 else values.T
