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

Doubles = NDArray[np.float64]

RATE_HZ = 72.0
"""Samples a second that a beat's surroundings are looked at with."""
BEFORE, AFTER = 28, 24
"""Samples before a beat, and from it on: from before its P wave to the end of most of its T wave."""
FEATURES = 35
STRONG = 0.3
"""From this probability on, the first tier is taken to have found a beat that others may be compared with."""

_SPAN = BEFORE + AFTER
_QRS = slice(BEFORE - 7, BEFORE + 9)
_WIDE = slice(BEFORE - 12, BEFORE + 14)
_P = slice(BEFORE - 20, BEFORE - 7)
_T = slice(BEFORE + 9, _SPAN)
_SHIFTS = range(-2, 3)
"""A beat's place is known to a sample or two only: the shift at which it is most like the usual one is taken."""
_NOTHING = 0.02
"""Of the usual range of the signal: what is too small to be compared."""
_NEVER_NS = -(2**62)


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
        self._shapes = np.full((capacity, self.USUAL, _SPAN), np.nan, np.float32)
        self._last = np.zeros((capacity, _SPAN), np.float32)
        self._early = np.zeros((capacity, _SPAN), np.float32)
        self._odds = np.full((capacity, self.EVIDENCE, classes - 1), np.nan, np.float32)
        self._sizes = np.full((capacity, self.EVIDENCE, 4), np.nan, np.float32)

    def start(self, slots: Ints) -> None:
        """Begin anew: a gap lies between these streams' last beats and their next ones."""
        self._strong_ns[slots] = self._any_ns[slots] = _NEVER_NS
        self._any_heat[slots] = 0
        self._rr_s[slots] = np.nan
        self._shapes[slots] = np.nan
        self._last[slots] = self._early[slots] = 0
        self._odds[slots] = np.nan
        self._sizes[slots] = np.nan

    def step(self, slots: Ints, when: Ints, shapes: Floats, probabilities: Doubles, heat: Doubles) -> Floats:
        """What candidates of distinct `slots` (n,) are like, (n, FEATURES), then remember them.

        `when` (n,) in ns; `shapes` (n, BEFORE + AFTER) the signal around them; `probabilities` (n, class) and
        `heat` (n,) what the first tier said.
        """
        shape = shapes - np.median(shapes, axis=1, keepdims=True)
        strong = heat >= STRONG
        intervals, rr, middle, is_known = self._intervals(slots, when)
        odds = np.log(np.maximum(probabilities, 1e-4))
        odds = np.clip(odds[:, 1:] - odds[:, :1], -7, 7)
        looks, aligned = self._looks(slots, shape)
        sizes = _sizes(shape)
        rows = np.concatenate(
            (
                intervals,
                odds / 3,
                (odds - _or(_low(self._odds[slots]), odds)) / 3,
                (2 * heat - 1)[:, None],
                looks,
                sizes,
                2 * (sizes - _or(_median(self._sizes[slots]), sizes)),
            ),
            axis=1,
        )

        self._any_ns[slots], self._any_heat[slots] = when, heat
        kept = slots[strong]
        self._strong_ns[kept] = when[strong]
        _remember(self._rr_s, kept, np.where(is_known, rr, np.nan)[strong])
        _remember(self._odds, kept, odds[strong])
        _remember(self._sizes, kept, sizes[strong])
        self._last[kept] = shape[strong]
        ratio = rr / middle
        early = strong & (ratio < 0.85)
        self._early[slots[early]] = shape[early]
        # What comes when it is expected is taken for the usual shape, whatever it looks like.
        first = np.isnan(self._shapes[slots, -1, 0])
        usual = strong & (first | ((ratio > 0.85) & (ratio < 1.25)))
        _remember(self._shapes, slots[usual], aligned[usual])
        features: Floats = rows.astype(np.float32)
        return features

    def _intervals(self, slots: Ints, when: Ints) -> tuple[Doubles, Doubles, Doubles, NDArray[np.bool_]]:
        """How early each beat came (n, 9); its RR interval and the usual one in seconds; whether it has one."""
        past = self._rr_s[slots]
        is_known = self._strong_ns[slots] > _NEVER_NS
        rr = np.where(is_known, np.clip((when - self._strong_ns[slots]) / NS, 0.2, 2.5), np.nan)
        middle = _or(_or(_median(past[:, -10:]), rr), np.full(len(slots), 0.8))
        rr = _or(rr, middle)
        before, earlier = _or(past[:, -1], middle), _or(past[:, -2], middle)
        slow = _or(_median(past), middle)
        spread = _or(_median(np.abs(np.log(past[:, -10:] / middle[:, None]))), np.full(len(slots), 0.1))
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
        usual = _or(_median(self._shapes[slots]), shape)
        shifted = np.stack([np.roll(shape, -shift, axis=1) for shift in _SHIFTS])  # (shift, n, time)
        alike = _correlation(shifted[:, :, _QRS], usual[None, :, _QRS])  # (shift, n)
        best = alike.argmax(axis=0)
        aligned = shifted[best, np.arange(len(slots))]
        off = aligned - usual
        size = _rms(usual[:, _QRS])
        columns = (
            2 * _correlation(aligned, usual),
            2 * alike.max(axis=0),
            2 * _correlation(aligned[:, _T], usual[:, _T]),
            2 * _correlation(aligned[:, _P], usual[:, _P]),
            best - len(_SHIFTS) // 2,
            np.log(_rms(off[:, _QRS]) / size),
            np.log(_rms(off[:, _T]) / size),
            np.log(_rms(off[:, _P]) / size),
            2 * _correlation(shape[:, _QRS], self._last[slots][:, _QRS]),
            2 * _correlation(shape[:, _QRS], self._early[slots][:, _QRS]),
            # Noise: how rough the stretch before the P wave is.
            np.log(np.abs(np.diff(shape[:, :12], axis=1)).mean(axis=1) + 0.01) / 2 + 1.5,
        )
        return np.stack(columns, axis=1), aligned


def _sizes(shape: Floats) -> Doubles:
    """Size, width, steepness and T wave of each beat, as logarithms (n, 4)."""
    size = _rms(shape[:, _QRS])
    wide = np.abs(shape[:, _WIDE])
    steepest = np.abs(np.diff(shape[:, _QRS], axis=1)).max(axis=1) + _NOTHING
    columns = (
        np.log(size),
        np.log(wide.sum(axis=1) / (wide.max(axis=1) + _NOTHING)),
        np.log(steepest / size),
        np.log(_rms(shape[:, _T]) / size),
    )
    return np.stack(columns, axis=1)


def _rms(values: NDArray[np.floating]) -> Doubles:
    rms: Doubles = np.sqrt(np.square(values, dtype=np.float64).mean(axis=-1)) + _NOTHING
    return rms


def _correlation(a: NDArray[np.floating], b: NDArray[np.floating]) -> Doubles:
    """Of the last axis of both."""
    a = a - a.mean(axis=-1, keepdims=True)
    b = b - b.mean(axis=-1, keepdims=True)
    both = (a * b).sum(axis=-1, dtype=np.float64)
    correlation: Doubles = both / np.sqrt((a * a).sum(axis=-1) * (b * b).sum(axis=-1) + 1e-6)
    return correlation


def _median(values: NDArray[np.floating]) -> Doubles:
    """Of what is known along axis 1, NaN where nothing is: numpy.nanmedian without its price."""
    return _ranked(values, 0.5)


def _low(values: NDArray[np.floating]) -> Doubles:
    """The level that three tenths of what is known lie below: usual also where every other beat is not."""
    return _ranked(values, 0.3)


def _ranked(values: NDArray[np.floating], share: float) -> Doubles:
    ordered = np.sort(values, axis=1)  # NaN last
    place = share * np.maximum((~np.isnan(ordered)).sum(axis=1, keepdims=True) - 1, 0)
    below = np.floor(place).astype(np.int64)
    above = np.ceil(place).astype(np.int64)
    low, high = (np.take_along_axis(ordered, at, axis=1)[:, 0].astype(np.float64) for at in (below, above))
    between: Doubles = low + (place - below)[:, 0] * (high - low)
    return between


def _or(values: NDArray[np.floating], others: NDArray[np.floating]) -> Doubles:
    """`values`, and where they are NaN the `others`."""
    chosen: Doubles = np.where(np.isnan(values), others, values)
    return chosen


def _remember(past: NDArray[np.floating], slots: Ints, newest: NDArray[np.floating]) -> None:
    """Put the newest last, and forget the oldest."""
    past[slots] = np.concatenate((past[slots, 1:], newest[:, None]), axis=1)


class Recent:
    """The last `window` rows of up to `capacity` streams; before there are so many, the first stands for them."""

    def __init__(self, window: int, capacity: int) -> None:
        self._rows = np.zeros((capacity, window, FEATURES), np.float32)
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
        windows: Floats = self._rows[slots[:, None], order]
        return windows
