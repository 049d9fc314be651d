"""The stream list."""

from __future__ import annotations

from textual.events import Click
from textual.message import Message

from monitor.dashboard.choices import Choices
from monitor.dashboard.state import Board
from monitor.dashboard.tables import stream_table
from monitor.dashboard.widgets.lines import Lines


class StreamList(Lines, can_focus=True):
    """Streams with their state and what became of their samples."""

    class Chosen(Message):
        """A stream was clicked on."""

        def __init__(self, stream: str) -> None:
            super().__init__()
            self.stream = stream

    _keys: tuple[str, ...] = ()

    def update(self, board: Board, choices: Choices, now_s: float) -> None:
        """Show how things are."""
        shown = choices.streams_shown(board.names)
        width, height = self.size
        table = stream_table(board, choices, shown, width, height, now_s, focused=self.has_focus)
        self._keys = tuple(table.keys)
        self.show(table.lines, choices)

    def on_click(self, event: Click) -> None:
        """Choose the stream under the pointer."""
        if event.y < len(self._keys) and self._keys[event.y]:
            self.post_message(self.Chosen(self._keys[event.y]))
