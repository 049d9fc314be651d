"""A simulated vital sign: slow, a little noisy, rounded as devices do; it may drift to its limit or go stale.

The seed alone decides what comes, however it is cut into chunks.
"""

from __future__ import annotations

import numpy as np

from monitor.core.blocks import Floats
from monitor.core.errors import ConfigError


class VitalSign:
    """One channel that hovers about a level; see `monitor.core.signals.Signal`.

    From `drift_at_s` on it sinks (or rises) by `drift_per_minute`, labelled "drift" where that begins and "limit"
    at the first sample beyond `limit`. From `stale_at_s` on the sensor repeats its last value for `stale_s`,
    labelled "stale" at the first value that is not news, and "clean" when it lives again.
    """

    def __init__(
        self,
        *,
        rate_hz: float = 1.0,
        seed: int = 0,
        name: str = "SpO2",
        unit: str = "%",
        level: float = 97.0,
        noise: float = 0.25,
        step: float = 0.1,
        limit: float = 90.0,
        drift_at_s: float = np.inf,
        drift_per_minute: float = -2.0,
        stale_at_s: float = np.inf,
        stale_s: float = 60.0,
    ) -> None:
        """`noise` is the standard deviation about the level, `step` what the device rounds to.

        Raises ConfigError for what cannot be.
        """
        if not rate_hz > 0 or not noise >= 0 or not step > 0 or not stale_s > 0:
            raise ConfigError(
                f"vital sign: expected rate, step and stale time above 0, and noise of 0 or more, "
                f"got {rate_hz:g} Hz, step {step:g}, {stale_s:g} s and noise {noise:g}"
            )
        self.rate_hz, self.channels, self.unit = rate_hz, (name,), unit
        self._random = np.random.default_rng(np.random.SeedSequence(seed).spawn(1)[0])
        self._level, self._noise, self._step, self._limit = level, noise, step, limit
        self._drift_at, self._drift = drift_at_s * rate_hz, drift_per_minute / 60 / rate_hz
        self._stale_from = np.ceil(stale_at_s * rate_hz)
        self._stale_to = np.ceil((stale_at_s + stale_s) * rate_hz)
        self._slow = np.zeros(3)
        self._index = 0
        self._held = np.nan
        self._is_beyond = False

    def next(self, samples: int) -> tuple[Floats, list[tuple[int, str]]]:
        """The next `samples` values (time, 1), and the labels that begin among them."""
        values, labels = np.empty(samples), []
        for i in range(samples):  # a value a second: nothing here is worth being clever
            index = self._index + i
            # The level wanders (time constants of 10 and 60 samples) more than it jitters.
            self._slow = self._slow * (0.9, 0.983, 0.0) + self._random.standard_normal(3) * (0.3, 0.13, 0.4)
            value = self._level + self._noise * self._slow.sum()
            value += self._drift * max(index - self._drift_at, 0.0) if index > self._drift_at else 0.0
            value = round(value / self._step) * self._step
            if self._stale_from <= index < self._stale_to:
                value = self._held
            self._held = values[i] = value
            labels += self._labels_at(index, value)
        self._index += samples
        return values.astype(np.float32)[:, None], labels

    def _labels_at(self, index: int, value: float) -> list[tuple[int, str]]:
        names = []
        if index == np.ceil(self._drift_at):
            names.append("drift")
        falls = self._drift < 0
        beyond = index >= self._drift_at and (value < self._limit if falls else value > self._limit)
        if beyond and not self._is_beyond:
            self._is_beyond = True
            names.append("limit")
        if index == self._stale_from:
            names.append("stale")
        if index == self._stale_to:
            names.append("clean")
        return [(index, name) for name in names]
