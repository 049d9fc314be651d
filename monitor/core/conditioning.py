"""Causal conditioning of many streams at once: band filter, resampling, running gain, gap filling.

The same code prepares training data and live samples, block by block, and the result does not depend on how
samples were cut into blocks. Three steps, each optional:

1. Butterworth high-pass and low-pass at the stream's own rate, in float64, as one state-space system; a block
   of L samples is one matrix product (x' = A^L x + R u, y = O x + T u) for all streams of that rate together.
   Designed here in a few lines, because importing scipy.signal costs a daemon a second and 100 MiB.
2. Resampling to the model's rate by linear interpolation between filtered samples. Whoever reduces the rate
   must low-pass first; where the specification names no corner, 0.4 of the model's rate is taken.
3. Running gain: each channel is divided by the median of its ranges (max - min) in the last ten whole seconds.
   The first second of a segment is used up to learn the first range.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from monitor.core.blocks import Floats, Ints
from monitor.core.errors import ConfigError
from monitor.core.medians import median

Doubles = NDArray[np.float64]

_MAX_CHUNK = 64
_GAIN_SECONDS = 10


class Conditioning(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is done to samples before a model sees them; part of the model's card."""

    high_pass_hz: float = 0.0
    """Corner that takes away drift; 0 for none."""
    low_pass_hz: float = 0.0
    """Corner that takes away what the model's rate cannot hold; 0 for "as resampling needs"."""
    order: int = 2
    """Order of each of the two filters; even."""
    gain: Literal["none", "running-range"] = "none"
    gain_floor: float = 0.1
    """Smallest range the gain divides by, in the stream's unit: silence is not blown up into a signal."""


def butterworth_sections(order: int, corner_hz: float, rate_hz: float, kind: str) -> Doubles:
    """Second-order sections (order / 2, 6) of a Butterworth `kind` "low" or "high" filter.

    Bilinear transform with pre-warping (Oppenheim & Schafer, Discrete-Time Signal Processing, ch. 7); equal to
    `scipy.signal.butter(order, corner_hz, kind, fs=rate_hz, output="sos")` up to the order of the sections.
    Raises ConfigError for an odd order or a corner outside (0, rate_hz / 2).
    """
    if order < 2 or order % 2 or not 0 < corner_hz < rate_hz / 2:
        raise ConfigError(
            f"filter: expected an even order and a corner between 0 and {rate_hz / 2:g} Hz, "
            f"got order {order} and {corner_hz:g} Hz",
        )
    warped = np.tan(np.pi * corner_hz / rate_hz)
    sections = np.empty((order // 2, 6))
    for k in range(order // 2):
        damping = 2 * np.sin(np.pi * (2 * k + 1) / (2 * order))
        norm = 1 + damping * warped + warped * warped
        numerator = np.array([1, 2, 1]) * warped**2 if kind == "low" else np.array([1, -2, 1])
        sections[k, :3] = numerator / norm
        sections[k, 3:] = [1, 2 * (warped**2 - 1) / norm, (1 - damping * warped + warped * warped) / norm]
    return sections


class _Filter:
    """A cascade of second-order sections as one state-space system, with its block matrices per length."""

    def __init__(self, sections: Doubles) -> None:
        n = 2 * len(sections)
        self.order = n
        # One step of the cascade (transposed direct form II) is linear in (state, input): the columns of its
        # matrix are the steps of the unit vectors.
        step = np.empty((n + 1, n + 1))
        for column, basis in enumerate(np.eye(n + 1)):
            state, u = basis[:n].copy(), basis[n]
            for i, (b0, b1, b2, _, a1, a2) in enumerate(sections):
                y = b0 * u + state[2 * i]
                state[2 * i] = b1 * u - a1 * y + state[2 * i + 1]
                state[2 * i + 1] = b2 * u - a2 * y
                u = y
            step[:n, column], step[n, column] = state, u
        self._a, self._b = step[:n, :n], step[:n, n]
        self._c, self._d = step[n, :n], step[n, n]
        # The state in which a constant input of 1 has always been there: a segment starts without a transient.
        self.rest = np.linalg.solve(np.eye(n) - self._a, self._b)
        self._blocks: dict[int, tuple[Doubles, Doubles, Doubles, Doubles]] = {}

    def _matrices(self, length: int) -> tuple[Doubles, Doubles, Doubles, Doubles]:
        if length not in self._blocks:
            n = self.order
            observe, toeplitz = np.empty((length, n)), np.zeros((length, length))
            reach, power = np.empty((n, length)), np.eye(n)
            for i in range(length):
                observe[i] = self._c @ power
                reach[:, length - 1 - i] = power @ self._b
                power = self._a @ power
            impulse = np.concatenate(([self._d], observe[: length - 1] @ self._b))
            for i in range(length):
                toeplitz[i:, i] = impulse[: length - i]
            self._blocks[length] = (observe.T.copy(), toeplitz.T.copy(), power.T.copy(), reach.T.copy())
        return self._blocks[length]

    def run(self, state: Doubles, u: Doubles) -> tuple[Doubles, Doubles]:
        """Filter `u` (row, time) from `state` (row, order); the output and the state after it."""
        parts = []
        for start in range(0, u.shape[-1], _MAX_CHUNK):
            chunk = u[..., start : start + _MAX_CHUNK]
            observe, toeplitz, power, reach = self._matrices(chunk.shape[-1])
            parts.append(state @ observe + chunk @ toeplitz)
            state = state @ power + chunk @ reach
        return np.concatenate(parts, axis=-1), state


@lru_cache(maxsize=64)
def _design(spec: Conditioning, rate_in_hz: float, rate_out_hz: float) -> _Filter | None:
    """The filter `spec` asks for at a stream's rate, None where nothing is to be filtered."""
    low_hz = spec.low_pass_hz or (0.4 * rate_out_hz if rate_out_hz < rate_in_hz else 0.0)
    sections = []
    if spec.high_pass_hz:
        sections.append(butterworth_sections(spec.order, spec.high_pass_hz, rate_in_hz, "high"))
    if 0 < low_hz < 0.49 * rate_in_hz:  # a slower stream has nothing above the corner
        sections.append(butterworth_sections(spec.order, low_hz, rate_in_hz, "low"))
    return _Filter(np.concatenate(sections)) if sections else None


class Conditioner:
    """Conditions the samples of up to `capacity` streams for one model.

    Each stream has a slot. `start` begins a segment; `push` takes a rectangle of samples of several streams
    and returns their conditioned samples, ragged, one stream after the other. Untouched slots cost no memory:
    the arrays are zero pages until written.
    """

    def __init__(self, spec: Conditioning, rate_hz: float, channels: int, capacity: int) -> None:
        self.spec = spec
        self.rate_hz = rate_hz
        self._rate_in = np.zeros(capacity)
        self._seen = np.zeros(capacity, np.int64)  # input samples of the segment
        self._made = np.zeros(capacity, np.int64)  # resampled samples of the segment
        self._last = np.zeros((capacity, channels))  # newest filtered input sample
        self._state = np.zeros((capacity, channels, 2 * spec.order))
        self._gain = _RunningGain(spec, rate_hz, channels, capacity) if spec.gain == "running-range" else None

    @property
    def lead_in_samples(self) -> int:
        """Conditioned samples at the start of a segment that are used up and never returned."""
        return self._gain.period if self._gain else 0

    def start(self, slot: int, rate_hz: float) -> None:
        """Begin a new segment of the stream in `slot`, whose own rate is `rate_hz`."""
        _design(self.spec, rate_hz, self.rate_hz)  # an impossible filter is refused here, not in mid-stream
        self._rate_in[slot] = rate_hz
        self._seen[slot] = self._made[slot] = 0
        if self._gain:
            self._gain.start(slot)

    def push(self, slots: Ints, values: Floats) -> tuple[Ints, Floats]:
        """Condition `values` (stream, time, channel) of distinct streams `slots` that share one input rate.

        Returns how many samples each stream gained (stream,), and those samples (sum of counts, channel).
        """
        rate_in_hz = float(self._rate_in[slots[0]])
        filtered = self._filter(slots, values, rate_in_hz)
        counts, resampled, first = self._resample(slots, filtered, rate_in_hz / self.rate_hz)
        if self._gain:
            counts, resampled = self._gain.push(slots, counts, resampled, first)
        return counts, resampled.astype(np.float32)

    def _filter(self, slots: Ints, values: Floats, rate_in_hz: float) -> Doubles:
        x = values.astype(np.float64)
        design = _design(self.spec, rate_in_hz, self.rate_hz)
        if design is None:
            return x
        n = design.order
        fresh = slots[self._seen[slots] == 0]
        if len(fresh):
            self._state[fresh, :, :n] = x[self._seen[slots] == 0, 0, :, None] * design.rest
        # (stream * channel, time): one product for all, where a stack of them would be many small ones.
        streams, length, channels = x.shape
        y, state = design.run(self._state[slots, :, :n].reshape(-1, n), x.transpose(0, 2, 1).reshape(-1, length))
        self._state[slots, :, :n] = state.reshape(streams, channels, n)
        return y.reshape(streams, channels, length).transpose(0, 2, 1)

    def _resample(self, slots: Ints, x: Doubles, ratio: float) -> tuple[Ints, Doubles, Ints]:
        """Output k of a segment lies at input position k * ratio and is ready once both neighbours are known."""
        length = x.shape[1]
        seen, made = self._seen[slots], self._made[slots]
        total = np.floor((seen + length - 1) / ratio).astype(np.int64) + 1
        counts = total - made
        held = np.concatenate((self._last[slots][:, None], x), axis=1)  # held[:, 0] is input sample seen - 1
        rows = np.repeat(np.arange(len(slots)), counts)
        position = (_ragged_arange(counts) + made[rows]) * ratio
        left = np.floor(position).astype(np.int64)
        weight = (position - left)[:, None]
        left = left - seen[rows] + 1
        y = held[rows, left] * (1 - weight) + held[rows, np.minimum(left + 1, length)] * weight
        self._last[slots] = x[:, -1]
        self._seen[slots] += length
        self._made[slots] = total
        return counts, y, made


class _RunningGain:
    """Divides by the median of the last ten one-second ranges, per stream and channel."""

    def __init__(self, spec: Conditioning, rate_hz: float, channels: int, capacity: int) -> None:
        self.period = max(round(rate_hz), 2)
        self._floor = spec.gain_floor
        self._low = np.full((capacity, channels), np.inf)
        self._high = np.full((capacity, channels), -np.inf)
        self._ranges = np.zeros((capacity, _GAIN_SECONDS, channels))
        self._scale = np.ones((capacity, channels))

    def start(self, slot: int) -> None:
        self._low[slot], self._high[slot] = np.inf, -np.inf

    def push(self, slots: Ints, counts: Ints, x: Doubles, first: Ints) -> tuple[Ints, Doubles]:
        """`first` is each stream's index of its first sample in `x` within the segment."""
        y = np.empty_like(x)
        offsets = np.cumsum(counts) - counts
        done = np.zeros_like(counts)
        # A piece is what a stream has left up to its next whole second; most calls hold one piece a stream.
        while len(rows := np.flatnonzero(done < counts)):
            index = first[rows] + done[rows]
            taken = np.minimum(counts[rows] - done[rows], self.period - index % self.period)
            flat = np.repeat(offsets[rows] + done[rows], taken) + _ragged_arange(taken)
            bounds = np.cumsum(taken) - taken
            ids = slots[rows]
            y[flat] = x[flat] / np.repeat(self._scale[ids], taken, axis=0)
            self._low[ids] = np.minimum(self._low[ids], np.minimum.reduceat(x[flat], bounds))
            self._high[ids] = np.maximum(self._high[ids], np.maximum.reduceat(x[flat], bounds))
            done[rows] += taken
            whole = (index + taken) % self.period == 0
            self._close(ids[whole], (index + taken)[whole] // self.period - 1)
        # The first second only taught the gain.
        rows = np.repeat(np.arange(len(slots)), counts)
        keep = _ragged_arange(counts) + first[rows] >= self.period
        return np.bincount(rows[keep], minlength=len(slots)).astype(np.int64), y[keep]

    def _close(self, ids: Ints, second: Ints) -> None:
        """A whole second has passed for the streams `ids`: learn its range, set the gain anew."""
        self._ranges[ids, second % _GAIN_SECONDS] = self._high[ids] - self._low[ids]
        self._low[ids], self._high[ids] = np.inf, -np.inf
        known = np.minimum(second + 1, _GAIN_SECONDS)
        for n in sorted(set(known.tolist())):
            some = ids[known == n]
            ranges = self._ranges[some, :n].swapaxes(1, 2)  # (stream, channel, second)
            usual = median(ranges.reshape(-1, n)).reshape(ranges.shape[:2])
            self._scale[some] = np.maximum(usual, self._floor)


def fill_gaps(values: Floats, before: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Replace NaN in `values` (time, channel) by interpolation, from `before` (channel,) on the left.

    A trailing NaN keeps the last known value: what comes next is not known yet. Returns the filled values and
    a mask of what was filled. A channel with no value at all, neither here nor before, becomes 0.
    """
    missing = np.isnan(values)
    if not missing.any():
        return values, missing
    filled = values.copy()
    at = np.arange(-1, len(values))
    for channel in np.flatnonzero(missing.any(axis=0)):
        column = np.concatenate((before[channel : channel + 1], values[:, channel]))
        known = ~np.isnan(column)
        filled[:, channel] = np.interp(at, at[known], column[known])[1:] if known.any() else 0.0
    return filled, missing


def _ragged_arange(counts: Ints) -> Ints:
    """0..counts[0]-1, 0..counts[1]-1, ... in one array."""
    ends = np.cumsum(counts)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - counts, counts)
