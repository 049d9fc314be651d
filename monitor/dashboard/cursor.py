"""The cursor with the values under it, the notes of the watchers, and the clock below a picture that stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, takewhile

import numpy as np

from monitor.core.blocks import NS, Note
from monitor.dashboard.bars import clock_text
from monitor.dashboard.palette import Ink
from monitor.dashboard.raster import Cells, Glyphs
from monitor.dashboard.scale import number_text
from monitor.dashboard.stream import StreamView
from monitor.dashboard.timing import Timing

LONGEST_NOTE = 24


@dataclass(frozen=True)
class Cursor:
    """A moment of a lane."""

    timing: Timing
    t_ns: int
    glyphs: Glyphs

    def draw(self, cells: Cells, rows: slice, view: StreamView, channel: int) -> None:
        """A bar through the lane, with the value beside it."""
        column = _column(self.timing, self.t_ns, self.glyphs)
        columns = cells.glyph.shape[1]
        if not 0 <= column < columns:
            return
        cells.ground[rows, column] = Ink.SELECTED
        if not self.glyphs.has_blocks:
            blank = cells.glyph[rows, column] == ord(" ")
            cells.glyph[rows, column] = np.where(blank, ord("|"), cells.glyph[rows, column])
        text = value_text(view, self.t_ns, channel)
        height = (rows.stop or 0) - (rows.start or 0)
        row = (rows.start or 0) + min(2, height - 1)
        start = column + 1 if column + 1 + len(text) <= columns else column - len(text)
        cells.write(row, start, text, Ink.TEXT, Ink.SELECTED)


def value_text(view: StreamView, t_ns: int, channel: int) -> str:
    """The value of a channel at a time, in its unit."""
    if view.trace is None or channel >= view.trace.channels or not view.trace.count:
        return ""
    value = float(view.trace.at(np.array([t_ns]))[0, channel])
    if not np.isfinite(value):
        return "no sample"
    return f"{'+' if value > 0 else ''}{number_text(value)} {view.unit}".strip()


def draw_notes(cells: Cells, row: int, notes: Sequence[Note], timing: Timing, glyphs: Glyphs) -> None:
    """What was said about moments in sight, at the top of a lane."""
    free_from = 0
    for note in notes:
        column = _column(timing, note.t_ns, glyphs)
        if not free_from <= column < cells.glyph.shape[1]:
            continue
        text = note.text if len(note.text) <= LONGEST_NOTE else note.text[: LONGEST_NOTE - 1] + "~"
        sign = "⚑ " if glyphs.has_blocks else "^ "
        cells.write(row + 1, column, sign + text, Ink.FORECAST, Ink.PANEL)
        free_from = column + len(text) + 3


def draw_clock(cells: Cells, row: int, timing: Timing, cursor_ns: int, glyphs: Glyphs) -> None:
    """Round times of day, and the time under the cursor."""
    columns = cells.glyph.shape[1]
    step_ns = max(round(timing.tick_s * NS), 1)
    first = -(-timing.first_ns // step_ns) * step_ns
    last = timing.first_ns + timing.columns * timing.column_ns
    length = len("13:46:40.5" if step_ns < NS else "13:46:40")
    free_from = 0
    for t in takewhile(lambda t: t <= last, count(first, step_ns)):
        column, text = _column(timing, t, glyphs), clock_text(t)[:length]
        start = column - len(text) // 2
        if start >= free_from and start + len(text) <= columns:
            cells.write(row, start, text, Ink.DIM)
            free_from = start + len(text) + 1
    column, text = _column(timing, cursor_ns, glyphs), f" {clock_text(cursor_ns)} "
    if 0 <= column < columns:
        start = min(max(column - len(text) // 2, 0), max(columns - len(text), 0))
        cells.write(row, start, text, Ink.TEXT, Ink.SELECTED)


def time_at(timing: Timing, column: int, glyphs: Glyphs) -> int:
    """The data time of a cell column of a picture that stands."""
    return timing.first_ns + round((column + 0.5) * glyphs.wide * timing.column_ns)


def _column(timing: Timing, t_ns: int, glyphs: Glyphs) -> int:
    age = (t_ns - timing.first_ns) // timing.column_ns
    if not 0 <= age < timing.columns:
        return -1
    return timing.placed_column(int(age)) // glyphs.wide
