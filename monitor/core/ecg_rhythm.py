"""When a simulated heart beats, and of which kind each beat is.

RR intervals have the two peaks of their spectrum that McSharry et al. 2003 give them: respiration near 0.25 Hz and
the Mayer waves near 0.1 Hz, about a pace that may change. Into that sinus rhythm come premature beats, and
episodes to order: bigeminy, a run of ventricular tachycardia, a pause. Labels are PhysioNet's: a symbol at each
beat (N, V, A), and the name of a rhythm in brackets where it begins.

Rules of the file:
- A ventricular premature beat leaves the sinus node alone: the pause after it is compensatory. A supraventricular
  one resets it.
- The seed alone decides what comes; how far ahead somebody asks does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]

Pace = float | Sequence[tuple[float, float]]
"""Beats a minute; or points (seconds, beats a minute) with straight lines between, level before and after."""
RhythmKind = Literal["bigeminy", "run", "pause"]
FaultKind = Literal["lead-off", "flat", "saturation", "noise", "gap"]
RHYTHMS: tuple[RhythmKind, ...] = ("bigeminy", "run", "pause")
FAULTS: tuple[FaultKind, ...] = ("lead-off", "flat", "saturation", "noise", "gap")

SINUS, BIGEMINY, TACHYCARDIA, PAUSE = "(N", "(B", "(VT", "pause"

_RUN_S = (0.33, 0.40)  # RR intervals of a ventricular tachycardia: 150 to 180 beats a minute
_COUPLING_V = (0.58, 0.74)  # of the usual RR interval
_COUPLING_A = (0.60, 0.78)


class Episode(msgspec.Struct, frozen=True):
    """Something that shall happen at a given time: a rhythm, or a fault of the signal."""

    kind: RhythmKind | FaultKind
    at_s: float
    for_s: float


class PlannedBeat(NamedTuple):
    """One beat to come."""

    t_s: float
    """Of its R peak."""
    symbol: str
    cycle_s: float
    """The RR interval it is shaped by."""


def points_of(pace: Pace) -> tuple[Doubles, Doubles]:
    """The times (n,) in s, and the beats a minute (n,) at them."""
    points = ((0.0, pace),) if isinstance(pace, int | float) else tuple(pace)
    at_s, bpm = np.array(points, np.float64).reshape(-1, 2).T
    return at_s, bpm


class Oscillation:
    """A sine whose frequency wanders a little, so that its spectrum is a peak with a width."""

    def __init__(self, frequency_hz: float, random: np.random.Generator) -> None:
        self._omega = 2 * np.pi * frequency_hz
        self._phases = random.uniform(0, 2 * np.pi, 4)
        self._wander = 2 * np.pi * frequency_hz * random.uniform(0.03, 0.13, 3)

    def __call__(self, t_s: Doubles) -> Doubles:
        """Its value, between -1 and 1, at each of `t_s`."""
        phase = self._omega * t_s + self._phases[0]
        for wander, offset in zip(self._wander, self._phases[1:], strict=True):
            phase = phase + 0.8 * np.sin(wander * t_s + offset)
        value: Doubles = np.sin(phase)
        return value


class Rhythm:
    """The beats of one simulated heart, in order."""

    def __init__(
        self,
        respiration: Oscillation,
        random: np.random.Generator,
        *,
        heart_rate_bpm: Pace,
        variability: float,
        pvcs_per_minute: float,
        svcs_per_minute: float,
        episodes: Sequence[Episode],
    ) -> None:
        self._random, self._respiration = random, respiration
        self._mayer = Oscillation(0.1, random)
        self._at_s, self._bpm = points_of(heart_rate_bpm)
        self._variability = variability
        self._per_second = pvcs_per_minute / 60, svcs_per_minute / 60
        self._episodes = sorted((e for e in episodes if e.kind in RHYTHMS), key=lambda e: e.at_s)
        self._drift = 0.0
        self._last_s = random.uniform(-0.9, 0.0) * 60 / self._bpm[0]  # the beat before time began
        self._was_early = True
        self._in_bigeminy = False
        self._goes_back = False
        """Whether the next beat is the first of sinus rhythm again."""
        self._beats: list[PlannedBeat] = []
        self._marks: list[tuple[float, str]] = []

    def until(self, t_s: float) -> tuple[list[PlannedBeat], list[tuple[float, str]]]:
        """The beats, and the names of rhythms, that come before `t_s` and have not been given yet."""
        while self._last_s < t_s:
            self._go_on()
        beats = [beat for beat in self._beats if beat.t_s < t_s]
        marks = [mark for mark in self._marks if mark[0] < t_s]
        self._beats = [beat for beat in self._beats if beat.t_s >= t_s]
        self._marks = [mark for mark in self._marks if mark[0] >= t_s]
        return beats, marks

    def _interval_s(self) -> float:
        """The sinus node's next RR interval."""
        now = np.array([self._last_s])
        high, low = float(self._respiration(now)[0]), float(self._mayer(now)[0])
        self._drift = 0.95 * self._drift + 0.25 * self._random.standard_normal()
        mean_s = 60 / float(np.interp(self._last_s, self._at_s, self._bpm))
        return mean_s * float(np.exp(self._variability * (0.8 * high + 0.6 * low + 0.4 * self._drift)))

    def _beat(self, t_s: float, symbol: str, cycle_s: float) -> None:
        if self._goes_back:
            self._marks.append((t_s, SINUS))
            self._goes_back = False
        self._beats.append(PlannedBeat(t_s, symbol, cycle_s))
        self._last_s = t_s

    def _go_on(self) -> None:
        """Plan the next beats, as many as belong together."""
        usual_s = self._interval_s()
        due_s = self._last_s + usual_s
        episode = self._episodes[0] if self._episodes else None
        is_bigeminy = episode is not None and episode.kind == "bigeminy" and due_s >= episode.at_s
        if is_bigeminy and episode is not None and due_s >= episode.at_s + episode.for_s:
            self._episodes.pop(0)
            self._in_bigeminy = is_bigeminy = False
            self._goes_back = True
            episode = self._episodes[0] if self._episodes else None
        if is_bigeminy:
            if not self._in_bigeminy:
                self._in_bigeminy = True
                self._marks.append((due_s, BIGEMINY))
            self._beat(due_s, "N", usual_s)
            self._premature("V", _COUPLING_V, usual_s)
        elif episode is not None and due_s >= episode.at_s and episode.kind == "run":
            self._episodes.pop(0)
            self._run(episode, usual_s)
        elif episode is not None and due_s >= episode.at_s and episode.kind == "pause":
            self._episodes.pop(0)
            self._marks.append((due_s, PAUSE))
            self._beat(self._last_s + max(episode.for_s, usual_s), "N", usual_s)
            self._was_early = True
        else:
            self._beat(due_s, "N", usual_s)
            self._maybe_premature(usual_s)

    def _maybe_premature(self, usual_s: float) -> None:
        """A premature beat follows this one, now and then, but never two in a row."""
        draw = self._random.uniform()
        both = sum(self._per_second)
        if self._was_early:
            self._was_early = False
        elif (
            draw * (1 / (both * usual_s) - 2 if both else np.inf) < 1
        ):  # less the two beats that no other may follow
            is_ventricular = self._random.uniform() * both < self._per_second[0]
            self._premature(*(("V", _COUPLING_V) if is_ventricular else ("A", _COUPLING_A)), usual_s)

    def _premature(self, symbol: str, coupling: tuple[float, float], usual_s: float) -> None:
        sinus_s = self._last_s
        self._beat(sinus_s + self._random.uniform(*coupling) * usual_s, symbol, usual_s)
        self._was_early = True
        if symbol == "V":  # the sinus node has gone on unheard: the next beat comes two intervals after the last
            self._last_s = sinus_s + usual_s

    def _run(self, episode: Episode, usual_s: float) -> None:
        cycle_s = self._random.uniform(*_RUN_S)
        t_s = self._last_s + 0.6 * usual_s
        self._marks.append((t_s, TACHYCARDIA))
        while t_s < max(episode.at_s + episode.for_s, self._marks[-1][0] + 2 * cycle_s):
            self._beat(t_s, "V", cycle_s)
            t_s += cycle_s * (1 + 0.02 * self._random.standard_normal())
        self._last_s += 0.3 * usual_s
        self._goes_back = True
        self._was_early = True
