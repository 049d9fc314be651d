"""A realistic electrocardiogram: the dynamical model of McSharry et al. 2003, with unusual beats, and faults.

McSharry, Clifford, Tarassenko, Smith: A dynamical model for generating synthetic electrocardiogram signals, IEEE
Trans Biomed Eng 50(3):289-294. Its state goes round a limit cycle, and each of the waves P, Q, R, S, T pulls z up
or down as the angle passes it, while z falls back to a baseline that moves with respiration:

    dz/dt = -sum_i a_i d_i exp(-d_i^2 / (2 b_i^2)) - (z - z0),    d_i = angle - angle_i,    angle = omega t

On the cycle the pull is the derivative of g(t) = sum_i (a_i b_i^2 / omega) exp(-d_i^2 / (2 b_i^2)), so that
z = g + w with dw/dt = -w - g + z0: no integration of narrow waves, at any rate. Each beat goes round at its own
speed, from its own set of waves, and their g add up: a premature beat may begin before the T wave before it has
ended. Here a wave is its time (angle_i / omega), width (b_i / omega) and height (a_i b_i^2 / omega).

Invariant: everything random is drawn a whole second at a time, so that nothing depends on where a chunk ends.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from monitor.core.blocks import Floats
from monitor.core.ecg_rhythm import (
    FAULTS,
    RHYTHMS,
    Doubles,
    Episode,
    Oscillation,
    Pace,
    PlannedBeat,
    Rhythm,
    points_of,
)
from monitor.core.errors import ConfigError

RAIL_MV = 5.0
"""Beyond this the simulated amplifier cannot go."""
CLEAN = "clean"
"""Label at the end of a fault of the signal."""

# Time in s, width in s and height in mV of the waves P, Q, R, S, T and the steeper end of T, at 60 beats a minute.
_WAVES = {
    "N": ((-0.17, 0.022, 0.13), (-0.028, 0.009, -0.10), (0.0, 0.011, 1.15), (0.03, 0.011, -0.22),
          (0.25, 0.045, 0.20), (0.30, 0.030, 0.18)),
    "A": ((-0.12, 0.018, -0.08), (-0.028, 0.009, -0.10), (0.0, 0.011, 1.10), (0.03, 0.011, -0.24),
          (0.25, 0.045, 0.19), (0.30, 0.030, 0.17)),
    "V": ((-0.17, 0.022, 0.0), (-0.065, 0.022, -0.12), (0.0, 0.032, 1.50), (0.085, 0.035, -0.60),
          (0.28, 0.050, -0.38), (0.34, 0.040, -0.20)),
    # In place of P the stimulus of a pacemaker; then it spreads as slowly as in a ventricular beat.
    "/": ((-0.11, 0.0015, 2.0), (-0.065, 0.022, -0.12), (0.0, 0.032, 1.50), (0.085, 0.035, -0.60),
          (0.28, 0.050, -0.38), (0.34, 0.040, -0.20)),
}  # fmt: skip
_QRS = slice(1, 4)
"""Waves that last as long at every heart rate; the others move and stretch with the square root of the cycle."""
_REACH_S = 1.0
"""A beat's waves are over so long before and after its R peak."""
_EDGE_S = 0.05
"""Time constant with which a lead that comes off drifts to the rail."""


class Ecg:
    """One patient's electrocardiogram, one lead, in mV; see `monitor.core.signals.Signal`.

    The seed decides the patient (shapes of the waves), the rhythm and the noise, each from a generator of its own.
    """

    channels: tuple[str, ...] = ("MLII",)
    unit = "mV"

    def __init__(
        self,
        *,
        rate_hz: float = 360.0,
        seed: int = 0,
        heart_rate_bpm: Pace = 70.0,
        variability: float = 0.04,
        noise: float = 0.01,
        wander: float = 0.08,
        pvcs_per_minute: float = 0.0,
        svcs_per_minute: float = 0.0,
        episodes: Sequence[Episode] = (),
        paced: bool = False,
    ) -> None:
        """`heart_rate_bpm` may change, see Pace; `noise` is muscle noise and `wander` the baseline's, both in mV.

        `paced` beats stand in for normal ones.
        Raises ConfigError for what cannot be.
        """
        _check(rate_hz, heart_rate_bpm, variability, noise, wander, pvcs_per_minute, svcs_per_minute)
        _check_episodes(episodes)
        self.rate_hz = rate_hz
        patient, rhythm, breath, muscle, motion = (
            np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(5)
        )
        self._respiration = Oscillation(0.25, breath)
        self._slow = [Oscillation(0.05, breath), Oscillation(0.12, breath)]
        self._rhythm = Rhythm(
            self._respiration, rhythm, heart_rate_bpm=heart_rate_bpm, variability=variability,
            pvcs_per_minute=pvcs_per_minute, svcs_per_minute=svcs_per_minute, episodes=episodes,
        )  # fmt: skip
        self._waves = _patient(patient)
        self._paced = paced
        self._patient, self._muscle, self._motion = patient, muscle, motion
        self._faults = sorted((e for e in episodes if e.kind in FAULTS), key=lambda e: e.at_s)
        self._noise, self._wander = noise, wander
        self._chunk = max(round(rate_hz), 1)
        self._index = 0  # of the first sample of the next second
        self._shapes = np.zeros((0, 6, 3))  # (beat, wave, time since the start | width | height)
        self._planned_s = 0.0
        self._low, self._last_pull = 0.0, 0.0
        self._white = np.zeros(2)
        self._motion_mv = 0.0
        self._coming: list[tuple[int, str]] = []
        self._values = np.zeros(0, np.float32)
        self._labels: list[tuple[int, str]] = []
        self._given = 0

    def next(self, samples: int) -> tuple[Floats, list[tuple[int, str]]]:
        """The next `samples` values (time, 1) in mV, and the labels that stand among them."""
        made = [self._values]
        while sum(len(part) for part in made) < samples:
            made.append(self._second())
        values = np.concatenate(made)
        self._values = values[samples:]
        self._given += samples
        labels = [label for label in self._labels if label[0] < self._given]
        self._labels = [label for label in self._labels if label[0] >= self._given]
        return values[:samples, None], labels

    def _second(self) -> Floats:
        """The next second, and its labels."""
        index = self._index + np.arange(self._chunk)
        t_s = index / self.rate_hz
        end_s = (self._index + self._chunk) / self.rate_hz
        self._plan(end_s + _REACH_S)
        muscle = self._noise_of(t_s)
        clean = self._relax(self._beats_at(t_s), t_s)
        values = self._break(clean + muscle, t_s)
        self._index += self._chunk
        self._keep_labels(end_s)
        made: Floats = np.clip(values, -RAIL_MV, RAIL_MV).astype(np.float32)
        return made

    def _plan(self, until_s: float) -> None:
        """Shape the beats up to `until_s`, and forget those that are over."""
        beats, marks = self._rhythm.until(until_s)
        if self._paced:
            beats = [beat._replace(symbol="/") if beat.symbol == "N" else beat for beat in beats]
        self._coming += [(round(t_s * self.rate_hz), name) for t_s, name in marks if t_s >= 0]
        self._coming += [(round(beat.t_s * self.rate_hz), beat.symbol) for beat in beats if beat.t_s >= 0]
        shapes = [self._shape(beat) for beat in beats]
        now_s = self._index / self.rate_hz
        kept = self._shapes[self._shapes[:, 2, 0] > now_s - _REACH_S]
        self._shapes = np.concatenate([kept, *(shape[None] for shape in shapes)])

    def _shape(self, beat: PlannedBeat) -> Doubles:
        """The waves of one beat (wave, 3); no two are quite alike, and they move with each breath."""
        waves = self._waves[beat.symbol].copy()
        stretch = np.sqrt(np.clip(beat.cycle_s, 0.3, 1.6))
        stretched = waves[:, :2] * stretch
        stretched[_QRS] = waves[_QRS, :2]
        waves[:, :2] = stretched
        breath = float(self._respiration(np.array([beat.t_s]))[0])
        waves[:, 2] *= (1 + 0.05 * breath) * (1 + 0.03 * self._patient.standard_normal(6))
        waves[:, 0] += beat.t_s
        return waves

    def _beats_at(self, t_s: Doubles) -> Doubles:
        """The g of the module's first lines, in mV."""
        flat = self._shapes.reshape(-1, 3)
        near = flat[np.abs(flat[:, 0] - t_s[len(t_s) // 2]) < 0.5 * (t_s[-1] - t_s[0]) + 0.5]
        apart = (t_s[:, None] - near[:, 0]) / near[:, 1]
        mv: Doubles = np.exp(-0.5 * apart**2) @ near[:, 2]
        return mv

    def _relax(self, beats: Doubles, t_s: Doubles) -> Doubles:
        """The z that is g + w: w follows z0 - g with a time constant of a second."""
        baseline = self._wander * self._respiration(t_s)
        for slow in self._slow:
            baseline = baseline + self._wander * slow(t_s)
        pull = baseline - beats
        if self._index == 0:
            self._low = self._last_pull = float(pull.mean())
        keep = np.exp(-1 / self.rate_hz)
        means = (1 - keep) * 0.5 * (pull + np.concatenate(([self._last_pull], pull[:-1])))
        powers = keep ** np.arange(1, len(pull) + 1)
        low = powers * (self._low + np.cumsum(means / powers))
        self._low, self._last_pull = float(low[-1]), float(pull[-1])
        z: Doubles = beats + low
        return z

    def _noise_of(self, t_s: Doubles) -> Doubles:
        """Muscle noise, high-passed, stronger while a noise episode lasts; then the electrode moves as well."""
        white = np.concatenate((self._white, self._muscle.standard_normal(len(t_s))))
        self._white = white[-2:]
        muscle = np.convolve(white, (0.45, -0.75, 0.48), "valid")
        steps = self._motion.standard_normal(len(t_s))
        noisy = self._during("noise", t_s)
        strength = np.where(noisy, max(0.35, 8 * self._noise), self._noise)
        if not noisy.any():
            quiet: Doubles = strength * muscle
            return quiet
        keep = np.exp(-4 / self.rate_hz)
        powers = keep ** np.arange(1, len(t_s) + 1)
        motion = powers * (self._motion_mv + np.cumsum(0.9 * np.sqrt(8 / self.rate_hz) * steps / powers))
        self._motion_mv = float(motion[-1])
        loud: Doubles = strength * muscle + np.where(noisy, motion, 0.0)
        return loud

    def _during(self, kind: str, t_s: Doubles) -> NDArray[np.bool_]:
        inside: NDArray[np.bool_] = np.zeros(len(t_s), np.bool_)
        for fault in self._faults:
            if fault.kind == kind:
                inside |= (t_s >= fault.at_s) & (t_s < fault.at_s + fault.for_s)
        return inside

    def _break(self, values: Doubles, t_s: Doubles) -> Doubles:
        """What the faults to order leave of the signal."""
        for fault in self._faults:
            inside = (t_s >= fault.at_s) & (t_s < fault.at_s + fault.for_s)
            since = t_s - fault.at_s
            if fault.kind == "lead-off":
                decay = np.exp(-np.maximum(since, 0) / _EDGE_S)
                values = np.where(inside, values * decay + 1.02 * RAIL_MV * (1 - decay), values)
            elif fault.kind == "flat":
                values = np.where(inside, 0.0, values)
            elif fault.kind == "saturation":
                values = np.where(inside, 20 * values + 0.6 * RAIL_MV, values)
            elif fault.kind == "gap":
                values = np.where(inside, np.nan, values)
        return values

    def _keep_labels(self, end_s: float) -> None:
        """Labels of the second that ends at `end_s`; beats that the fault hides are not labelled."""
        start_s = end_s - self._chunk / self.rate_hz
        ready = [label for label in self._coming if label[0] < self._index]
        self._coming = [label for label in self._coming if label[0] >= self._index]
        at_s = np.array([index / self.rate_hz for index, _ in ready])
        hidden = np.zeros(len(ready), np.bool_)
        for kind in ("lead-off", "flat", "saturation", "gap"):
            hidden |= self._during(kind, at_s)
        labels = [label for label, hide in zip(ready, hidden, strict=True) if not (hide and len(label[1]) == 1)]
        for fault in self._faults:
            for when_s, name in ((fault.at_s, fault.kind), (fault.at_s + fault.for_s, CLEAN)):
                if start_s <= when_s < end_s:
                    labels.append((int(np.ceil(when_s * self.rate_hz)), name))
        self._labels += sorted(labels)


def _patient(random: np.random.Generator) -> dict[str, Doubles]:
    """This patient's waves: heights, widths and the axis of ventricular beats differ from one to another."""
    waves = {symbol: np.array(rows) for symbol, rows in _WAVES.items()}
    heights = np.exp(np.clip(0.2 * random.standard_normal(6), -0.4, 0.4))
    widths = np.exp(np.clip(0.08 * random.standard_normal(6), -0.16, 0.16))
    for symbol in ("N", "A"):
        waves[symbol][:, 2] *= heights
        waves[symbol][:, 1] *= widths
    height = random.choice((1.0, -1.0), p=(0.6, 0.4)) * random.uniform(0.8, 1.2)
    width = random.uniform(0.9, 1.2)
    for symbol in ("V", "/"):
        waves[symbol][1:, 2] *= height
        waves[symbol][1:, 1] *= width
    return waves


def _check(
    rate_hz: float, pace: Pace, variability: float, noise: float, wander: float, pvcs: float, svcs: float
) -> None:
    at_s, bpm = points_of(pace)
    slowest, fastest = (float(one(bpm)) if len(bpm) else np.nan for one in (np.min, np.max))
    most = slowest / 4
    in_order = bool((np.diff(at_s) > 0).all())
    checks = (
        ("rate_hz", rate_hz, 50 <= rate_hz <= 10_000, "50 to 10000"),
        ("heart_rate_bpm", slowest, slowest >= 20, "20 to 250"),
        ("heart_rate_bpm", fastest, fastest <= 250, "20 to 250"),
        ("points of heart_rate_bpm", len(bpm), in_order, "each later than the one before"),
        ("variability", variability, 0 <= variability <= 0.3, "0 to 0.3"),
        ("noise", noise, 0 <= noise <= RAIL_MV, f"0 to {RAIL_MV:g} mV"),
        ("wander", wander, 0 <= wander <= RAIL_MV, f"0 to {RAIL_MV:g} mV"),
        ("premature beats a minute", pvcs + svcs, pvcs >= 0 <= svcs and pvcs + svcs <= most, f"0 to {most:g}"),
    )
    for name, got, holds, expected in checks:
        if not holds:
            raise ConfigError(f"ecg: {name}: expected {expected}, got {got:g}")


def _check_episodes(episodes: Sequence[Episode]) -> None:
    for episode in episodes:
        if episode.kind not in (*RHYTHMS, *FAULTS) or not 0 <= episode.at_s < 1e7 or not 0 < episode.for_s < 1e7:
            raise ConfigError(
                f"ecg: expected episodes of {', '.join((*RHYTHMS, *FAULTS))}, from 0 s on and longer than 0 s, "
                f"got {episode.kind} at {episode.at_s:g} s for {episode.for_s:g} s"
            )
