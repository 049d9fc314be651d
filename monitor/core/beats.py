"""Beats from what a beat model says at each step: where they are, what they are, and how fast they come.

The first tier of the model gives, at each step, the probability that a beat stands `delay` steps ago. `Picker`
turns that track into beats. Where the card names a second tier, it takes whatever might be a beat, and
`SecondTier` decides, from the beats before, whether it is one and of which class.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from monitor.core.blocks import NS, Floats, Ints
from monitor.core.card import Card
from monitor.core.medians import median
from monitor.core.rhythm import AFTER, BEFORE, Recent, Surroundings
from monitor.core.scoring import Bools, Doubles

Ask = Callable[[Floats], Floats]
"""The second tier's network: windows of rows (n, beat, feature) -> probabilities (n, class + 1), the last of "no
beat"."""

_NEVER_NS = -(2**62)


class Picked(NamedTuple):
    """What might be beats, in rows of distinct streams."""

    rows: Ints
    """(k,) which row tells of it."""
    when: Ints
    """(k,) its time in ns."""
    probabilities: Doubles
    """(k, class) averaged over the maximum and its two neighbours."""
    heat: Doubles
    """(k,) the maximum."""

    def some(self, which: Ints) -> Picked:
        """Some of these."""
        return Picked(self.rows[which], self.when[which], self.probabilities[which], self.heat[which])


class BeatPicker:
    """Local maxima of the track of beat probabilities, above a level and a refractory time apart.

    A beat is told one step after its maximum; its time is refined by a parabola through it and its neighbours.
    For a second tier the level is low, and what comes within the refractory time of a lesser candidate is one too.
    """

    REFRACTORY_S = 0.2
    CLEARLY = 0.15
    """By how much a candidate must be the more probable one, to be told soon after another."""

    def __init__(self, card: Card, capacity: int) -> None:
        self._level = card.second.candidate_level if card.second else card.beat_level
        self._clearly = self.CLEARLY if card.second else np.inf
        self._step_ns = 1e9 * card.samples_per_step / card.rate_hz
        # From the last sample of a window to the middle of the step that its output speaks of.
        self.delay_ns = (card.delay + 0.5) * self._step_ns - 0.5e9 / card.rate_hz
        self._heat = np.zeros((capacity, 2))  # of the two rows before, the older first
        self._class = np.zeros((capacity, 2, len(card.classes)))
        self._known = np.zeros(capacity, np.int64)
        self._picked_ns = np.full(capacity, _NEVER_NS)
        self._picked_heat = np.zeros(capacity)

    def step(self, slots: Ints, follows: Bools, t_ns: Ints, outputs: dict[str, Floats]) -> Picked:
        """What these rows tell of; a row that does not follow on its stream's last begins anew."""
        heat, classes = outputs["beat"][:, 0].astype(np.float64), outputs["probabilities"].astype(np.float64)
        broken = slots[~follows]
        self._known[broken] = 0
        self._picked_ns[broken] = _NEVER_NS
        older, newer = self._heat[slots, 0], self._heat[slots, 1]
        is_peak = (newer >= self._level) & (newer > older) & (newer >= heat) & (self._known[slots] >= 2)
        rows = np.flatnonzero(is_peak)
        bend = older[rows] - 2 * newer[rows] + heat[rows]
        shift = np.where(bend < 0, 0.5 * (older[rows] - heat[rows]) / np.minimum(bend, -1e-9), 0.0)
        when = t_ns[rows] - (self.delay_ns + (1 - shift) * self._step_ns).astype(np.int64)
        apart = when - self._picked_ns[slots[rows]] >= self.REFRACTORY_S * 1e9
        apart |= newer[rows] > self._picked_heat[slots[rows]] + self._clearly
        rows, when = rows[apart], when[apart]
        probabilities = (self._class[slots[rows]].sum(axis=1) + classes[rows]) / 3
        self._heat[slots, 0], self._heat[slots, 1] = newer, heat
        self._class[slots, 0], self._class[slots, 1] = self._class[slots, 1], classes
        self._known[slots] += 1
        self._picked_ns[slots[rows]], self._picked_heat[slots[rows]] = when, newer[rows]
        return Picked(rows, when, probabilities, newer[rows])


class Pulse:
    """RR intervals and heart rate of up to `capacity` streams, from the beats that were told."""

    def __init__(self, capacity: int) -> None:
        self._beat_ns = np.full(capacity, _NEVER_NS)
        self._rr_s = np.full((capacity, 8), np.nan)
        self._median_s = np.full(capacity, np.nan)
        """Of the intervals; it changes with a beat, and is asked for at every step."""

    def start(self, slots: Ints) -> None:
        """Begin anew: nothing is known of what came before."""
        self._beat_ns[slots] = _NEVER_NS
        self._rr_s[slots] = self._median_s[slots] = np.nan

    def note(self, slots: Ints, when: Ints) -> None:
        """Beats of distinct streams, at `when` (n,) in ns."""
        before = self._beat_ns[slots]
        rr_s = np.where(before > _NEVER_NS, (when - before) / 1e9, np.nan)
        self._rr_s[slots] = np.concatenate((self._rr_s[slots, 1:], rr_s[:, None]), axis=1)
        self._beat_ns[slots] = when
        self._median_s[slots] = median(self._rr_s[slots])

    def is_settled(self, slots: Ints) -> Bools:
        """Whether as many intervals of each stream are known as its rate may rest on."""
        settled: Bools = ~np.isnan(self._rr_s[slots, 0])
        return settled

    def rr_s(self, slot: int) -> float:
        """Seconds between the last two beats; NaN while there are none."""
        return float(self._rr_s[slot, -1])

    def rate_bpm(self, slots: Ints, now_ns: NDArray[Any]) -> Doubles:
        """Heart rate (n,) when all beats up to `now_ns` (n,) are known.

        60 over the median of the last eight RR intervals, sinking once a beat stays away.
        """
        median = self._median_s[slots]
        waited_s = (now_ns - self._beat_ns[slots]) / 1e9
        rate: Doubles = 60 / np.where(waited_s > 2 * median, waited_s, median)  # NaN where there is no median
        return rate


class SecondTier:
    """Whether what was picked is a beat, and what it is among the beats before it."""

    def __init__(self, card: Card, capacity: int, ask: Ask) -> None:
        if card.second is None:
            raise ValueError(f"{card.ident} has no second tier")
        self._rate_hz, self._ask = card.rate_hz, ask
        self._surroundings = Surroundings(capacity, len(card.classes))
        self._recent = Recent(card.second.window, capacity)

    def start(self, slots: Ints) -> None:
        """Begin anew: a gap lies between these streams' last beats and their next ones."""
        self._surroundings.start(slots)
        self._recent.start(slots)

    def rows(self, slots: Ints, picked: Picked, t_ns: Ints, windows: Floats) -> Floats:
        """What each of `picked` is asked by (k, FEATURES).

        `slots` (n,), `t_ns` (n,) and `windows` (n, time, channel) are of all the rows it was picked from.
        """
        mine = slots[picked.rows]
        place = windows.shape[1] - 1 - np.rint((t_ns[picked.rows] - picked.when) * self._rate_hz / NS).astype(int)
        around = place[:, None] + np.arange(-BEFORE, AFTER)
        shapes = windows[picked.rows[:, None], around, 0]
        return self._surroundings.step(mine, picked.when, shapes, picked.probabilities, picked.heat)

    def step(self, slots: Ints, picked: Picked, t_ns: Ints, windows: Floats) -> Floats:
        """Probabilities (k, class + 1) of what was picked, the last one of "no beat"; see `rows`."""
        if not len(picked.rows):
            return np.zeros((0, 1), np.float32)
        return self._ask(self._recent.push(slots[picked.rows], self.rows(slots, picked, t_ns, windows)))
