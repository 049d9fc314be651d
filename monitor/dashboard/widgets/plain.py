"""A widget without border, padding or selection: its lines go to the screen as they are."""

from __future__ import annotations

from textual.containers import Horizontal, Vertical
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget


class Plain(Widget):
    """Leaves out what Textual does to the lines of other widgets, which costs more than to draw them."""

    ALLOW_SELECT = False

    def render_lines(self, crop: Region) -> list[Strip]:
        """See Widget.render_lines."""
        first, last = crop.column_span
        strips = [self.render_line(y) for y in crop.line_range]
        if (first, last) == (0, self.size.width):
            return strips
        return [strip.crop(first, last) for strip in strips]


class Row(Horizontal):
    """Widgets side by side, with nothing of its own to be seen."""

    BLANK = True


class Column(Vertical):
    """Widgets one below the other, with nothing of its own to be seen."""

    BLANK = True
