"""Simulated signals, sample for sample the same however they are cut into chunks.

A signal is a class with explicit state: `next(samples)` returns the next values (time, channel) and the labels
that begin among them, as (index since the start, name). The seed alone decides what comes, so that training,
tests and `monitor simulate` see the same stream.

Invariant: noise and anomalies are drawn from two generators of their own, one value after the other; nothing
drawn depends on where a chunk ends.
"""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np

from monitor.core.blocks import Floats
from monitor.core.errors import ConfigError

SignalName = Literal["noisy-sine", "long-dependency"]

Labels = list[tuple[int, str]]

STEP_RAD = 100 / 999
"""Phase from one sample to the next of the sine: the first 1000 samples are sin(linspace(0, 100, 1000))."""

_SPIKE_SAMPLES = (1, 5)
_SPIKE_AMPLITUDE = (0.5, 3.5)
_SPIKE_REST = 10  # samples of quiet that every spike is followed by, so that two never run together


class Signal(Protocol):
    """What every simulated signal offers."""

    rate_hz: float
    channels: tuple[str, ...]
    unit: str

    def next(self, samples: int) -> tuple[Floats, Labels]:
        """The next `samples` values (time, channel), and the labels that begin among them."""
        ...


class _Spikes:
    """Rectangular spikes of random size, sign, length and distance, added to whatever signal there is."""

    def __init__(self, per_sample: float, seed: np.random.SeedSequence) -> None:
        self._random = np.random.default_rng(seed)
        # The mean distance of two spikes: what is certain between them, and an exponential rest.
        self._wait = max(1 / per_sample - _SPIKE_REST - sum(_SPIKE_SAMPLES) / 2, 1.0)
        self._end = 0
        self._draw()

    def _draw(self) -> None:
        self._start = self._end + _SPIKE_REST + int(self._random.exponential(self._wait))
        self._end = self._start + int(self._random.integers(_SPIKE_SAMPLES[0], _SPIKE_SAMPLES[1] + 1))
        self._height = self._random.uniform(*_SPIKE_AMPLITUDE) * self._random.choice((-1.0, 1.0))

    def add(self, values: np.ndarray, first: int) -> Labels:
        """Add to `values` (time,), whose first sample has index `first`; the labels of those that begin here."""
        labels: Labels = []
        last = first + len(values)
        while self._start < last:
            if self._start >= first:
                labels.append((self._start, "spike"))
            values[max(self._start - first, 0) : self._end - first] += self._height
            if self._end > last:  # it goes on in the next chunk
                break
            self._draw()
        return labels


class NoisySine:
    """The exercise's "ECG": a sine of amplitude 1 and 62.8 samples a period, with Gaussian noise, and spikes.

    A spike is 1 to 5 samples long, 0.5 to 3.5 high, of either sign, and labelled "spike" at its first sample.
    """

    channels: tuple[str, ...] = ("sine",)
    unit = ""

    def __init__(
        self,
        *,
        rate_hz: float = 50.0,
        seed: int = 0,
        noise: float = 0.1,
        spikes_per_minute: float = 0.0,
        phase_rad: float = 0.0,
    ) -> None:
        _check(rate_hz, noise, spikes_per_minute)
        self.rate_hz = rate_hz
        for_noise, for_spikes = np.random.SeedSequence(seed).spawn(2)
        self._random = np.random.default_rng(for_noise)
        self._noise, self._phase_rad, self._index = noise, phase_rad, 0
        per_sample = spikes_per_minute / 60 / rate_hz
        self._spikes = _Spikes(per_sample, for_spikes) if spikes_per_minute else None

    def next(self, samples: int) -> tuple[Floats, Labels]:
        """The next `samples` values (time, 1), and the labels that begin among them."""
        index = np.arange(self._index, self._index + samples)
        values = np.sin(STEP_RAD * index + self._phase_rad) + self._noise * self._random.standard_normal(samples)
        labels = self._spikes.add(values, self._index) if self._spikes else []
        self._index += samples
        return values.astype(np.float32)[:, None], labels


class LongDependency:
    """The exercise on long memory: sin(0.1 t) + 0.5 sin(2 t + pi/4) + 0.1 N(0, 1), t counting samples."""

    channels: tuple[str, ...] = ("signal",)
    unit = ""

    def __init__(self, *, rate_hz: float = 50.0, seed: int = 0, noise: float = 0.1) -> None:
        _check(rate_hz, noise, 0.0)
        self.rate_hz = rate_hz
        self._random = np.random.default_rng(np.random.SeedSequence(seed).spawn(1)[0])
        self._noise, self._index = noise, 0

    def next(self, samples: int) -> tuple[Floats, Labels]:
        """The next `samples` values (time, 1); this signal has no labels."""
        t = np.arange(self._index, self._index + samples)
        values = np.sin(0.1 * t) + 0.5 * np.sin(2 * t + np.pi / 4)
        values = values + self._noise * self._random.standard_normal(samples)
        self._index += samples
        return values.astype(np.float32)[:, None], []


def open_signal(
    name: SignalName,
    *,
    rate_hz: float = 50.0,
    seed: int = 0,
    noise: float = 0.1,
    spikes_per_minute: float = 0.0,
) -> Signal:
    """The signal called `name`, at its beginning; raises ConfigError for a name or a value that cannot be."""
    match name:
        case "noisy-sine":
            return NoisySine(rate_hz=rate_hz, seed=seed, noise=noise, spikes_per_minute=spikes_per_minute)
        case "long-dependency":
            if spikes_per_minute:
                raise ConfigError("signal 'long-dependency': it has no spikes, got spikes_per_minute above 0")
            return LongDependency(rate_hz=rate_hz, seed=seed, noise=noise)
        case _:
            raise ConfigError(f"signal: expected 'noisy-sine' or 'long-dependency', got {name!r}")


def _check(rate_hz: float, noise: float, spikes_per_minute: float) -> None:
    most = 60 * rate_hz / (_SPIKE_REST + sum(_SPIKE_SAMPLES))
    if not rate_hz > 0 or not noise >= 0 or not 0 <= spikes_per_minute <= most:
        raise ConfigError(
            f"signal: expected a rate above 0 Hz, noise of 0 or more and 0 to {most:g} spikes a minute, "
            f"got {rate_hz:g} Hz, noise {noise:g} and {spikes_per_minute:g} spikes a minute",
        )
