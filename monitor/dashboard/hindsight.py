"""Forecasts whose time has come, and how good they were: one after the other, without overlap.

The same rules as in `state`: no clock, no I/O, bounded, data times only.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from monitor.core.blocks import NS, Floats, Forecast, Ints
from monitor.dashboard.trace import Trace

MAX_GHOSTS = 256
LOST_S = 60.0
"""A forecast so far ahead of the newest sample belongs to a time that the stream has left."""


@dataclass(frozen=True)
class Ghost:
    """A forecast whose time has come: what it said, and how far off it was."""

    times_ns: Ints
    mean: Floats
    error: float
    """Mean absolute error."""
    squared: float
    persistence: float
    """Mean squared errors of the forecast, and of saying "it stays as it is"."""
    inside: float
    """Share of what came that lay inside the interval."""
    model: str = ""


class Skill(NamedTuple):
    """How good forecasts were."""

    error: float = math.nan
    """Mean absolute error, in the stream's unit."""
    against_persistence: float = math.nan
    """1 - (mean squared error) / (that of "it stays as it is")."""
    inside: float = math.nan
    """Share of what came that lay inside the interval."""


class Hindsight:
    """Keeps a forecast until what it spoke of has come, then compares, then keeps the next."""

    def __init__(self) -> None:
        self.ghosts: deque[Ghost] = deque(maxlen=MAX_GHOSTS)
        self._pending: Forecast | None = None

    def take(self, forecast: Forecast) -> None:
        """There is a new forecast."""
        self._pending = self._pending or forecast

    def settle(self, trace: Trace) -> None:
        """There are new samples."""
        pending = self._pending
        if pending is None:
            return
        steps, channels = pending.mean.shape
        period_ns = NS / pending.rate_hz
        if trace.newest_ns < pending.made_ns + steps * period_ns:
            if trace.newest_ns < pending.made_ns - LOST_S * NS:
                self._pending = None
            return
        self._pending = None
        times = pending.made_ns + np.rint(np.arange(steps + 1) * period_ns).astype(np.int64)
        came = trace.at(times)[:, :channels].astype(np.float64)
        if came.shape[1] != channels or not np.isfinite(came[0]).all():
            return
        off, stays = came[1:] - pending.mean, came[1:] - came[0]
        if not np.isfinite(off).any():
            return
        inside = (came[1:] >= pending.lower) & (came[1:] <= pending.upper)
        self.ghosts.append(
            Ghost(
                times[1:],
                pending.mean,
                float(np.nanmean(np.abs(off))),
                float(np.nanmean(off**2)),
                float(np.nanmean(stays**2)),
                float(inside.mean()),
                pending.model,
            )
        )

    def skill(self, since_ns: int) -> Skill:
        """How good the forecasts were whose time came since; NaN where there were none."""
        recent = [ghost for ghost in self.ghosts if ghost.times_ns[-1] >= since_ns]
        if not recent:
            return Skill()
        stays = sum(ghost.persistence for ghost in recent)
        return Skill(
            sum(ghost.error for ghost in recent) / len(recent),
            1 - sum(ghost.squared for ghost in recent) / stays if stays > 0 else math.nan,
            sum(ghost.inside for ghost in recent) / len(recent),
        )

    def copy(self) -> Hindsight:
        """The same, which later messages do not change."""
        twin = Hindsight()
        twin.ghosts = self.ghosts.copy()
        return twin
