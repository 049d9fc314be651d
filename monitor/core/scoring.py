"""From what a model returned to scores, for many streams at once.

Each scorer keeps one small state a slot and is stepped with rows of distinct slots, each stream's rows in
order of time. A row continues the one before it when segment and position say so; otherwise the slot starts
anew. While there is nothing to compare with, a score is NaN: warming up is a state, not a score of 0.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from monitor.core.blocks import Floats, Ints
from monitor.core.card import Card
from monitor.core.still import still
from monitor.core.trailing import Trailing

Doubles = NDArray[np.float64]
Bools = NDArray[np.bool_]


class Continuity:
    """Which rows follow directly on the row of the same slot before."""

    def __init__(self, capacity: int, hop: int) -> None:
        self._hop = hop
        self._segment = np.full(capacity, -1, np.int64)
        self._end = np.zeros(capacity, np.int64)

    def step(self, slots: Ints, segments: Ints, ends: Ints) -> Bools:
        """True where the slot's last row was of the same segment, one hop earlier; then remember these."""
        follows: Bools = (self._segment[slots] == segments) & (self._end[slots] + self._hop == ends)
        self._segment[slots], self._end[slots] = segments, ends
        return follows


class DeviationScorer:
    """How far what came lies from what was forecast one hop before.

    The raw score of a hop is the largest |value - forecast| over the hop's steps and channels, in half-widths of
    the forecast's interval; where the card has `score_steps`, the mean over so many. Half-widths are right on
    average over all streams; to be right for this one, the raw score is divided by its own running 95th
    percentile, tracked online (the quantile tracker of Gibbs & Candes, 2021, "Adaptive conformal inference under
    distribution shift"): a score of 1 is what this stream exceeds one hop in twenty. The tracker does not learn
    while `frozen`, though for a minute at most: a signal that has really changed must become the new usual.
    """

    QUANTILE = 0.95
    WARM_UP_HOPS = 40
    MAX_FROZEN_S = 60.0

    def __init__(self, card: Card, capacity: int) -> None:
        self._hop = min(card.hop_samples, card.horizon)
        shape = (capacity, self._hop, card.channels)
        self._mean = np.zeros(shape, np.float32)
        self._half = np.ones(shape, np.float32)
        self._last = np.zeros((capacity, card.channels), np.float32)
        self._usual = np.ones(capacity)
        self._hops = np.zeros(capacity, np.int64)
        self._frozen = np.zeros(capacity, np.int64)
        # A minute, or two windows of a series that is slower than that.
        self._max_frozen = max(self.MAX_FROZEN_S * card.rate_hz, 2 * card.window_samples) / card.hop_samples
        self._hops_a_score = max(round(card.score_steps / card.hop), 1)
        self._trailing = Trailing(capacity, self._hops_a_score) if card.score_steps else None
        # A mean distance changes slowly, and a quiet beginning would be believed for long: with errors that are
        # normal, and an interval that holds nine in ten of them, it is half a half-width.
        self._least_usual = 0.5 if card.score_steps else 1e-3
        self._error = np.zeros(capacity)
        self._error_of_persistence = np.zeros(capacity)

    def step(
        self, slots: Ints, follows: Bools, windows: Floats, outputs: dict[str, Floats], frozen: Bools
    ) -> Doubles:
        """Scores (n,) of the hop that ends each of `windows` (n, time, channel), then keep the new forecasts."""
        score = self._score(slots, follows, windows[:, -self._hop :])
        self._learn(slots, score, frozen)
        mean, lower, upper = (outputs[name][:, : self._hop] for name in ("forecast", "lower", "upper"))
        self._mean[slots] = mean
        self._half[slots] = np.maximum((upper - lower) / 2, 1e-6)
        self._last[slots] = windows[:, -1]
        scaled: Doubles = score / self._usual[slots]
        return np.where(self._hops[slots] >= self.WARM_UP_HOPS, scaled, np.nan)

    def _score(self, slots: Ints, follows: Bools, came: Floats) -> Doubles:
        error = came - self._mean[slots]
        decay = 1 - 1 / 500  # of the running errors behind the skill: some minutes of hops
        persistence = came - self._last[slots][:, None]
        for sums, squares in ((self._error, error), (self._error_of_persistence, persistence)):
            sums[slots] = np.where(follows, sums[slots] * decay + np.mean(squares**2, axis=(1, 2)), sums[slots])
        far = np.abs(error / self._half[slots]).astype(np.float64)
        if self._trailing is None:
            return np.where(follows, far.max(axis=(1, 2)), np.nan)
        return self._trailing.step(slots, np.where(follows, far.mean(axis=(1, 2)), np.nan))

    def _learn(self, slots: Ints, score: Doubles, frozen: Bools) -> None:
        self._frozen[slots] = np.where(frozen, self._frozen[slots] + 1, 0)
        learns = ~np.isnan(score) & (~frozen | (self._frozen[slots] > self._max_frozen))
        some, value = slots[learns], score[learns]
        usual, hops = self._usual[some], self._hops[some]
        first = np.where(hops == 0, np.maximum(value, self._least_usual), usual)
        # Large steps at first; scores that share most of what they rest on count as one.
        rate = np.maximum(0.02 / self._hops_a_score, 0.5 / (self._hops_a_score + hops / 4))
        self._usual[some] = first * np.exp(rate * ((value > first) - (1 - self.QUANTILE)))
        self._hops[some] = hops + 1

    def still(self) -> DeviationScorer:
        """One whose `calibration` stays as it is now."""
        return still(self, "_usual", "_hops", "_error", "_error_of_persistence")

    def calibration(self, slot: int) -> dict[str, float]:
        """What was learned of a stream; empty before anything was."""
        if not self._hops[slot]:
            return {}
        return {
            "usual": float(self._usual[slot]),
            "hops": float(self._hops[slot]),
            "error": float(self._error[slot]),
            "error_of_persistence": float(self._error_of_persistence[slot]),
        }

    def calibrate(self, slot: int, learned: Mapping[str, float]) -> None:
        """Go on with what `calibration` gave; what is missing or no number stays as it is."""
        for name, value in learned.items():
            array = {
                "usual": self._usual,
                "hops": self._hops,
                "error": self._error,
                "error_of_persistence": self._error_of_persistence,
            }.get(name)
            if array is not None and np.isfinite(value) and value >= 0:
                array[slot] = value

    def skill(self, slots: Ints) -> Doubles:
        """1 - (mean squared error) / (that of "stays as it is"), over the last minutes; NaN before any."""
        reference = self._error_of_persistence[slots]
        told = reference > 0
        return np.where(told, 1 - self._error[slots] / np.where(told, reference, 1.0), np.nan)
