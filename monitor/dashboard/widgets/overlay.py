"""The last beats of the selected stream, laid over each other."""

from __future__ import annotations

from monitor.dashboard.beats import draw_beats
from monitor.dashboard.choices import Choices
from monitor.dashboard.state import Board
from monitor.dashboard.widgets.canvas import Canvas


class BeatOverlay(Canvas):
    """Beats aligned on their R peak; the odd ones stand out."""

    _drawn: object = None

    def update(self, board: Board, choices: Choices) -> None:
        """Draw again once there is another beat, or another stream."""
        width, height = self.size
        view = board.streams.get(choices.selected)
        newest = view.beats[-1].t_ns if view is not None and view.beats else 0
        drawn = (choices.selected, newest, choices.glyphs.name, choices.palette, width, height)
        if width and height and drawn != self._drawn:
            self._drawn = drawn
            self.show(draw_beats(view, height, width, choices.glyphs), choices.palette)
