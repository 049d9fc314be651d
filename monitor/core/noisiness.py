"""Whether a window holds too much noise for what is found in it to be believed.

Five figures of a window, only the last of which depends on its scale (windows come with a running gain of 1):
the median step between samples; the excess of rare high peaks (kurtosis; Li, Mark & Clifford 2008, "Robust
heart rate estimation from multiple asynchronous noisy sources using signal quality indices and a Kalman
filter"); mobility and complexity (Hjorth 1970, "EEG analysis based on time domain properties"); and the range.
A logistic regression in the model's card, learned from recordings with noise mixed in, makes of them how likely
it is that beats found there are wrong or missing.
"""

from __future__ import annotations

import numpy as np

from monitor.core.blocks import Floats, Ints
from monitor.core.card import Card, Noisiness
from monitor.core.scoring import Bools, Doubles

FIGURES = ("median step", "kurtosis", "mobility", "complexity", "range")
EVERY_S = 0.5
"""How often a stream's window is looked at."""
KEEP = 0.5
"""Of what was thought half a second before: a beat that looks odd makes no noise."""
CALM = 1.0
"""Log odds below the level at which it is over."""
_TINY = 1e-9


def figures(windows: Floats) -> Doubles:
    """The logarithms of FIGURES (n, 5) of windows (n, time) of at least four samples."""
    x = windows.astype(np.float64)
    steps = np.diff(x, axis=1)
    bends = np.diff(steps, axis=1)
    span = np.ptp(x, axis=1) + _TINY
    x = x - x.mean(axis=1, keepdims=True)
    power, speed, jerk = ((part**2).mean(axis=1) + _TINY for part in (x, steps, bends))
    mobility = np.sqrt(speed / power)
    found: Doubles = np.log(
        np.stack(
            (
                np.median(np.abs(steps), axis=1) / span + _TINY,
                (x**4).mean(axis=1) / power**2 + _TINY,
                mobility,
                np.sqrt(jerk / speed) / mobility,
                span,
            ),
            axis=1,
        )
    )
    return found


def log_odds(noise: Noisiness, windows: Floats) -> Doubles:
    """How likely (n,) it is that what is found in windows (n, time) is wrong, as log odds."""
    odds: Doubles = figures(windows) @ np.array(noise.weights) + noise.bias
    return odds


class NoiseMeter:
    """The noise of up to `capacity` streams, window by window."""

    def __init__(self, card: Card, noise: Noisiness, capacity: int) -> None:
        self._noise = noise
        self._turn = max(round(EVERY_S * card.rate_hz / card.hop_samples), 1)
        self._hop = card.hop_samples
        self._level = float(np.log(noise.level / (1 - noise.level)))
        self._odds = np.full(capacity, np.nan)
        self._is_noisy = np.zeros(capacity, np.bool_)

    def step(self, slots: Ints, follows: Bools, ends: Ints, windows: Floats) -> tuple[Doubles, Bools]:
        """Rows of distinct streams: probability of too much noise (n,), NaN while unknown; and whether it is."""
        broken = slots[~follows]
        self._odds[broken], self._is_noisy[broken] = np.nan, False
        due = np.flatnonzero(((ends // self._hop) % self._turn == 0) & (ends >= windows.shape[1]))
        if len(due):
            ids = slots[due]
            odds, before = log_odds(self._noise, windows[due, :, 0]), self._odds[ids]
            odds = np.where(np.isnan(before), odds, KEEP * before + (1 - KEEP) * odds)
            self._odds[ids] = odds
            self._is_noisy[ids] = odds >= np.where(self._is_noisy[ids], self._level - CALM, self._level)
        probability: Doubles = 1 / (1 + np.exp(-self._odds[slots]))
        noisy: Bools = self._is_noisy[slots]
        return probability, noisy
