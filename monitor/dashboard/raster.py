"""numpy to character cells: dots, layers, text, and the runs of equal colour that a terminal is sent.

A cell has one glyph, one ink and one ground. Curves are drawn in dots, `Glyphs.wide` x `Glyphs.high` to a cell,
and a dot column is the unit of time: a curve is the lowest and the highest dot it touches in each of them, so
that a million samples cost no more than a screen full, and no spike is lost to decimation.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from monitor.dashboard.palette import Ink
from monitor.dashboard.text import plain

Codes = NDArray[np.uint32]
Bools = NDArray[np.bool_]
Rows = NDArray[np.int64]
Reals = NDArray[np.float64]

SPACE = 0x20
EIGHTHS = np.array([SPACE, *range(0x2581, 0x2589)], np.uint32)
"""Blocks that fill 0 to 8 eighths of a cell from below."""
NEAR = 8
"""Changes with no more columns between them are sent as one: to go there costs as much."""
MANY = 2.5
"""Pieces a row, beyond which a row is one piece."""
NOTHING = -1
"""In place of both dot rows: the curve is not there."""


@dataclass(frozen=True)
class Glyphs:
    """A way of drawing dots with characters."""

    name: str
    wide: int
    high: int
    table: Codes = field(repr=False)
    """Glyph of each pattern; the dot at (x, y) of a cell is bit x * high + y."""
    has_blocks: bool = True
    """Whether block and line characters may be used beside them."""


def _braille() -> Codes:
    bits = (0x01, 0x02, 0x04, 0x40, 0x08, 0x10, 0x20, 0x80)  # by column, top to bottom
    return np.array([0x2800 + sum(b for i, b in enumerate(bits) if p >> i & 1) for p in range(256)], np.uint32)


def _sextant() -> Codes:
    order = (0, 2, 4, 1, 3, 5)  # Unicode counts the six by row
    table = []
    for pattern in range(64):
        p = sum(1 << order[i] for i in range(6) if pattern >> i & 1)
        known = {0: SPACE, 21: 0x258C, 42: 0x2590, 63: 0x2588}
        table.append(known.get(p, 0x1FB00 + p - 1 - (p > 21) - (p > 42)))
    return np.array(table, np.uint32)


def _codes(text: str) -> Codes:
    return np.array([ord(c) for c in text], np.uint32)


def _glyph_sets() -> tuple[Glyphs, ...]:
    braille = _braille()
    braille[0] = SPACE
    return (
        Glyphs("braille", 2, 4, braille),
        Glyphs("quadrant", 2, 2, _codes(" ▘▖▌▝▀▞▛▗▚▄▙▐▜▟█")),
        Glyphs("half block", 1, 2, _codes(" ▀▄█")),
        Glyphs("ascii", 1, 3, _codes(" '-!.:||"), has_blocks=False),
        Glyphs("sextant", 2, 3, _sextant()),  # last: few fonts have them
    )


GLYPHS = _glyph_sets()
BRAILLE, ASCII = GLYPHS[0], GLYPHS[3]


@dataclass
class Cells:
    """A rectangle of the screen, still as numbers."""

    glyph: Codes = field(repr=False)
    """(row, column), code points."""
    ink: NDArray[np.uint8] = field(repr=False)
    ground: NDArray[np.uint8] = field(repr=False)

    @classmethod
    def blank(cls, rows: int, columns: int, ground: Ink = Ink.PAPER) -> Cells:
        """Nothing but `ground`."""
        shape = (rows, columns)
        return cls(
            np.full(shape, SPACE, np.uint32),
            np.full(shape, Ink.TEXT, np.uint8),
            np.full(shape, ground, np.uint8),
        )

    def put(self, pattern: NDArray[np.uint8], glyphs: Glyphs, ink: Ink | NDArray[np.uint8]) -> None:
        """Lay dots over what is there; cells without a dot stay as they are."""
        where = pattern > 0
        self.glyph[where] = glyphs.table[pattern[where]]
        self.ink[where] = ink if isinstance(ink, Ink) else np.broadcast_to(ink, pattern.shape)[where]

    def write(self, row: int, column: int, text: str, ink: Ink, ground: Ink | None = None) -> None:
        """Write text over what is there, on its ground; what does not fit is cut off."""
        rows, columns = self.glyph.shape
        text = plain(text)
        if column < 0:
            text, column = text[-column:], 0
        text = text[: max(columns - column, 0)]
        if not text or not 0 <= row < rows:
            return
        place = np.s_[row, column : column + len(text)]
        self.glyph[place] = _codes(text)
        self.ink[place] = ink
        if ground is not None:
            self.ground[place] = ground

    def changes(self, before: Cells | None) -> list[tuple[int, int, int]]:
        """Row, first column and the one after the last of what differs from `before`, row by row."""
        height, width = self.glyph.shape
        if before is None or before.glyph.shape != self.glyph.shape:
            return [(row, 0, width) for row in range(height)]
        differs = self.glyph != before.glyph
        differs |= self.ink != before.ink
        differs |= self.ground != before.ground
        row, column = np.nonzero(differs)
        if not len(row):
            return []
        begins = np.diff(row, prepend=-1) != 0
        starts = np.flatnonzero(begins | (np.diff(column, prepend=-1) > NEAR))
        if len(starts) > MANY * np.count_nonzero(begins):  # to find out where costs more than to send it all
            starts = np.flatnonzero(begins)
        ends = np.append(starts[1:], len(row)) - 1
        pieces = zip(row[starts].tolist(), column[starts].tolist(), column[ends].tolist(), strict=True)
        return [(at, first, last + 1) for at, first, last in pieces]

    def changed_rows(self, before: Cells | None) -> list[int]:
        """The rows that differ from `before`."""
        return list(dict.fromkeys(row for row, _, _ in self.changes(before)))

    def runs(self, rows: list[int]) -> list[list[tuple[str, int, int]]]:
        """For each of `rows`, its text in pieces of one ink and one ground.

        A blank takes the ink of what stands before it: it shows none, and pieces get fewer.
        """
        result: list[list[tuple[str, int, int]]] = []
        if not rows:
            return result
        glyph, ground = self.glyph[rows], self.ground[rows]
        columns = glyph.shape[1]
        last_drawn = np.where(glyph != SPACE, np.arange(columns), 0)
        np.maximum.accumulate(last_drawn, axis=1, out=last_drawn)
        ink = np.take_along_axis(self.ink[rows], last_drawn, axis=1)
        begins = np.ones(glyph.shape, np.bool_)
        begins[:, 1:] = (ink[:, 1:] != ink[:, :-1]) | (ground[:, 1:] != ground[:, :-1])
        text = glyph.astype("<u4").tobytes().decode("utf-32-le")
        starts = np.flatnonzero(begins)
        inks, grounds = ink.ravel()[starts].tolist(), ground.ravel()[starts].tolist()
        edges = [*starts.tolist(), len(text)]
        for first, last, i, g in zip(edges, edges[1:], inks, grounds, strict=False):
            if first % columns == 0:
                result.append([])
            result[-1].append((text[first:last], i, g))
        return result


def envelope(position: Reals, values: Reals, columns: int) -> tuple[Reals, Reals]:
    """The lowest and the highest value of a polyline in each dot column; NaN where it is not.

    `position` is where each sample stands in dot columns (rising); a NaN value breaks the line. A column also
    holds where the line enters and leaves it, so that neighbours touch.
    """
    low, high = np.full(columns, np.nan), np.full(columns, np.nan)
    if not len(position):
        return low, high
    edges = np.interp(np.arange(columns + 1), position, values, left=np.nan, right=np.nan)
    np.fmin(edges[:-1], edges[1:], out=low)
    np.fmax(edges[:-1], edges[1:], out=high)
    column = np.floor(position).astype(np.int64)
    first, last = np.searchsorted(column, (0, columns))
    column, values = column[first:last], values[first:last]
    if len(column):
        starts = np.concatenate(([0], np.flatnonzero(np.diff(column)) + 1))
        where = column[starts]
        low[where] = np.fmin(low[where], np.fmin.reduceat(values, starts))
        high[where] = np.fmax(high[where], np.fmax.reduceat(values, starts))
    return low, high


def dot_rows(values: Reals, top_value: float, bottom_value: float, rows: int) -> Rows:
    """The dot row of each value, 0 being the top; out of range stays at the edge, NaN is NOTHING."""
    share = (top_value - values) * (rows / (top_value - bottom_value))
    known = np.isfinite(share)
    row = np.floor(np.where(known, share, 0.0)).clip(0, rows - 1).astype(np.int64)
    row[~known] = NOTHING
    return row


def dots(top: Rows, bottom: Rows, rows: int, columns: int, glyphs: Glyphs) -> NDArray[np.uint8]:
    """The dot pattern of each cell for a curve that fills `top` to `bottom` in each dot column, or NOTHING."""
    first = np.arange(0, rows * glyphs.high, glyphs.high)[:, None]  # dot row at the top of each cell
    highest = ((1 << np.arange(glyphs.high + 1)) - 1).astype(np.uint8)  # so many dots from the top down
    above = highest[(top - first).clip(0, glyphs.high)]
    lit = highest[(bottom + 1 - first).clip(0, glyphs.high)] & ~above  # (row, dot column)
    pattern = np.zeros((rows, columns), np.uint8)
    for x in range(glyphs.wide):
        pattern |= lit[:, x :: glyphs.wide] << np.uint8(x * glyphs.high)
    return pattern


def fill(cells: Cells, top: Reals, bottom: Reals, ink: Ink, *, covered: Bools, texture: str = "") -> None:
    """Shade each cell column from `top` to `bottom` (in cell rows, 0 being the top edge; NaN for none).

    Edges are as fine as an eighth of a cell; cells that are `covered` by dots have no room for a block, and are
    shaded when enough of them lies inside. With a `texture`, uncovered cells show that character instead.
    """
    row = np.arange(len(cells.glyph))[:, None]
    upper, lower = np.clip(top - row, 0, 1), np.clip(bottom - row, 0, 1)  # (row, column), shares of a cell
    share = np.nan_to_num(lower - upper)
    whole = share > np.where(covered, 0.25, 0.5)
    if texture:
        cells.glyph[whole & ~covered] = ord(texture)
        cells.ink[whole & ~covered] = ink
    else:
        eighths = np.rint(share * 8).astype(np.int64)
        free = (eighths > 0) & (eighths < 8) & ~covered
        from_below, from_above = free & (lower >= 1), free & (upper <= 0)
        cells.glyph[from_below] = EIGHTHS[eighths[from_below]]
        cells.ink[from_below] = ink
        cells.glyph[from_above] = EIGHTHS[8 - eighths[from_above]]
        cells.ink[from_above] = cells.ground[from_above]
        cells.ground[from_above] = ink
        whole &= ~from_below & ~from_above
        cells.glyph[whole & ~covered] = SPACE
    cells.ground[whole] = ink
