"""A widget of ready lines: shows them, and repaints only those that changed."""

from __future__ import annotations

from itertools import zip_longest

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
        self._strips: dict[int, Strip] = {}
        """Of lines that stand as they were rendered: a neighbour's change has Textual ask for all of them."""
        self._looks: tuple[Palette, bool] = (DARK, False)

    def show(self, lines: list[Line], choices: Choices) -> None:
        """Show these from now on, as chosen."""
        looks = (choices.palette, not choices.glyphs.has_blocks)
        before, self._lines = self._lines, lines
        if looks != self._looks:
            self._looks = looks
            self._strips.clear()
            self.refresh()
            return
        changed = [y for y, (old, new) in enumerate(zip_longest(before, lines)) if old != new]
        for y in changed:
            self._strips.pop(y, None)
        if changed:
            self.refresh(*(Region(0, y, self.size.width, 1) for y in changed))

    @property
    def text(self) -> str:
        """What is shown, without colours."""
        return "\n".join("".join(part.text for part in line).rstrip() for line in self._lines)

    def render_line(self, y: int) -> Strip:
        """See Textual's Line API."""
        known = self._strips.get(y)
        if known is None or known.cell_length != self.size.width:
            palette, is_ascii = self._looks
            line = self._lines[y] if y < len(self._lines) else ()
            known = self._strips[y] = strip(line, self.size.width, palette, is_ascii=is_ascii)
        return known
