"""The waveforms: all lanes in one widget."""

from __future__ import annotations

from collections.abc import Mapping

from textual.events import Click, MouseScrollDown, MouseScrollUp
from textual.message import Message

from monitor.dashboard.choices import Choices, LaneKey
from monitor.dashboard.cursor import time_at
from monitor.dashboard.raster import BRAILLE, Glyphs
from monitor.dashboard.stack import Stack
from monitor.dashboard.state import Board
from monitor.dashboard.timing import Timing
from monitor.dashboard.widgets.canvas import Canvas


class Waveforms(Canvas):
    """Lanes of signals with what was forecast and flagged."""

    class Chosen(Message):
        """A lane was clicked on."""

        def __init__(self, stream: str, t_ns: int) -> None:
            super().__init__()
            self.stream, self.t_ns = stream, t_ns

    class Turned(Message):
        """The wheel was turned: below zero is back in time, or out."""

        def __init__(self, by: int, *, zooms: bool) -> None:
            super().__init__()
            self.by, self.zooms = by, zooms

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's name for it
        super().__init__(id=id)
        self._stack = Stack()
        self._lanes: tuple[tuple[int, LaneKey], ...] = ()
        self._timings: Mapping[str, Timing] = {}
        self._glyphs: Glyphs = BRAILLE

    def update(self, board: Board, choices: Choices, now_s: float) -> None:
        """Draw the picture as it is at wall time `now_s`."""
        width, height = self.size
        if width and height:
            picture = self._stack.draw(board, choices, height, width, now_s)
            self._lanes, self._timings, self._glyphs = picture.lanes, picture.timings, choices.glyphs
            self.show(picture.cells, choices.palette)

    def on_click(self, event: Click) -> None:
        """Choose the stream of the lane under the pointer."""
        under = [key.stream for row, key in self._lanes if row <= event.y]
        if under and under[-1] in self._timings:
            t_ns = time_at(self._timings[under[-1]], event.x, self._glyphs)
            self.post_message(self.Chosen(under[-1], t_ns))

    def on_mouse_scroll_up(self, event: MouseScrollUp) -> None:
        """Back in time, or with Ctrl closer."""
        event.stop()
        self.post_message(self.Turned(1 if event.ctrl else -1, zooms=event.ctrl))

    def on_mouse_scroll_down(self, event: MouseScrollDown) -> None:
        """On in time, or with Ctrl farther away."""
        event.stop()
        self.post_message(self.Turned(-1 if event.ctrl else 1, zooms=event.ctrl))
