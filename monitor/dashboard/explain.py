"""The screen that says why."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen

from monitor.dashboard.choices import Choices
from monitor.dashboard.state import Board
from monitor.dashboard.why import Case, why_lines, why_picture
from monitor.dashboard.widgets.canvas import Canvas
from monitor.dashboard.widgets.lines import Lines


class WhyScreen(ModalScreen[None]):
    """Any key closes it; what it says is as it was when it was opened."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape,w,q,space,enter", "dismiss", "Close")]

    def __init__(self, board: Board, choices: Choices, case: Case) -> None:
        super().__init__()
        self._board, self._choices, self.case = board, choices, case

    def compose(self) -> ComposeResult:
        """See Textual."""
        with Vertical(id="why") as box:
            box.border_title = "Why?"
            box.border_subtitle = "escape closes"
            yield Lines(id="why-lines")
            yield Canvas(id="why-picture")

    def on_mount(self) -> None:
        """Explain."""
        self.call_after_refresh(self._explain)

    def on_resize(self) -> None:
        """Draw for the new size."""
        self.call_after_refresh(self._explain)

    def _explain(self) -> None:
        board, choices, case = self._board, self._choices, self.case
        view = board.streams.get(case.stream)
        lines, picture = self.query_one("#why-lines", Lines), self.query_one("#why-picture", Canvas)
        found = why_lines(board, case, view, blocks=choices.glyphs.has_blocks)
        lines.styles.height = len(found)
        lines.show(found, choices)
        width, height = picture.size
        if view is not None and width and height:
            picture.show(why_picture(board, case, view, choices, height, width), choices.palette)
