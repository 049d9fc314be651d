"""Which column of dots stands for which time.

Columns are counted from time zero: each is a fixed piece of time, so a curve keeps its shape while it moves,
and sweeping is scrolling with the columns in another order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from monitor.core.blocks import NS
from monitor.dashboard.raster import Reals
from monitor.dashboard.scale import round_seconds, seconds_text

LEAST_AHEAD, MOST_AHEAD = 0.03, 0.35
"""Share of the width that is kept for what is to come."""
DOTS_A_TICK = 24
MAX_TICKS = 10

T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True)
class Timing:
    """Which dot column stands for which time."""

    columns: int
    column_ns: int
    history: int
    """Columns up to now; the rest is for what is to come."""
    head: int
    """The column of "now", counted from time zero."""
    sweeps: bool = False

    @classmethod
    def of(cls, columns: int, window_s: float, ahead_s: float, head_ns: int, *, sweeps: bool = False) -> Timing:
        """Show `window_s` before `head_ns` and up to `ahead_s` after it in so many dot columns."""
        share = min(max(ahead_s / (window_s + ahead_s), LEAST_AHEAD), MOST_AHEAD)
        history = max(columns - round(columns * share), 1)
        column_ns = max(round(window_s * NS / history), 1)
        return cls(columns, column_ns, history, head_ns // column_ns, sweeps)

    @property
    def first_ns(self) -> int:
        """Time at the left edge of the oldest column."""
        return (self.head - self.history + 1) * self.column_ns

    def position(self, times_ns: NDArray[np.int64]) -> Reals:
        """Times in columns after the oldest."""
        return (times_ns - self.first_ns) / self.column_ns

    def placed(self, by_age: NDArray[T]) -> NDArray[T]:
        """Columns from oldest to newest, put where they stand on the screen."""
        if not self.sweeps:
            return by_age
        return np.roll(by_age, (self.head - self.history + 1) % self.columns)

    def placed_column(self, age: int) -> int:
        """Where the column of that age stands on the screen."""
        return (self.head - self.history + 1 + age) % self.columns if self.sweeps else age

    @property
    def tick_s(self) -> float:
        """Seconds between the ticks of the time axis, a round number."""
        ticks = max(min(self.columns / DOTS_A_TICK, MAX_TICKS), 1)
        return round_seconds(0.99 * self.columns * self.column_ns / NS / ticks)  # columns are not quite exact

    def ticks(self) -> list[tuple[int, str]]:
        """Screen column and text of each round time: before and after now, or from the left edge in a sweep."""
        step = self.tick_s * NS / self.column_ns  # columns
        if self.sweeps:
            return [(round(i * step), seconds_text(i * self.tick_s)) for i in range(int(self.columns / step) + 1)]
        before, after = int((self.history - 1) / step), int((self.columns - self.history) / step)
        return [(self.history - 1 + round(i * step), _signed(i * self.tick_s)) for i in range(-before, after + 1)]


def _signed(seconds: float) -> str:
    if not seconds:
        return "now"
    return f"{'+' if seconds > 0 else '-'}{seconds_text(abs(seconds))}"
