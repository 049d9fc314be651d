"""Where a signal stands still: at one value for long, or again and again at its highest or lowest.

What is looked at, and when, is counted in samples since the segment began: it does not depend on the blocks.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from monitor.core.blocks import Floats, Ints
from monitor.core.windows import seconds_to_samples

FLAT, OFF, SATURATED = range(3)
Change = tuple[int, int, int, bool]
"""Row, sample of what was given, fault, whether it begins (else it ends)."""
_Flat = tuple[int, int, bool, float]
"""Of a flat line that begins or ends: row, sample, which of the two, value there."""

SATURATED_S = 0.5
"""Over how long it is counted how much of a signal lies on its rails."""
_CELL_S = 0.25
_CELLS = round(SATURATED_S / _CELL_S)
_WAVEFORM_HZ = 20.0
"""Slower signals rest at their extremes for good reasons."""
_SATURATED, _NO_MORE = 0.1, 0.03
"""Share of samples on the rails from which a signal is saturated, and below which a cell is not."""
_SATURATED_AT_ONCE = 0.3
"""Share in a single cell that says as much."""
_AFTER_CELLS = 8
"""Cells in a row that are not, after which a signal is no longer saturated."""
_ERA_CELLS = 16
_NONE = np.float32(np.inf)


class Plateaus:
    """One channel of up to `capacity` streams."""

    def __init__(self, capacity: int) -> None:
        self._last = np.full(capacity, np.nan, np.float32)
        self._run = np.zeros(capacity, np.int64)  # samples that ended with the last one and were equal to it
        self._is_saturated = np.zeros(capacity, np.bool_)
        self._quiet = np.zeros(capacity, np.int64)  # cells since one was saturated
        self._flat_cell = np.full(capacity, -_CELLS, np.int64)  # the last one with a part of a flat line in it
        self._in_cell = np.zeros(capacity, np.int64)
        self._cells = np.zeros(capacity, np.int64)
        # Of the cell that is on, and of the ones before: highest, lowest (negated), and how many rested there.
        self._top = np.full((capacity, 2), -_NONE, np.float32)
        self._count = np.zeros((capacity, 2), np.int64)
        self._tops = np.full((capacity, _CELLS, 2), -_NONE, np.float32)
        self._counts = np.zeros((capacity, _CELLS, 2), np.int64)
        # Of this era and the one before: what a lead that comes off leaves behind is beyond both.
        self._era = np.full((capacity, 2, 2), -_NONE, np.float32)

    def start(self, slot: int) -> None:
        """Begin anew."""
        self._last[slot], self._run[slot], self._is_saturated[slot] = np.nan, 0, False
        self._quiet[slot], self._flat_cell[slot] = 0, -_CELLS
        self._in_cell[slot] = self._cells[slot] = self._count[slot] = self._counts[slot] = 0
        self._top[slot] = self._tops[slot] = self._era[slot] = -_NONE

    def step(self, slots: Ints, x: Floats, rate_hz: float, flat: int) -> list[Change]:
        """Samples (stream, time) that follow on; `flat` equal ones in a row make a flat line."""
        same = np.empty(x.shape, np.bool_)
        same[:, 0] = x[:, 0] == self._last[slots]
        np.equal(x[:, 1:], x[:, :-1], out=same[:, 1:])
        carried = self._run[slots]
        flats = self._flat(slots, x, same, carried, flat)
        changes = [(row, at, FLAT, begins) for row, at, begins in flats]
        if rate_hz >= _WAVEFORM_HZ:
            cell = max(seconds_to_samples(_CELL_S, rate_hz), 8)
            waiting = [(row, at, begins, float(x[row, at])) for row, at, begins in flats]
            changes = self._saturated(slots, x, same, carried, cell, waiting)
            changes += [self._judged(slots, flat) for flat in waiting]
        self._last[slots] = x[:, -1]
        return changes

    def _flat(
        self, slots: Ints, x: Floats, same: NDArray[np.bool_], carried: Ints, flat: int
    ) -> list[tuple[int, int, bool]]:
        """Where flat lines begin, when `flat` samples are there, and end: row, sample, whether it begins."""
        n = x.shape[1]
        broken = ~same
        ends = np.where(broken.any(axis=1), np.argmax(broken[:, ::-1], axis=1) + 1, n + carried)
        self._run[slots] = ends
        found = []
        long_enough: NDArray[np.bool_] = carried + n >= flat
        if n >= flat:  # a flat line goes on from before, or fills one of the cells half as long
            half = flat // 2
            lead = np.where(broken.any(axis=1), broken.argmax(axis=1), n)
            cells = same[:, : n // half * half].reshape(len(slots), -1, half)
            filled: NDArray[np.bool_] = np.logical_and.reduce(cells, axis=2)
            long_enough = (carried + lead >= flat) | filled.any(axis=1)
        for row in np.flatnonzero(long_enough).tolist():
            edges = [0, *np.flatnonzero(broken[row]).tolist(), n]
            run = int(carried[row])
            for start, end in pairwise(edges):
                if start or broken[row, 0]:
                    if run >= flat:
                        found.append((row, start, False))
                    run = 0
                if run < flat <= run + end - start:
                    found.append((row, start + flat - 1 - run, True))
                run += end - start
        return found

    def _judged(self, slots: Ints, flat: _Flat) -> Change:
        """Of a flat line that begins, whether it lies at the edge of what was seen in the last seconds."""
        row, at, begins, value = flat
        slot = int(slots[row])
        if not begins:
            self._flat_cell[slot] = self._cells[slot]
            return row, at, FLAT, False
        seen = np.maximum(self._era[slot].max(axis=0), self._tops[slot].max(axis=0))
        is_edge = bool(np.isfinite(seen).all()) and (value >= seen[0] or -value >= seen[1])
        return row, at, OFF if is_edge else FLAT, True

    def _saturated(
        self,
        slots: Ints,
        x: Floats,
        same: NDArray[np.bool_],
        carried: Ints,
        cell: int,
        waiting: list[_Flat],
    ) -> list[Change]:
        """Count in cells; a row is cut where its cells end, and its first and last pieces are parts of cells.

        What is known of a stream changes with each cell that is over, so each of `waiting` is judged just before.
        """
        rows, n = x.shape
        first = cell - self._in_cell[slots]  # where the cell that is on ends
        pieces = 1 + np.maximum(0, (n - first) // cell + 1)
        heads = np.cumsum(pieces) - pieces
        nth = np.arange(int(pieces.sum())) - np.repeat(heads, pieces)
        starts = np.where(nth > 0, np.repeat(first, pieces) + (nth - 1) * cell, 0)
        of = np.repeat(np.arange(rows), pieces)
        held = starts < n  # not so where a cell ended with the last sample
        tops, counts = np.full((len(nth), 2), -_NONE, np.float32), np.zeros((len(nth), 2), np.int64)
        tops[held], counts[held] = self._reduced(x, same, (starts + of * n)[held])
        self._merge(slots, tops, counts, heads)
        found: list[Change] = []
        for turn in range(int(pieces.max())):
            here = np.flatnonzero(pieces > turn)
            piece, ids = heads[here] + turn, slots[here]
            if turn:
                self._top[ids], self._count[ids] = tops[piece], counts[piece]
            over = pieces[here] > turn + 1
            if not over.any():
                break
            when = starts[piece[over] + 1] - 1
            if waiting:
                until = dict(zip(here[over].tolist(), when.tolist(), strict=True))
                found += [self._judged(slots, flat) for flat in waiting if flat[1] <= until.get(flat[0], -1)]
                waiting[:] = [flat for flat in waiting if flat[1] > until.get(flat[0], -1)]
            for i, rested in self._cell_over(ids[over], cell):
                row, at = int(here[over][i]), int(when[i])
                if rested and rested - self._still(same[row], at, int(carried[row])) < _NO_MORE * cell:
                    continue  # all of it may be a flat line that is about to be one; if not, the next cell tells
                self._is_saturated[slots[row]] = rested > 0
                found.append((row, at, SATURATED, rested > 0))
        self._in_cell[slots] = (self._in_cell[slots] + n) % cell
        return found

    @staticmethod
    def _reduced(x: Floats, same: NDArray[np.bool_], at: Ints) -> tuple[Floats, Ints]:
        """Highest and negated lowest of each piece (piece, 2), and how many of its samples rested there."""
        flat, rested = x.ravel(), same.ravel()
        tops = np.stack((np.maximum.reduceat(flat, at), -np.minimum.reduceat(flat, at)), axis=1)
        counts = np.zeros(tops.shape, np.int64)
        if rested.any():
            lengths = np.diff(np.append(at, len(flat)))
            for side, sign in enumerate((1, -1)):
                on = rested & (sign * flat == np.repeat(tops[:, side], lengths))
                counts[:, side] = np.add.reduceat(on, at, dtype=np.int64)
        return tops, counts

    def _merge(self, slots: Ints, tops: Floats, counts: Ints, heads: Ints) -> None:
        """The first piece of each row belongs to the cell that was on."""
        old, new = self._top[slots], tops[heads]
        n_old, n_new = self._count[slots], counts[heads]
        self._count[slots] = np.where(new > old, n_new, np.where(new == old, n_old + n_new, n_old))
        self._top[slots] = np.maximum(old, new)

    @staticmethod
    def _still(same: NDArray[np.bool_], at: int, carried: int) -> int:
        """For how many samples the signal has not moved at `at`."""
        moved = np.flatnonzero(~same[: at + 1])
        return at + 1 - int(moved[-1]) if len(moved) else at + 1 + carried

    def _cell_over(self, slots: Ints, cell: int) -> list[tuple[int, int]]:
        """The cells of `slots` are over: those that turn saturated, with what rested, or cease, with 0."""
        at = self._cells[slots]
        turn = at % _ERA_CELLS == 0
        self._era[slots[turn], 1] = self._era[slots[turn], 0]
        self._era[slots[turn], 0] = -_NONE
        leaving = self._tops[slots, at % _CELLS]
        self._era[slots, 0] = np.maximum(self._era[slots, 0], leaving)
        self._tops[slots, at % _CELLS], self._counts[slots, at % _CELLS] = self._top[slots], self._count[slots]
        self._cells[slots] += 1
        self._top[slots], self._count[slots] = -_NONE, 0
        tops = self._tops[slots].max(axis=1, keepdims=True)
        resting = np.where(self._tops[slots] == tops, self._counts[slots], 0).sum(axis=2) / cell  # (stream, cell)
        share, latest = resting.mean(axis=1), resting[np.arange(len(slots)), at % _CELLS]
        moves = tops[:, 0, 0] != -tops[:, 0, 1]
        self._quiet[slots] = np.where(moves & (latest >= _NO_MORE), 0, self._quiet[slots] + 1)
        was = self._is_saturated[slots]
        high = ((share >= _SATURATED) & (at + 1 >= _CELLS)) | (latest >= _SATURATED_AT_ONCE)
        turns_on = ~was & moves & high & (at + 1 > self._flat_cell[slots] + _CELLS)
        turns_off = was & (self._quiet[slots] >= _AFTER_CELLS)
        rested = np.where(turns_on, np.rint(cell * resting.sum(axis=1)), 0).astype(np.int64)
        return [(i, int(rested[i])) for i in np.flatnonzero(turns_on | turns_off).tolist()]
