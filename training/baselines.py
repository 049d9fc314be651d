"""Forecasts without a network, to be beaten: persistence, season, autoregression, a fitted sinusoid.

Each takes histories (batch, time) of one channel and gives the next `horizon` values (batch, horizon).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from monitor.core.errors import ConfigError

Array = NDArray[np.float64]


def persistence(histories: ArrayLike, horizon: int) -> Array:
    """The last value, again and again."""
    last = np.asarray(histories, float)[:, -1:]  # (batch, 1)
    return np.repeat(last, horizon, axis=1)


def seasonal(histories: ArrayLike, horizon: int, period: int) -> Array:
    """The last period, again and again; the histories must hold one."""
    past = np.asarray(histories, float)  # (batch, time)
    if not 1 <= period <= past.shape[1]:
        raise ConfigError(f"seasonal: expected a period of 1 to {past.shape[1]} samples, got {period}")
    return past[:, past.shape[1] - period + np.arange(horizon) % period]


@dataclass(frozen=True)
class Autoregression:
    """x[t] = constant + sum of weights[k] * x[t - 1 - k], run on over its own output for more than one step."""

    constant: float
    weights: Array
    """(order,), that of the newest value first."""

    @property
    def order(self) -> int:
        """How many values it looks back."""
        return len(self.weights)

    def forecast(self, histories: ArrayLike, horizon: int = 1) -> Array:
        """The next `horizon` values (batch, horizon) of histories of at least `order` values."""
        past = np.asarray(histories, float)
        if past.shape[1] < self.order:
            raise ConfigError(
                f"autoregression: expected histories of {self.order} or more values, got {past.shape[1]}"
            )
        values = np.concatenate([past[:, past.shape[1] - self.order :], np.zeros((len(past), horizon))], axis=1)
        backwards = self.weights[::-1]  # (order,), oldest first
        for step in range(horizon):
            values[:, self.order + step] = self.constant + values[:, step : step + self.order] @ backwards
        return values[:, self.order :]


def fit_autoregression(series: ArrayLike, order: int) -> Autoregression:
    """Least squares over all stretches of `series` (time,) of `order` + 1 values."""
    values = np.asarray(series, float)
    if order < 1 or len(values) < 2 * order + 2:
        raise ConfigError(
            "autoregression: expected an order of 1 or more and a series at least twice as long, "
            f"got order {order} and {len(values)} values"
        )
    stretches = sliding_window_view(values, order + 1)  # (time - order, order + 1), oldest first
    design = np.column_stack([np.ones(len(stretches)), stretches[:, -2::-1]])  # newest first
    solution = np.linalg.lstsq(design, stretches[:, -1], rcond=None)[0]
    return Autoregression(float(solution[0]), solution[1:])


@dataclass(frozen=True)
class Sinusoid:
    """offset + sine * sin(w t) + cosine * cos(w t), t counting samples from the start of the fitted series."""

    radians_per_sample: float
    sine: float
    cosine: float
    offset: float

    def __call__(self, index: ArrayLike) -> Array:
        """The values at the samples `index`."""
        phase = self.radians_per_sample * np.asarray(index, float)
        found: Array = self.offset + self.sine * np.sin(phase) + self.cosine * np.cos(phase)
        return found


def fit_sinusoid(series: ArrayLike) -> Sinusoid:
    """The sinusoid nearest to `series` (time,) in squares: the periodogram's peak, then finer and finer grids.

    For one sinusoid in white noise that is the maximum-likelihood estimate (Rife & Boorstyn 1974).
    """
    values = np.asarray(series, float)
    samples = len(values)
    if samples < 8 or not np.ptp(values) > 0:
        raise ConfigError(f"sinusoid: expected 8 or more values that differ, got {samples}")
    spectrum = np.abs(np.fft.rfft(values - values.mean()))
    bin_width = 2 * np.pi / samples
    best = bin_width * max(int(spectrum[1:].argmax()) + 1, 1)
    reach = bin_width
    for _ in range(8):
        grid = np.linspace(max(best - reach, bin_width / 4), min(best + reach, np.pi), 21)
        best = float(min(grid, key=lambda w: _sinusoid_at(values, w)[1]))
        reach /= 8
    (sine, cosine, offset), _ = _sinusoid_at(values, best)
    return Sinusoid(best, float(sine), float(cosine), float(offset))


def _sinusoid_at(values: Array, radians_per_sample: float) -> tuple[Array, float]:
    """Sine, cosine and offset of the best fit at one frequency, and the squares it leaves."""
    phase = radians_per_sample * np.arange(len(values))
    design = np.column_stack([np.sin(phase), np.cos(phase), np.ones(len(values))])
    solution = np.linalg.lstsq(design, values, rcond=None)[0]
    return solution, float(np.square(values - design @ solution).sum())
