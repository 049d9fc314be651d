"""Early warning for a heart rate: whether it is out of its range, and whether its trend says that it will be.

The trend is the least-squares line through the rate after each of the last `WINDOW` beats. Hearts drift and come
back all the time, so a line alone cries wolf; it counts only by as much as it exceeds its usual error for this
stream: how far the rate lay, `HORIZON` beats later, from where the line had pointed. `QUANTILE` of the errors lie
below the usual one, tracked online (Gibbs & Candes 2021, "Adaptive conformal inference under distribution shift").
The rate is that of a median over eight intervals, which a premature or a missed beat does not move.

A score of 1 is the limit itself; it grows by 1 with each width of the range beyond it, or with each size of the
limit where that is less.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from monitor.core.blocks import Ints
from monitor.core.still import still

Doubles = NDArray[np.float64]

WINDOW = 48
"""Beats that the line goes through."""
HORIZON = 48
"""How many beats ahead it points."""
QUANTILE = 0.7
WARM_UP = 60
"""Errors that must be known before the line is believed: with window and horizon some two minutes."""
_SLOWEST = 0.01
"""How fast the usual error changes in the long run, a beat, as a share of itself."""
_LEAST_BPM = 1.0
"""No error is less: a rate is not known better."""

_NO_LIMIT = 1e9

_BEATS = np.arange(WINDOW) - (WINDOW - 1) / 2
_WEIGHTS = _BEATS / np.square(_BEATS).sum()


class RateOutlook:
    """The ranges, and the trends, of the heart rates of up to `capacity` streams."""

    def __init__(self, capacity: int) -> None:
        self._range_bpm = np.full((capacity, 2), np.nan)  # low, high
        # Of streams that have a range; nothing is known of others, and they take no memory here.
        self._rates = np.zeros((capacity, WINDOW))
        """After each of the last beats, the newest last."""
        self._pointed = np.zeros((capacity, HORIZON))
        """Where the line pointed at each of the last beats; that of beat i stands at i modulo HORIZON."""
        self._beat = np.zeros(capacity, np.int64)
        self._usual = np.zeros(capacity)
        self._learned = np.zeros(capacity, np.int64)
        self._slope = np.full(capacity, np.nan)
        """What is believed of the trend, in beats a minute a beat; NaN before anything is."""

    def limit(self, slot: int, low_bpm: float, high_bpm: float) -> None:
        """The stream in `slot` has a range its heart rate should keep to; NaN: it has none."""
        had_none = np.isnan(self._range_bpm[slot, 0])
        self._range_bpm[slot] = low_bpm, high_bpm
        if had_none:
            self.start(np.array([slot]))

    def watched(self, slots: Ints) -> Ints:
        """Rows of those of `slots` (n,) that have a range."""
        rows: Ints = np.flatnonzero(~np.isnan(self._range_bpm[slots, 0]))
        return rows

    def start(self, slots: Ints) -> None:
        """Begin anew: nothing is known of the beats before. What is usual stays so."""
        slots = slots[self.watched(slots)]
        self._rates[slots] = self._pointed[slots] = self._slope[slots] = np.nan

    def note(self, slots: Ints, rate_bpm: Doubles) -> None:
        """A beat of each of distinct streams, and the heart rate (n,) with it; NaN while that is not known."""
        at = self._beat[slots] % HORIZON
        self._learn(slots, np.abs(rate_bpm - self._pointed[slots, at]))
        self._rates[slots] = np.concatenate((self._rates[slots, 1:], rate_bpm[:, None]), axis=1)
        slope = self._rates[slots] @ _WEIGHTS  # NaN until the window is full
        self._pointed[slots, at] = rate_bpm + HORIZON * slope
        self._beat[slots] += 1
        sure = np.copysign(np.maximum(np.abs(slope) - self._usual[slots] / HORIZON, 0.0), slope)
        self._slope[slots] = np.where(self._learned[slots] >= WARM_UP, sure, np.nan)

    def _learn(self, slots: Ints, error: Doubles) -> None:
        known = ~np.isnan(error)
        some, error = slots[known], np.maximum(error[known], _LEAST_BPM)
        count = self._learned[some]
        usual = np.where(count == 0, error, self._usual[some])
        rate = np.maximum(_SLOWEST, 0.5 / (1 + count / 4))  # large steps at first
        self._usual[some] = usual * np.exp(rate * ((error > usual) - (1 - QUANTILE)))
        self._learned[some] = count + 1

    def look(self, slots: Ints, rate_bpm: Doubles) -> Doubles:
        """Scores (n, 2) of the heart rates (n,) now, and ahead; NaN where nothing is known.

        That ahead is 0 while the rate itself is out of its range: it is no warning any more.
        """
        low, high = self._range_bpm[slots].T
        now = _score(rate_bpm, low, high)
        ahead = _score(rate_bpm + HORIZON * self._slope[slots], low, high)
        return np.stack((now, np.where(now >= 1, 0.0, ahead)), axis=1)

    def said(self, slot: int, rate_bpm: float, *, is_ahead: bool) -> str:
        """A limit in words: of what is now, or of what is ahead."""
        low, high = self._range_bpm[slot].tolist()
        slope = float(self._slope[slot])
        is_below = slope < 0 if is_ahead else rate_bpm < low
        limit = low if is_below else high
        text = f"heart rate {'below' if is_below else 'above'} {limit:g} bpm"
        if not is_ahead:
            return text
        beats = (limit - rate_bpm) / slope
        return f"{text} in {beats * 120 / (limit + rate_bpm):.2g} s"  # on the way the rate is the mean of both

    def still(self) -> RateOutlook:
        """One whose `calibration` stays as it is now."""
        return still(self, "_usual", "_learned")

    def calibration(self, slot: int) -> dict[str, float]:
        """What was learned of a stream; empty before anything was."""
        if not self._learned[slot]:
            return {}
        return {"rate_error": float(self._usual[slot]), "rate_errors": float(self._learned[slot])}

    def calibrate(self, slot: int, learned: Mapping[str, float]) -> None:
        """Go on with what `calibration` gave; what is missing or no number is left."""
        usual, count = learned.get("rate_error", np.nan), learned.get("rate_errors", np.nan)
        if np.isfinite([usual, count]).all() and usual > 0 and count > 0:
            self._usual[slot], self._learned[slot] = usual, count


def _score(rate_bpm: Doubles, low: Doubles, high: Doubles) -> Doubles:
    """See the module's last lines; a side that is infinite is no limit."""
    width = high - low
    below = (low - rate_bpm) / np.clip(np.minimum(np.abs(low), width), 1.0, _NO_LIMIT)
    above = (rate_bpm - high) / np.clip(np.minimum(np.abs(high), width), 1.0, _NO_LIMIT)
    score: Doubles = np.maximum(1 + np.maximum(below, above), 0.0)
    return score
