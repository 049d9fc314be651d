"""Ten minutes of the selected stream at a glance."""

from __future__ import annotations

from monitor.dashboard.choices import Choices
from monitor.dashboard.past import draw_past
from monitor.dashboard.state import Board
from monitor.dashboard.widgets.canvas import Canvas


class PastStrip(Canvas):
    """How anomalous the last minutes were, and what was flagged in them."""

    def update(self, board: Board, choices: Choices) -> None:
        """Show how things are."""
        width, height = self.size
        if width and height:
            view = board.streams.get(choices.selected)
            past, newest_ns = (view.past, view.newest_ns) if view is not None else (None, 0)
            self.show(draw_past(past, newest_ns, height, width, choices.glyphs), choices.palette)
