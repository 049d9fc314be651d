"""A false-alarm budget: the level above which a score raises an alarm, so that it does so B times an hour.

Nobody knows what a score of 4 means on their signal; everybody knows how many alarms an hour they can bear. The
level is found online and for each stream alone, from minutes of data on, where B may be one alarm in ten hours:

- Scores are looked at in blocks of some seconds, of which only the highest counts: what happens within one is one
  alarm.
- The *base* is the level that a share p of the blocks exceeds, tracked by adaptive conformal inference: up where a
  block exceeds it, else a little down, whatever the signal is like (Gibbs & Candes 2021, "Adaptive conformal
  inference under distribution shift"). p falls from one half to 8 times what the budget allows, as fast as
  `BASE_BLOCKS` blocks above the base have been seen.
- From the base to the budget goes a generalised Pareto tail (peaks over threshold, as in Siffer et al. 2017,
  "Anomaly detection in streams with extreme value theory"). Its scale is the mean excess over the base, its shape
  is how three quantiles of the blocks are spaced (Pickands 1975), and what the model's card says of other signals
  while there are few. A little is added to the shape because so few excesses are known: of n exponential ones, the
  next exceeds n ((1/q)^(1/n) - 1) means with probability q.
- What is left over is integrated: an alarm pushes the level up, quiet time lets it down, so that the number of
  alarms cannot stay off for long, whatever the tail (Angelopoulos, Candes & Tibshirani 2023, "Conformal PID
  control for time series prediction").

What was flagged counts as one excess of unknown size, as censored lifetimes do, and is not learned from beyond
that. While the alarm lasts nothing is learned, for `frozen_s` at most: a signal that has really changed must
become the new usual. Everything is counted in hops, so neither blocks on the wire nor batches matter.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from monitor.core.blocks import Ints
from monitor.core.still import still

Doubles = NDArray[np.float64]
Bools = NDArray[np.bool_]

BLOCK_S = 5.0
WARM_UP_BLOCKS = 24
BASE_BLOCKS = 30
"""Blocks above the base that are remembered: they say where it lies and how far above it others lie."""
DEPTH = 8.0
"""The base is exceeded so many times as often as the budget allows, once that has been seen."""
_SHARES = np.array([1 / 2, 1 / 8, 1 / 64])
"""Of blocks above each of the three quantiles that tell the shape."""
_GUMBEL = -np.log(-np.log(1 - _SHARES))
_EVEN = float(np.diff(_GUMBEL)[1] / np.diff(_GUMBEL)[0])
_BETWEEN = float((_GUMBEL[2] - _GUMBEL[0]) / 2)
TAIL, _TAIL_BLOCKS, _LIGHTEST, _HEAVIEST = 0.08, 200, -0.25, 0.4
"""The shape before anything is known, how many blocks that is worth, and its bounds, unless that is heavier."""
_REMEMBERED_BLOCKS = 6400
"""How far back the three quantiles look: nine hours of blocks of 5 s."""
_SURE = 1e-7
"""Shares nearer to 0 or 1 are all the same: a float32 knows no better."""
_PUSH, _PUSH_FIRST, _PUSH_RANGE = 0.3, 2.0, (-1.5, 4.0)
"""By how much an alarm pushes, as a logarithm of alarms an hour, in the long run and at first; and how far."""

_STATE = np.dtype(
    [
        ("allowed", "f8"), ("asked", "f8"), ("per_hour", "f8"), ("blocks", "f8"), ("share", "f8"), ("base", "f8"),
        ("excess", "f8"), ("count", "f8"), ("push", "f8"), ("quantiles", "f8", 3), ("top", "f8"), ("hops", "i4"),
        ("frozen", "i4"), ("level", "f8"), ("over", "f8"),
    ]
)  # fmt: skip
_KEPT = ("blocks", "share", "base", "excess", "count", "push", "top", "hops", "frozen")


class Budget:
    """The levels of one track of up to `capacity` streams."""

    def __init__(
        self,
        capacity: int,
        hop_s: float,
        clear_s: float,
        floor: float,
        frozen_s: float,
        *,
        are_shares: bool = False,
        tail: float = TAIL,
    ) -> None:
        """A row is `hop_s` long; levels are never below `floor`; see above for `frozen_s` and `tail`.

        Scores that `are_shares`, from 0 to 1, are looked at as logarithms of their odds: there they have a tail.
        """
        self._are_shares, self._tail = are_shares, tail
        self._floor = float(_odds(np.array([floor]))[0]) if are_shares else floor
        self._block_hops = max(round(max(BLOCK_S, clear_s) / hop_s), 1)
        self._block_h = self._block_hops * hop_s / 3600
        self._max_frozen = frozen_s / hop_s
        self._state = np.zeros(capacity, _STATE)
        for name, value in (("level", np.inf), ("over", np.inf), ("top", -np.inf), ("asked", np.nan)):
            self._state[name] = value
        self.is_on = False
        """Whether any stream has a budget."""

    def allow(self, slot: int, per_hour: float) -> None:
        """The configuration lets the stream in `slot` raise so many alarms an hour; 0: it has no budget."""
        self._state["allowed"][slot] = per_hour
        self._settle(slot)

    def ask(self, slot: int, per_hour: float | None) -> None:
        """Somebody wants it to be so many, whatever the configuration says; None: as that says."""
        self._state["asked"][slot] = np.nan if per_hour is None else per_hour
        self._settle(slot)

    def _settle(self, slot: int) -> None:
        """A budget changes: what was learned stays true, for it is the whole tail."""
        rows = self._state[slot : slot + 1]
        before = rows["per_hour"][0]
        rows["per_hour"] = np.where(np.isnan(rows["asked"]), rows["allowed"], rows["asked"])
        if rows["per_hour"][0]:
            self.is_on = True
        elif before:
            self.is_on = bool(self._state["per_hour"].any())
        if rows["per_hour"][0] and rows["blocks"][0]:
            self._move_base(rows)
            self._set_levels(rows)

    def inherit(self, other: Budget) -> None:
        """Take the place of another, of the same scores; what the configuration allows is still to be said."""
        if other._block_hops == self._block_hops:
            self._state, self.is_on = other._state, other.is_on

    def per_hour(self, slots: Ints) -> Doubles:
        """(n,) what each stream may raise in an hour; 0 where it has no budget."""
        allowed: Doubles = self._state["per_hour"][slots]
        return allowed

    def warming(self, slots: Ints) -> Bools:
        """Whether each stream has a budget, and too little is known to keep it: no alarm is raised."""
        warming: Bools = (self._state["per_hour"][slots] > 0) & np.isinf(self._state["level"][slots])
        return warming

    def levels(self, slots: Ints, fixed: tuple[float, float]) -> tuple[Doubles, Doubles]:
        """(n,) the levels from which an alarm is raised, and below which it is over; `fixed` without a budget."""
        rows = self._state[slots]
        level, over = (_share(rows[name]) if self._are_shares else rows[name] for name in ("level", "over"))
        free = rows["per_hour"] == 0
        return np.where(free, fixed[0], level), np.where(free, fixed[1], over)

    def learn(self, slots: Ints, score: Doubles, busy: Bools, raised: Bools) -> None:
        """Scores (n,) of one hop of distinct streams, NaN where there is none.

        `busy`: an alarm of the track was on before; `raised`: one has been raised by this very row.
        """
        mine = np.flatnonzero(self._state["per_hour"][slots] > 0)
        if not len(mine):
            return
        slots, score, busy, raised = slots[mine], score[mine], busy[mine], raised[mine]
        if self._are_shares:
            score = _odds(score)
        rows = self._state[slots]
        rows["frozen"] = np.where(busy, rows["frozen"] + 1, 0)
        learns = ~np.isnan(score) & (~busy | (rows["frozen"] > self._max_frozen))
        rows["top"] = np.where(learns, np.fmax(rows["top"], score), rows["top"])
        rows["hops"] += learns
        rows["push"] += raised * self._gain(rows)
        full = np.flatnonzero(rows["hops"] >= self._block_hops)
        if len(full):
            rows[full] = self._learn_block(rows[full])
        self._state[slots] = rows

    def _learn_block(self, rows: NDArray[np.void]) -> NDArray[np.void]:
        """Rows whose block is full."""
        top = np.minimum(rows["top"], rows["level"])
        flagged = rows["top"] >= rows["level"]
        first = rows["blocks"] == 0
        rows["base"][first] = top[first]
        rows["quantiles"][first] = top[first, None]
        rows["excess"][first], rows["count"][first] = 0.1 * np.abs(top[first]), 1.0
        rows["share"][first] = 0.5

        blocks = np.maximum(rows["blocks"], 1.0)
        share, mean = rows["share"], _mean_excess(rows)
        above = (top > rows["base"]) & ~first
        kept = np.where(above, 1 - 1 / BASE_BLOCKS, 1.0)
        rows["excess"] = rows["excess"] * kept + np.where(above, top - rows["base"], 0.0)
        rows["count"] = rows["count"] * kept + (above & ~flagged)
        gain = np.maximum(1 / DEPTH, 0.5 / (1 + blocks * share / 4))
        rows["base"] += mean * np.where(first, 0.0, gain * (above - share))

        spread = (rows["quantiles"][:, 1] - rows["quantiles"][:, 0]) / (_GUMBEL[1] - _GUMBEL[0])
        unit = np.where(blocks > 16, np.maximum(spread, 1e-3 * mean), mean)[:, None]
        steps = np.minimum(1 / (1 + _SHARES * np.minimum(blocks, _REMEMBERED_BLOCKS)[:, None]), 0.5)
        moved = rows["quantiles"] + unit * steps * ((top[:, None] > rows["quantiles"]) - _SHARES)
        rows["quantiles"] = np.where(first[:, None], rows["quantiles"], np.maximum.accumulate(moved, axis=1))

        warm = rows["blocks"] >= WARM_UP_BLOCKS
        quiet = np.where(warm, self._gain(rows) * rows["per_hour"] * self._block_h, 0.0)
        rows["push"] = np.clip(rows["push"] - quiet, *_PUSH_RANGE)
        rows["blocks"] += 1
        rows["top"], rows["hops"] = -np.inf, 0
        self._move_base(rows)
        self._set_levels(rows)
        return rows

    def _gain(self, rows: NDArray[np.void]) -> Doubles:
        """What an alarm pushes: the first ones, before there should have been any, say most."""
        allowed = rows["per_hour"] * rows["blocks"] * self._block_h
        gain: Doubles = np.maximum(_PUSH, _PUSH_FIRST / (1 + allowed))
        return gain

    def _move_base(self, rows: NDArray[np.void]) -> None:
        """To where the share of blocks above it is what it should be, as an exponential tail has it."""
        seen = BASE_BLOCKS / np.maximum(rows["blocks"], 1.0)
        share = np.minimum(0.5, np.maximum(DEPTH * rows["per_hour"] * self._block_h, seen))
        rows["base"] += _mean_excess(rows) * np.log(rows["share"] / share)
        rows["share"] = share

    def _set_levels(self, rows: NDArray[np.void]) -> None:
        """From the base along the tail to the budget."""
        gaps = np.maximum(np.diff(rows["quantiles"], axis=1), 1e-9)
        told = np.log(gaps[:, 1] / gaps[:, 0] / _EVEN) / _BETWEEN
        shape = (rows["blocks"] * told + _TAIL_BLOCKS * self._tail) / (rows["blocks"] + _TAIL_BLOCKS)
        shape = np.clip(shape, _LIGHTEST, max(_HEAVIEST, self._tail))
        scale = _mean_excess(rows) * (1 - shape)
        ratio = rows["share"] / (rows["per_hour"] * self._block_h)
        rarer = np.maximum(np.log(ratio) + rows["push"], 0.0)
        shape = shape + 0.2 / np.maximum(rows["count"], 4) + 0.125 * rarer**2 / (rows["blocks"] + _TAIL_BLOCKS)
        shape = np.where(np.abs(shape) < 1e-6, 1e-6, shape)
        level = np.maximum(rows["base"] + scale * np.expm1(shape * rarer) / shape, self._floor)
        known = rows["blocks"] >= WARM_UP_BLOCKS
        rows["level"] = np.where(known, level, np.inf)
        # Over is what is usual again; an alarm that waited for less would go on from one usual top to the next.
        rows["over"] = np.where(known, np.minimum(np.maximum(rows["base"], 0.8 * self._floor), level), np.inf)

    def still(self) -> Budget:
        """One whose `calibration` stays as it is now."""
        return still(self, "_state")

    def calibration(self, slot: int) -> dict[str, float]:
        """What was learned of a stream; empty before anything was."""
        row = self._state[slot]
        told = {} if np.isnan(row["asked"]) else {"asked": float(row["asked"])}
        if not row["blocks"] and not row["hops"]:
            return told
        told |= {name: float(row[name]) for name in _KEPT if np.isfinite(row[name])}
        return told | {f"quantile_{i}": float(value) for i, value in enumerate(row["quantiles"])}

    def calibrate(self, slot: int, learned: Mapping[str, float]) -> None:
        """Go on with what `calibration` gave; what is no number, or not all there, is left."""
        rows = self._state[slot : slot + 1]
        if learned.get("asked", -1) >= 0:
            rows["asked"] = learned["asked"]
        quantiles = [f"quantile_{i}" for i in range(len(_SHARES))]
        names = [*(name for name in _KEPT if name != "top"), *quantiles]
        if all(np.isfinite(learned.get(name, np.nan)) for name in names):
            for name in _KEPT:
                rows[name] = learned.get(name, -np.inf)
            rows["quantiles"] = [learned[name] for name in quantiles]
        self._settle(slot)


def _mean_excess(rows: NDArray[np.void]) -> Doubles:
    """Over the base; those of unknown size add to the sum and not to the count, as for censored lifetimes."""
    mean: Doubles = rows["excess"] / np.maximum(rows["count"], 1.0)
    return mean


def _odds(share: Doubles) -> Doubles:
    """Logarithm of the odds."""
    inside = np.clip(share, _SURE, 1 - _SURE)
    odds: Doubles = np.log(inside / (1 - inside))
    return odds


def _share(odds: Doubles) -> Doubles:
    """The inverse; what is beyond the odds that a share can have is never reached."""
    share: Doubles = np.where(odds > _odds(np.ones(1)), np.inf, 1 / (1 + np.exp(-odds)))
    return share
