"""A widget of cells: shows them with the Line API, and repaints only rows that changed."""

from __future__ import annotations

from rich.segment import Segment
from textual.geometry import Region
from textual.strip import Strip

from monitor.dashboard.palette import Palette
from monitor.dashboard.raster import Cells
from monitor.dashboard.themes import DARK
from monitor.dashboard.widgets.inks import strip, style
from monitor.dashboard.widgets.plain import Plain


class Canvas(Plain):
    """Cells from the pure modules."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's name for it
        super().__init__(id=id)
        self._cells: Cells | None = None
        self._palette: Palette = DARK
        self._strips: list[Strip] = []

    def show(self, cells: Cells, palette: Palette) -> None:
        """Show these from now on."""
        before = self._cells
        if palette is not self._palette:
            self._palette, before = palette, None
        spans = cells.changes(before)
        rows = list(dict.fromkeys(row for row, _, _ in spans))
        self._cells = cells
        height, width = cells.glyph.shape
        if before is None or len(self._strips) != height:
            self._strips = [Strip.blank(width)] * height
        for row, pieces in zip(rows, cells.runs(rows), strict=True):
            segments = [Segment(text, style(palette, ink, ground)) for text, ink, ground in pieces]
            self._strips[row] = Strip(segments, width)
        if len(rows) == height:
            self.refresh()
        elif rows:
            self.refresh(*(Region(first, row, last - first, 1) for row, first, last in spans))

    @property
    def text(self) -> str:
        """What is shown, without colours."""
        return "\n".join(line.text.rstrip() for line in self._strips)

    def render_line(self, y: int) -> Strip:
        """See Textual's Line API."""
        return self._strips[y] if y < len(self._strips) else strip((), self.size.width, self._palette)
