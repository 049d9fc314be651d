"""Ten minutes of the selected stream at a glance, and a way back into them."""

from __future__ import annotations

from textual.events import MouseDown, MouseMove, MouseUp
from textual.message import Message

from monitor.dashboard.choices import Choices
from monitor.dashboard.past import Past, draw_past, mark_moment, moment_at
from monitor.dashboard.state import Board
from monitor.dashboard.widgets.canvas import Canvas


class PastStrip(Canvas):
    """How anomalous the last minutes were, and what was flagged in them; a click or a drag goes there."""

    class Chosen(Message):
        """A moment was clicked on, or the pointer was dragged over it."""

        def __init__(self, t_ns: int) -> None:
            super().__init__()
            self.t_ns = t_ns

    _piece_ns = 0
    _newest_ns = 0
    _drags = False

    def update(self, board: Board, choices: Choices) -> None:
        """Show how things are."""
        width, height = self.size
        if not width or not height:
            return
        view = board.streams.get(choices.selected)
        past, self._newest_ns = None, 0
        if view is not None:
            past, self._newest_ns = view.past or Past.of_rate(view.rate_hz, view.kept_s), view.newest_ns
        self._piece_ns = past.piece_ns if past is not None else 0
        cells = draw_past(past, self._newest_ns, height, width, choices.glyphs)
        if choices.frozen is not None and self._piece_ns:
            mark_moment(cells, self._piece_ns, self._newest_ns, choices.frozen.cursor_ns(choices.selected))
        self.show(cells, choices.palette)

    def _choose(self, x: int) -> None:
        if self._piece_ns:
            self.post_message(self.Chosen(moment_at(x, self.size.width, self._piece_ns, self._newest_ns)))

    def on_mouse_down(self, event: MouseDown) -> None:
        """Go there, and follow the pointer."""
        self._drags = True
        self.capture_mouse()
        self._choose(event.x)

    def on_mouse_move(self, event: MouseMove) -> None:
        """Scrub."""
        if self._drags:
            self._choose(min(max(event.x, 0), self.size.width - 1))

    def on_mouse_up(self, _: MouseUp) -> None:
        """That is it."""
        self._drags = False
        self.release_mouse()
