"""The past ten minutes of a stream in little: how high its scores stood, and what was flagged."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from monitor.core.blocks import NS
from monitor.dashboard.palette import Ink
from monitor.dashboard.raster import EIGHTHS, Cells, Glyphs
from monitor.dashboard.scale import seconds_text

PIECES = 600
SLOW_SAMPLES = 10
"""A piece is a second, or so many samples of a slower stream."""
INKS = np.array([Ink.FAINT, Ink.TECHNICAL, Ink.LOW, Ink.MEDIUM, Ink.HIGH], np.uint8)
"""By rank + 1."""
ASCII_BARS = np.array([ord(c) for c in " ..::--##"], np.uint32)


class Past:
    """A ring of pieces of time, each with its highest score and the rank of what was flagged in it."""

    def __init__(self, piece_ns: int) -> None:
        self.piece_ns = piece_ns
        self._number = np.full(PIECES, -1, np.int64)
        """Which piece, counted from time zero, stands in each place."""
        self._score = np.zeros(PIECES, np.float32)
        self._rank = np.full(PIECES, -1, np.int8)

    @classmethod
    def of_rate(cls, rate_hz: float, span_s: float = PIECES) -> Past:
        """With pieces that fit a stream of this rate, and together so many seconds."""
        least_ns = max(round(span_s * NS / PIECES), NS)
        return cls(max(least_ns, round(SLOW_SAMPLES * NS / rate_hz)) if rate_hz > 0 else least_ns)

    def note(self, t_ns: int, share: float) -> None:
        """A score of this share of its threshold stood at `t_ns`."""
        at = self._place(t_ns // self.piece_ns)
        if at is not None:
            self._score[at] = max(self._score[at], share)

    def flag(self, from_ns: int, to_ns: int, rank: int) -> None:
        """Something of this rank was flagged from `from_ns` to `to_ns`."""
        last = to_ns // self.piece_ns
        for number in range(max(from_ns // self.piece_ns, last - PIECES + 1), last + 1):
            at = self._place(number)
            if at is not None:
                self._rank[at] = max(self._rank[at], rank)

    def _place(self, number: int) -> int | None:
        at = number % PIECES
        if self._number[at] > number + 2 * PIECES:
            self._number[:] = -1  # the stream began anew, in an earlier time
        if self._number[at] > number:
            return None
        if self._number[at] < number:
            self._number[at], self._score[at], self._rank[at] = number, 0.0, -1
        return at

    def pieces(self, newest_ns: int) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
        """Scores and ranks of the pieces up to the one of `newest_ns`, oldest first."""
        number = newest_ns // self.piece_ns - np.arange(PIECES - 1, -1, -1)
        at = number % PIECES
        known = self._number[at] == number
        return np.where(known, self._score[at], 0).astype(np.float32), np.where(known, self._rank[at], -1)


def draw_past(past: Past | None, newest_ns: int, rows: int, columns: int, glyphs: Glyphs) -> Cells:
    """A bar for each piece of time, as high as its highest score, in the colour of what was flagged."""
    cells = Cells.blank(rows, columns)
    if past is None or rows < 1 or columns < 1:
        return cells
    score, rank = past.pieces(newest_ns)
    edges = np.linspace(0, PIECES, columns + 1).astype(np.int64)[:-1]
    edges = np.minimum(edges, PIECES - 1)
    share, ranks = np.maximum.reduceat(score, edges), np.maximum.reduceat(rank, edges)
    flagged = ranks > 0
    height = np.where(flagged, np.clip(share, 0.85, 1.0), np.clip(share, 0.0, 0.8) * 0.7)
    eighths = np.clip(np.ceil(height * 8), 1, 8).astype(np.int64)
    cells.glyph[0] = (EIGHTHS if glyphs.has_blocks else ASCII_BARS)[eighths]
    cells.ink[0] = INKS[ranks + 1]
    if rows > 1:
        span_s = PIECES * past.piece_ns / NS
        for share_of_width in (0.0, 0.5):
            text = f"-{seconds_text(span_s * (1 - share_of_width))}"
            cells.write(1, round(columns * share_of_width), text, Ink.DIM)
        cells.write(1, columns - 3, "now", Ink.DIM)
    return cells


def moment_at(column: int, columns: int, piece_ns: int, newest_ns: int) -> int:
    """The data time in the middle of a column."""
    return newest_ns - round((1 - (column + 0.5) / max(columns, 1)) * PIECES * piece_ns)


def mark_moment(cells: Cells, piece_ns: int, newest_ns: int, t_ns: int) -> None:
    """Show where the cursor stands."""
    columns = cells.glyph.shape[1]
    column = columns - 1 - int((newest_ns - t_ns) / (PIECES * piece_ns) * columns)
    if 0 <= column < columns:
        cells.ground[:, column] = Ink.SELECTED
