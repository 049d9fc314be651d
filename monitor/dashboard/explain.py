"""The screen that says why."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen

from monitor.control import Why
from monitor.core.errors import MonitorError
from monitor.core.evidence import Evidence
from monitor.dashboard.choices import Choices
from monitor.dashboard.plot import draw_evidence
from monitor.dashboard.state import Board
from monitor.dashboard.why import Case, is_seen, why_lines, why_picture
from monitor.dashboard.widgets.canvas import Canvas
from monitor.dashboard.widgets.lines import Lines


class WhyScreen(ModalScreen[None]):
    """Any key closes it; what it says is as it was when it was opened.

    What the daemon has kept with the alarm follows when it comes: it is shown where the signal itself has gone.
    """

    BINDINGS: ClassVar[list[BindingType]] = [("escape,w,q,space,enter", "dismiss", "Close")]

    def __init__(
        self, board: Board, choices: Choices, case: Case, ask: Callable[[str], Awaitable[Why]] | None = None
    ) -> None:
        super().__init__()
        self._board, self._choices, self.case, self._ask = board, choices, case, ask
        self._evidence: Evidence | None = None

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
        if self._ask is not None and self.case.alarm:
            self.run_worker(self._learn(self._ask), name="why")

    async def _learn(self, ask: Callable[[str], Awaitable[Why]]) -> None:
        with contextlib.suppress(MonitorError):  # an older daemon, or none: what is known here has to do
            self._evidence = (await ask(self.case.alarm)).evidence
            self._explain()

    def on_resize(self) -> None:
        """Draw for the new size."""
        self.call_after_refresh(self._explain)

    def _explain(self) -> None:
        board, choices, case = self._board, self._choices, self.case
        view = board.streams.get(case.stream)
        lines, picture = self.query_one("#why-lines", Lines), self.query_one("#why-picture", Canvas)
        evidence = self._evidence
        found = why_lines(board, case, view, blocks=choices.glyphs.has_blocks, evidence=evidence)
        lines.styles.height = len(found)
        lines.show(found, choices)
        width, height = picture.size
        if evidence is not None and width and height and not is_seen(case, view):
            picture.show(draw_evidence(evidence, height, width, choices.glyphs), choices.palette)
        elif view is not None and width and height:
            picture.show(why_picture(board, case, view, choices, height, width), choices.palette)
