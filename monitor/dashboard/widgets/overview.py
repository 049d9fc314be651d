"""The overview of all streams."""

from __future__ import annotations

from textual.events import Click
from textual.message import Message

from monitor.dashboard.choices import Choices
from monitor.dashboard.overview import Page, draw_overview
from monitor.dashboard.state import Board
from monitor.dashboard.widgets.canvas import Canvas


class Overview(Canvas):
    """A tile for each stream; a click chooses, a second one looks closer."""

    class Chosen(Message):
        """A stream was clicked on."""

        def __init__(self, stream: str, *, twice: bool) -> None:
            super().__init__()
            self.stream, self.twice = stream, twice

    page: Page | None = None

    def update(self, board: Board, choices: Choices, now_s: float) -> None:
        """Show how things are."""
        width, height = self.size
        if width and height:
            self.page = draw_overview(board, choices, height, width, now_s)
            self.show(self.page.cells, choices.palette)

    def on_click(self, event: Click) -> None:
        """Choose the stream of the tile under the pointer."""
        if self.page is None:
            return
        tiling = self.page.tiling
        index = event.y // tiling.height * tiling.across + min(event.x // tiling.width, tiling.across - 1)
        if index < len(self.page.names):
            self.post_message(self.Chosen(self.page.names[index], twice=event.chain > 1))
