"""Signals of many streams in which nothing happens, side by side, and a forecaster without a network for them.

Ten samples a second in hops of five, in units of the noise's usual size: what a budget of alarms must be kept on
for days of data time, which networks would take too long for. What is put in to be found is a burst of a second.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from monitor.core.blocks import Floats
from monitor.core.card import Card, KnownAnswer, Source, Tensor

Doubles = NDArray[np.float64]
Bools = NDArray[np.bool_]

RATE_HZ, HOP = 10.0, 5
HOP_S = HOP / RATE_HZ
BURST_HOPS = 2
KINDS = {
    "steady": "white noise",
    "drifting": "a level that wanders, noise whose size wanders by a fifth within ten minutes",
    "changing": "every two hours another level, ten times the noise away, and every two hours noise half as large "
    "again, or as small; each within a minute",
    "heavy-tailed": "noise after Student's t with 5 degrees of freedom",
}


def stand_in(name: str, window: int = HOP, hop: int = HOP, rate_hz: float = RATE_HZ, horizon: int = HOP) -> Card:
    """The card of a forecaster that is no network."""
    answer = KnownAnswer(Tensor.of(np.zeros((1, window, 1), np.float32)), {})
    return Card(
        name=name, version="1", task="forecast", cell="gru", layers=1, hidden=1, parameters=1, rate_hz=rate_hz,
        window=window, hop=hop, horizon=horizon, source=Source(name="none"), seed=0, made="", code="",
        known_answer=answer, coverage=0.9,
    )  # fmt: skip


class QuietSignals:
    """`streams` signals of one of KINDS, a hop at a time, with bursts where `bursts_per_hour` is above 0."""

    def __init__(self, kind: str, streams: int, seed: int, bursts_per_hour: float = 0.0) -> None:
        self._kind, self._n = kind, streams
        self._random = np.random.default_rng(seed)
        self._level, self._aim = np.zeros(streams), np.zeros(streams)
        self._loud, self._loud_aim = np.zeros(streams), np.zeros(streams)  # logarithms of the noise's size
        self._burst_chance = bursts_per_hour * HOP_S / 3600
        self._left = np.zeros(streams, np.int64)
        self._height = np.zeros(streams)

    def next(self) -> tuple[Doubles, Doubles]:
        """The next hop's samples (stream, time), and the height of the burst that begins in it (stream,), or 0."""
        random, n = self._random, self._n
        if self._kind == "drifting":
            decay = np.exp(-HOP_S / 600)
            self._loud = decay * self._loud + np.sqrt(1 - decay**2) * 0.2 * random.standard_normal(n)
            self._level = self._level + 0.02 * random.standard_normal(n)
        elif self._kind == "changing":
            changes, louder = random.random((2, n)) < HOP_S / 7200
            self._aim = np.where(changes, self._aim + 10 * random.choice([-1, 1], n), self._aim)
            self._loud_aim = np.where(louder, random.choice([-1, 0, 1], n) * np.log(1.5), self._loud_aim)
            step = HOP_S / 60
            self._level = self._level + np.clip(self._aim - self._level, -10 * step, 10 * step)
            self._loud = self._loud + np.clip(self._loud_aim - self._loud, -0.4 * step, 0.4 * step)
        shape = (n, HOP)
        noise = random.standard_t(5, shape) if self._kind == "heavy-tailed" else random.standard_normal(shape)
        size = np.exp(self._loud)
        begins = np.zeros(n)
        if self._burst_chance:
            new = (random.random(n) < self._burst_chance) & (self._left == 0)
            self._height = np.where(new, random.uniform(3, 8, n) * random.choice([-1, 1], n) * size, self._height)
            self._left = np.where(new, BURST_HOPS, np.maximum(self._left - 1, 0))
            begins = np.where(new, np.abs(self._height) / size, 0.0)
        values = (
            self._level[:, None] + noise * size[:, None] + np.where(self._left > 0, self._height, 0.0)[:, None]
        )
        return values, begins


class Follower:
    """Forecasts that what comes is the level of the last seconds, give or take the usual noise."""

    def __init__(self, streams: int) -> None:
        self._level = np.zeros(streams)

    def forecast(self, came: Doubles) -> dict[str, Floats]:
        """Outputs of a forecaster, after the hop `came` (stream, time)."""
        self._level = self._level + 0.1 * (came.mean(axis=1) - self._level)
        mean = np.repeat(self._level[:, None, None], HOP, axis=1).astype(np.float32)
        return {"forecast": mean, "lower": mean - 1.645, "upper": mean + 1.645}
