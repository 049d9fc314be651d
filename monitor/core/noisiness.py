"""Whether a window holds too much noise for what is found in it to be believed.

Six figures of a stream: of its window, the median step between samples; the excess of rare high peaks
(kurtosis; Li, Mark & Clifford 2008, "Robust heart rate estimation from multiple asynchronous noisy sources
using signal quality indices and a Kalman filter"); mobility and complexity (Hjorth 1970, "EEG analysis based on
time domain properties"); the range, where a running gain makes 1 usual; and the model's own doubt about what it
lately took for a beat, or did not. A logistic regression in the model's card, learned from recordings with
noise mixed in, makes of them how likely it is that beats found now are wrong or missing.
"""

from __future__ import annotations

import numpy as np

from monitor.core.blocks import Floats, Ints
from monitor.core.card import Card, Noisiness
from monitor.core.medians import median
from monitor.core.scoring import Bools, Doubles

FIGURES = ("median step", "kurtosis", "mobility", "complexity", "range", "doubt")
EVERY_S = 0.5
"""How often a stream's window is looked at."""
KEEP = 0.25
"""Of what was thought half a second before: a beat that looks odd makes no noise."""
DOUBTS = 0.25
"""Weight of the newest candidate in the mean doubt."""
CALM = 1.0
"""Log odds below the level at which it is over."""
_TINY = 1e-9


def figures(windows: Floats, doubt: Doubles) -> Doubles:
    """FIGURES (n, 6) of windows (n, time) of at least four samples, all but the last as logarithms."""
    x = windows.astype(np.float64)  # (n, time)
    steps = np.diff(x, axis=1)
    bends = np.diff(steps, axis=1)
    span = np.ptp(x, axis=1) + _TINY
    x = x - x.mean(axis=1, keepdims=True)
    squares = x * x
    power, speed, jerk = (part.mean(axis=1) + _TINY for part in (squares, steps * steps, bends * bends))
    mobility = np.sqrt(speed / power)
    shape = (
        median(np.abs(steps)) / span + _TINY,
        (squares * squares).mean(axis=1) / power**2 + _TINY,
        mobility,
        np.sqrt(jerk / speed) / mobility,
        span,
    )
    return np.concatenate((np.log(np.stack(shape, axis=1)), doubt[:, None]), axis=1)


def doubt_of(probability: Doubles) -> Doubles:
    """How much a model doubts what it says: 0 where it is sure, 0.5 where it might as well toss a coin."""
    doubt: Doubles = np.minimum(probability, 1 - probability)
    return doubt


class NoiseMeter:
    """The noise of up to `capacity` streams, window by window."""

    def __init__(self, card: Card, noise: Noisiness, capacity: int) -> None:
        self._weights, self._bias = np.array(noise.weights), noise.bias
        self.turn = max(round(EVERY_S * card.rate_hz / card.hop_samples), 1)
        """Hops from one look at a stream's window to the next: in so many it changes its mind once at most."""
        self._hop = card.hop_samples
        self._level = float(np.log(noise.level / (1 - noise.level)))
        self._odds = np.full(capacity, np.nan)
        self._doubt = np.full(capacity, np.nan)
        self._is_noisy = np.zeros(capacity, np.bool_)

    def is_on(self, slots: Ints) -> Bools:
        """Whether each stream was noisy when it was last looked at."""
        noisy: Bools = self._is_noisy[slots]
        return noisy

    def note(self, slots: Ints, probability: Doubles) -> None:
        """What was taken for a beat of distinct streams with this `probability` (n,), or was not."""
        doubt, before = doubt_of(probability), self._doubt[slots]
        self._doubt[slots] = np.where(np.isnan(before), doubt, before + DOUBTS * (doubt - before))

    def step(self, slots: Ints, follows: Bools, ends: Ints, windows: Floats) -> tuple[Doubles, Bools, Bools]:
        """Rows (n,) of distinct streams: probability of noise or NaN; whether it is on; has just ended."""
        broken = slots[~follows]
        self._odds[broken] = self._doubt[broken] = np.nan
        was = self._is_noisy[slots]
        self._is_noisy[broken] = False
        known = (ends >= windows.shape[1]) & ~np.isnan(self._doubt[slots])
        due = np.flatnonzero(((ends // self._hop) % self.turn == 0) & known)
        if len(due):
            ids = slots[due]
            odds = figures(windows[due, :, 0], self._doubt[ids]) @ self._weights + self._bias
            before = self._odds[ids]
            odds = np.where(np.isnan(before), odds, KEEP * before + (1 - KEEP) * odds)
            self._odds[ids] = odds
            self._is_noisy[ids] = odds >= np.where(self._is_noisy[ids], self._level - CALM, self._level)
        probability: Doubles = 1 / (1 + np.exp(-self._odds[slots]))
        noisy: Bools = self._is_noisy[slots]
        return probability, noisy, was & ~noisy
