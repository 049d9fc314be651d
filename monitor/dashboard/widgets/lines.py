"""A widget of ready lines: shows them, and repaints only those that changed."""

from __future__ import annotations

from textual.geometry import Region
from textual.strip import Strip

from monitor.dashboard.choices import Choices
from monitor.dashboard.palette import Line, Palette
from monitor.dashboard.themes import DARK
from monitor.dashboard.widgets.inks import strip
from monitor.dashboard.widgets.plain import Plain


class Lines(Plain):
    """Lines of text from the pure modules, one below the other."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's name for it
        super().__init__(id=id)
        self._lines: list[Line] = []
        self._palette: Palette = DARK
        self._is_ascii = False

    def show(self, lines: list[Line], choices: Choices) -> None:
        """Show these from now on, as chosen."""
        looks = (choices.palette, not choices.glyphs.has_blocks)
        if looks != (self._palette, self._is_ascii):
            self._palette, self._is_ascii = looks
            self._lines = lines
            self.refresh()
            return
        before, self._lines = self._lines, lines
        most = max(len(before), len(lines))
        changed = [
            Region(0, y, self.size.width, 1)
            for y in range(most)
            if y >= len(before) or y >= len(lines) or before[y] != lines[y]
        ]
        if changed:
            self.refresh(*changed)

    @property
    def text(self) -> str:
        """What is shown, without colours."""
        return "\n".join("".join(part.text for part in line).rstrip() for line in self._lines)

    def render_line(self, y: int) -> Strip:
        """See Textual's Line API."""
        line = self._lines[y] if y < len(self._lines) else ()
        return strip(line, self.size.width, self._palette, is_ascii=self._is_ascii)
