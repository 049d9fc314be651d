"""The waveforms: all lanes in one widget."""

from __future__ import annotations

from textual.events import Click
from textual.message import Message

from monitor.dashboard.choices import Choices, LaneKey
from monitor.dashboard.stack import Stack
from monitor.dashboard.state import Board
from monitor.dashboard.widgets.canvas import Canvas


class Waveforms(Canvas):
    """Lanes of signals with what was forecast and flagged."""

    class Chosen(Message):
        """A lane was clicked on."""

        def __init__(self, stream: str) -> None:
            super().__init__()
            self.stream = stream

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's name for it
        super().__init__(id=id)
        self._stack = Stack()
        self._lanes: tuple[tuple[int, LaneKey], ...] = ()

    def update(self, board: Board, choices: Choices, now_s: float) -> None:
        """Draw the picture as it is at wall time `now_s`."""
        width, height = self.size
        if width and height:
            picture = self._stack.draw(board, choices, height, width, now_s)
            self._lanes = picture.lanes
            self.show(picture.cells, choices.palette)

    def on_click(self, event: Click) -> None:
        """Choose the stream of the lane under the pointer."""
        under = [key.stream for row, key in self._lanes if row <= event.y]
        if under:
            self.post_message(self.Chosen(under[-1]))
