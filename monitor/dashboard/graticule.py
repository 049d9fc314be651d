"""The grid behind a lane: lines at round times and round values, fixed to the screen."""

from __future__ import annotations

from functools import lru_cache

from monitor.core.blocks import NS
from monitor.dashboard.palette import Ink
from monitor.dashboard.raster import Cells, Glyphs
from monitor.dashboard.scale import Range
from monitor.dashboard.timing import Timing

ROWS_A_LINE = 2
MINOR = 5
"""Minor lines to a major one, as on ECG paper."""


def graticule(rows: int, columns: int, timing: Timing, shown: Range, glyphs: Glyphs) -> Cells:
    """A lane with nothing but its grid."""
    major = tuple(column // glyphs.wide for column, _ in timing.ticks())
    step = timing.tick_s * NS / timing.column_ns / glyphs.wide / MINOR  # cells
    minor: tuple[int, ...] = ()
    if step >= 2 and major:
        start = major[0] - int(major[0] / step) * step
        minor = tuple(int(start + i * step) for i in range(int((columns - start) / step) + 1))
    lines = tuple(
        int((shown.top - value) * rows / shown.span) for value in shown.lines(max(rows // ROWS_A_LINE, 1))
    )
    grid = _grid(rows, columns, major, minor, lines, glyphs.has_blocks)
    return Cells(grid.glyph.copy(), grid.ink.copy(), grid.ground.copy())


@lru_cache(64)
def _grid(
    rows: int, columns: int, major: tuple[int, ...], minor: tuple[int, ...], lines: tuple[int, ...], blocks: bool
) -> Cells:
    cells = Cells.blank(rows, columns)
    major = tuple(c for c in major if 0 <= c < columns)
    minor = tuple(c for c in minor if 0 <= c < columns and c not in major)
    lines = tuple(r for r in lines if 0 <= r < rows)
    cells.ink[:] = Ink.GRID
    across, down, cross, small = "─│┼┼" if blocks else ".:+."
    for row in lines:
        cells.glyph[row, :] = ord(across) if blocks else ord(" ")
        cells.glyph[row, list(minor)] = ord(small)
    for column in major:
        cells.glyph[:, column] = ord(down)
        cells.ink[:, column] = Ink.GRID_MAJOR
        cells.glyph[list(lines), column] = ord(cross)
    return cells
