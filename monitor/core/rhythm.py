"""What a beat is like among the beats around it: what the second tier of a beat model is asked about.

The first tier finds beats in a window of the signal, and knows nothing but that window. Whether a beat is early,
and whether it looks unlike the others of this heart, is told by the beats before. So every candidate becomes a row
of `FEATURES` numbers, nearly all of them ratios to what was usual in the last beats of the same stream: RR
intervals (as in de Chazal et al. 2004, Automatic classification of heartbeats), the shape against a running median
of the usual beats, and the first tier's own evidence against its usual level. The second tier, a recurrence over
the last rows, decides what the beat is, and whether it is one.

Rules of the file:
- Only what lies before a beat, and `AFTER` samples of its own, speaks of it.
- A candidate below `STRONG` is judged, but the beats after it are not compared with it.
- State is an array with a stream axis; nothing reaches over a gap.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from monitor.core.blocks import NS, Floats, Ints
from monitor.core.medians import median

Doubles = NDArray[np.float64]

RATE_HZ = 72.0
"""Samples a second that a beat's surroundings are looked at with."""
BEFORE, AFTER = 28, 24
"""Samples before a beat, and from it on: from before its P wave to the end of most of its T wave."""
FEATURES = 35
GROUPS = {
    "intervals": slice(0, 9),
    "evidence": slice(9, 15),
    "looks": slice(16, 27),
    "sizes": slice(27, FEATURES),
}
"""Which columns of a row speak of what: how early the beat is, which class the first tier took it for, how unlike
the usual beat it looks, how large and wide it is. Column 15, how sure the first tier was of a beat, is in none."""
STRONG = 0.3
"""From this probability on, the first tier is taken to have found a beat that others may be compared with."""

_SPAN = BEFORE + AFTER
_SIZES = 4
_QRS = slice(BEFORE - 7, BEFORE + 9)
_WIDE = slice(BEFORE - 12, BEFORE + 14)
_P = slice(BEFORE - 20, BEFORE - 7)
_T = slice(BEFORE + 9, _SPAN)
_SHIFTS = range(-2, 3)
"""A beat's place is known to a sample or two only: the shift at which it is most like the usual one is taken."""
_SHIFTED = (np.arange(_SPAN) + np.array(_SHIFTS)[:, None]) % _SPAN
"""The samples of a beat that was shifted (shift, time)."""
_NOTHING = 0.02
"""Of the usual range of the signal: what is too small to be compared."""
_NEVER_NS = -(2**62)
_MOST = 6e4
"""What half precision can hold."""


class Surroundings:
    """The beats before, of up to `capacity` streams."""

    INTERVALS, USUAL, EVIDENCE = 20, 15, 50
    """How many RR intervals, usual beats, and beats' evidence are remembered."""

    def __init__(self, capacity: int, classes: int) -> None:
        """Of a first tier with `classes` classes, the first of which is the normal beat."""
        self._strong_ns = np.full(capacity, _NEVER_NS)
        self._any_ns = np.full(capacity, _NEVER_NS)
        self._any_heat = np.zeros(capacity)
        self._rr_s = np.full((capacity, self.INTERVALS), np.nan)
        self._last = np.zeros((capacity, _SPAN), np.float32)
        self._early = np.zeros((capacity, _SPAN), np.float32)
        self._shapes = _Usual(capacity, _SPAN, self.USUAL)
        self._evidence = _Usual(capacity, classes - 1 + _SIZES, self.EVIDENCE)
        # Odds: the level that three tenths lie below, usual also where every other beat is not.
        self._shares = np.array([0.3] * (classes - 1) + [0.5] * _SIZES)

    def start(self, slots: Ints) -> None:
        """Begin anew: a gap lies between these streams' last beats and their next ones."""
        self._strong_ns[slots] = self._any_ns[slots] = _NEVER_NS
        self._any_heat[slots] = 0
        self._rr_s[slots] = np.nan
        self._last[slots] = self._early[slots] = 0
        self._shapes.start(slots)
        self._evidence.start(slots)

    def step(self, slots: Ints, when: Ints, shapes: Floats, probabilities: Doubles, heat: Doubles) -> Floats:
        """What candidates of distinct `slots` (n,) are like, (n, FEATURES), then remember them.

        `when` (n,) in ns; `shapes` (n, BEFORE + AFTER) the signal around them; `probabilities` (n, class) and
        `heat` (n,) what the first tier said.
        """
        ordered = np.sort(shapes, axis=1)
        shape: Floats = np.subtract(shapes, (ordered[:, [_SPAN // 2 - 1]] + ordered[:, [_SPAN // 2]]) / 2)
        strong = heat >= STRONG
        intervals, rr, middle, is_known = self._intervals(slots, when)
        odds = np.log(np.maximum(probabilities, 1e-4))
        odds = np.clip(odds[:, 1:] - odds[:, :1], -7, 7)
        looks, aligned = self._looks(slots, shape)
        sizes = _sizes(shape)
        evidence = np.concatenate((odds, sizes), axis=1)
        unusual = evidence - _or(self._evidence.level(slots, self._shares), evidence)
        n = odds.shape[1]
        rows = np.concatenate(
            (
                intervals, odds / 3, unusual[:, :n] / 3, (2 * heat - 1)[:, None], looks, sizes, 2 * unusual[:, n:],
            ),
            axis=1,
        )  # fmt: skip

        self._any_ns[slots], self._any_heat[slots] = when, heat
        kept = slots[strong]
        self._strong_ns[kept] = when[strong]
        _remember(self._rr_s, kept, np.where(is_known, rr, np.nan)[strong])
        self._evidence.add(kept, evidence[strong])
        self._last[kept] = shape[strong]
        ratio = rr / middle
        early = strong & (ratio < 0.85)
        self._early[slots[early]] = shape[early]
        # What comes when it is expected is taken for the usual shape, whatever it looks like.
        usual = strong & ((self._shapes.count[slots] == 0) | ((ratio > 0.85) & (ratio < 1.25)))
        self._shapes.add(slots[usual], aligned[usual])
        features: Floats = rows.astype(np.float32)
        return features

    def _intervals(self, slots: Ints, when: Ints) -> tuple[Doubles, Doubles, Doubles, NDArray[np.bool_]]:
        """How early each beat came (n, 9); its RR interval and the usual one in seconds; whether it has one."""
        past = self._rr_s[slots]
        newest = past[:, -10:]
        is_known = self._strong_ns[slots] > _NEVER_NS
        rr = np.where(is_known, np.clip((when - self._strong_ns[slots]) / NS, 0.2, 2.5), np.nan)
        middle = _or(_or(median(newest), rr), np.full(len(slots), 0.8))
        rr = _or(rr, middle)
        before, earlier = _or(past[:, -1], middle), _or(past[:, -2], middle)
        slow = _or(median(past), middle)
        spread = _or(median(np.abs(np.log(newest / middle[:, None]))), np.full(len(slots), 0.1))
        has_any = self._any_ns[slots] > _NEVER_NS
        apart = np.where(has_any, np.clip((when - self._any_ns[slots]) / NS, 0.04, 2.5), rr)
        columns = (
            3 * np.log(rr / middle),
            3 * np.log(before / middle),
            3 * np.log(rr / before),
            3 * np.log(rr / slow),
            3 * np.log(earlier / middle),
            np.log(middle / 0.8),
            5 * spread,
            np.log(apart / middle),
            2 * self._any_heat[slots] - 1,
        )
        return np.stack(columns, axis=1), rr, middle, is_known

    def _looks(self, slots: Ints, shape: Floats) -> tuple[Doubles, Floats]:
        """How unlike the usual beat each one looks (n, 11), and its shape shifted to where they are most alike."""
        usual = _or(self._shapes.level(slots, 0.5), shape)
        alike = _correlation(shape[:, _SHIFTED[:, _QRS]], usual[:, None, _QRS])  # (n, shift)
        best = alike.argmax(axis=1)
        aligned = shape[np.arange(len(slots))[:, None], _SHIFTED[best]]
        off = aligned - usual
        size = _rms(usual[:, _QRS])
        others = np.stack((self._last[slots], self._early[slots]), axis=1)[:, :, _QRS]  # (n, 2, time)
        to_last, to_early = _correlation(shape[:, None, _QRS], others).T
        columns = (
            2 * _correlation(aligned, usual),
            2 * alike.max(axis=1),
            2 * _correlation(aligned[:, _T], usual[:, _T]),
            2 * _correlation(aligned[:, _P], usual[:, _P]),
            best - len(_SHIFTS) // 2,
            np.log(_rms(off[:, _QRS]) / size),
            np.log(_rms(off[:, _T]) / size),
            np.log(_rms(off[:, _P]) / size),
            2 * to_last,
            2 * to_early,
            # Noise: how rough the stretch before the P wave is.
            np.log(_mean(np.abs(shape[:, 1:12] - shape[:, :11]))[:, 0] + 0.01) / 2 + 1.5,
        )
        return np.stack(columns, axis=1), aligned


def _sizes(shape: Floats) -> Doubles:
    """Size, width, steepness and T wave of each beat, as logarithms (n, 4)."""
    size = _rms(shape[:, _QRS])
    wide = np.abs(shape[:, _WIDE])
    qrs = shape[:, _QRS]
    steepest = np.abs(qrs[:, 1:] - qrs[:, :-1]).max(axis=1) + _NOTHING
    columns = (
        np.log(size),
        np.log(wide.sum(axis=1) / (wide.max(axis=1) + _NOTHING)),
        np.log(steepest / size),
        np.log(_rms(shape[:, _T]) / size),
    )
    return np.stack(columns, axis=1)


def _rms(values: NDArray[np.floating]) -> Doubles:
    rms: Doubles = np.sqrt(_mean(np.square(values, dtype=np.float64))[..., 0]) + _NOTHING
    return rms


def _correlation(a: NDArray[np.floating], b: NDArray[np.floating]) -> Doubles:
    """Of the last axis of both."""
    a = a - _mean(a)
    b = b - _mean(b)
    both = np.add.reduce(a * b, axis=-1, dtype=np.float64)
    square = np.add.reduce(a * a, axis=-1) * np.add.reduce(b * b, axis=-1)
    correlation: Doubles = both / np.sqrt(square + 1e-6)
    return correlation


def _mean(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Along the last axis, which stays: ndarray.mean without what that asks first, for small arrays."""
    mean: NDArray[np.floating] = np.add.reduce(values, axis=-1, keepdims=True) / values.shape[-1]
    return mean


def _or(values: NDArray[np.floating], others: NDArray[np.floating]) -> Doubles:
    """`values`, and where they are NaN the `others`."""
    chosen: Doubles = np.where(np.isnan(values), others, values)
    return chosen


def _remember(past: NDArray[np.floating], slots: Ints, newest: NDArray[np.floating]) -> None:
    """Put the newest last, and forget the oldest."""
    past[slots] = np.concatenate((past[slots, 1:], newest[:, None]), axis=1)


class _Usual:
    """The last `kept` rows of some numbers; a ring, for only their usual level is asked and not their order."""

    def __init__(self, capacity: int, width: int, kept: int) -> None:
        self.count = np.zeros(capacity, np.int64)
        # To be sorted along the last axis. Zeros that nobody has written to take no memory, and half precision
        # takes half: of 14900 beats none changed its class by it, no probability moved by more than 0.001.
        self._past = np.zeros((capacity, width, kept), np.float16)

    def start(self, slots: Ints) -> None:
        self.count[slots] = 0

    def add(self, slots: Ints, rows: NDArray[np.floating]) -> None:
        """A row (n, width) for each of distinct `slots`."""
        count = self.count[slots]
        self._past[slots[count == 0]] = np.inf
        self._past[slots, :, count % self._past.shape[2]] = np.clip(rows, -_MOST, _MOST)
        self.count[slots] = count + 1

    def level(self, slots: Ints, shares: Doubles | float) -> Doubles:
        """Below which a share, or for each its share (width,), lies (n, width); NaN where there are none."""
        count = self.count[slots]
        past = self._past[slots].astype(np.float32)
        past[count == 0] = np.nan
        past.sort(axis=-1)  # what is not there last
        place = np.maximum(np.minimum(count, past.shape[2]) - 1, 0)[:, None] * shares  # (n, width)
        low, high = np.floor(place).astype(np.int64), np.ceil(place).astype(np.int64)
        rows, columns = np.arange(len(slots))[:, None], np.arange(past.shape[1])
        below, above = (past[rows, columns, at].astype(np.float64) for at in (low, high))
        level: Doubles = below + (place - low) * (above - below)
        return level


class Recent:
    """The last `window` rows of up to `capacity` streams; before there are so many, the first stands for them."""

    def __init__(self, window: int, capacity: int) -> None:
        # In half precision: of 7500 beats it moved no probability by more than 0.0005.
        self._rows = np.zeros((capacity, window, FEATURES), np.float16)
        self._count = np.zeros(capacity, np.int64)

    def start(self, slots: Ints) -> None:
        """Begin anew."""
        self._count[slots] = 0

    def push(self, slots: Ints, rows: Floats) -> Floats:
        """Add a row (n, FEATURES) to each of distinct `slots`; their windows (n, beat, FEATURES), newest last."""
        window = self._rows.shape[1]
        fresh = self._count[slots] == 0
        self._rows[slots[fresh]] = rows[fresh, None]
        self._rows[slots, self._count[slots] % window] = rows
        self._count[slots] += 1
        order = (self._count[slots, None] + np.arange(window)) % window  # oldest first
        windows: Floats = self._rows[slots[:, None], order].astype(np.float32)
        return windows
