"""How much of a signal fits on the screen: time bases, gain that adapts in steps, round numbers for ticks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from monitor.core.blocks import NS

TIME_BASES_S = (
    0.5, 1, 2, 3, 4, 6, 8, 10, 15, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200,
    21600, 43200, 86400, 172_800, 604_800, 2_592_000,
)  # fmt: skip
PREFERRED_S = 6
PREFERRED_SAMPLES = 240
"""A slow stream shows at least about so many samples by default."""

GAIN_STEP = math.sqrt(2)
MAX_GAIN_STEPS = 12
MARGIN = 0.06
"""Share of the range kept free above and below the signal."""
TOO_SMALL = 0.45
"""Share of the range below which a signal is enlarged."""
PATIENCE_S = 2.0
"""How long a signal must be too small before it is enlarged: a pause between beats is not."""


def default_time_base(rate_hz: float) -> int:
    """Index of the time base a stream of this rate starts with."""
    wanted = max(PREFERRED_S, PREFERRED_SAMPLES / rate_hz) if rate_hz > 0 else PREFERRED_S
    return next((i for i, s in enumerate(TIME_BASES_S) if s >= wanted * 0.99), len(TIME_BASES_S) - 1)


def time_base_s(rate_hz: float, steps: int) -> float:
    """Seconds shown before now, `steps` away from the default."""
    return TIME_BASES_S[min(max(default_time_base(rate_hz) + steps, 0), len(TIME_BASES_S) - 1)]


def round_step(least: float) -> float:
    """The smallest of 1, 2, 5 x 10^n that is at least `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(step * power for step in (1.0, 2.0, 5.0, 10.0) if step * power >= least * (1 - 1e-9))


def round_seconds(least: float) -> float:
    """A step of time that is at least `least`: 1, 2, 5 x 10^n below a minute, whole minutes and hours above."""
    if least <= 30:
        return round_step(least)
    known = (60, 120, 300, 600, 1200, 1800, 3600, 7200, 10_800, 21_600, 43_200)
    return next((s for s in known if s >= least), 86_400 * round_step(least / 86_400))


def seconds_text(seconds: float) -> str:
    """A span of time, short: "0.5 s", "10 min", "2 h"."""
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if abs(seconds) >= 2 * size or (abs(seconds) >= size and seconds % size == 0):
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def number_text(value: float, places: int = 3) -> str:
    """A value in as few characters as `places` significant digits need."""
    if not math.isfinite(value):
        return "--"
    if value and not 1e-3 <= abs(value) < 10 ** (places + 2):
        return f"{value:.1e}".replace("e-0", "e-").replace("e+0", "e")
    decimals = places - 1 - math.floor(math.log10(abs(value))) if value else 0
    return f"{value:.{max(decimals, 0)}f}"


@dataclass(frozen=True)
class Range:
    """What a lane shows from its bottom to its top edge."""

    bottom: float
    top: float

    @property
    def span(self) -> float:
        """Top less bottom, above zero."""
        return self.top - self.bottom

    def zoomed(self, steps: int) -> Range:
        """Enlarged by `steps` of GAIN_STEP around the middle."""
        middle, half = (self.top + self.bottom) / 2, self.span / 2 * GAIN_STEP**-steps
        return Range(middle - half, middle + half)

    def lines(self, at_most: int) -> Iterator[float]:
        """Round values inside, to draw lines at."""
        step = round_step(self.span / max(at_most, 1))
        first, last = math.ceil(self.bottom / step - 1e-9), math.floor(self.top / step + 1e-9)
        yield from (i * step for i in range(first, last + 1))


class AutoRange:
    """The range of one lane: it grows at once, shrinks only after a while, and moves in round steps."""

    def __init__(self) -> None:
        self.range = Range(-1.0, 1.0)
        self._since_ns: int | None = None
        self._is_set = False

    def fit(self, low: float, high: float, now_ns: int) -> Range:
        """The range to show for a signal between `low` and `high`, at data time `now_ns`."""
        if not (math.isfinite(low) and math.isfinite(high)):
            return self.range
        fits = self.range.bottom <= low and high <= self.range.top
        if self._is_set and fits:
            if high - low >= TOO_SMALL * self.range.span or self._rounded(low, high) == self.range:
                self._since_ns = None
                return self.range
            if self._since_ns is None or now_ns < self._since_ns:
                self._since_ns = now_ns
            if now_ns - self._since_ns < PATIENCE_S * NS:
                return self.range
        self.range, self._since_ns, self._is_set = self._rounded(low, high), None, True
        return self.range

    @staticmethod
    def _rounded(low: float, high: float) -> Range:
        span = high - low
        if span <= 1e-6 * max(abs(low), abs(high)):
            span = max(abs(high), abs(low)) * 0.2 or 2.0
            low, high = low - span / 2, high + span / 2
        pad, step = span * MARGIN, round_step(span / 8)
        return Range(math.floor((low - pad) / step) * step, math.ceil((high + pad) / step) * step)
