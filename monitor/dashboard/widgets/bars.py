"""Header, banner and footer: one line each."""

from __future__ import annotations

from textual.events import Click

from monitor.dashboard.bars import KeyHint, Meter, banner, footer, header, keys
from monitor.dashboard.choices import Choices
from monitor.dashboard.state import Board
from monitor.dashboard.widgets.lines import Lines


class Header(Lines):
    """Whether what is seen is live, of which stream, how fast."""

    def update(self, board: Board, choices: Choices, meter: Meter, now_s: float, address: str) -> None:
        """Show how things are."""
        self.show([header(board, choices, meter, now_s, address)], choices)


class Banner(Lines):
    """The most urgent alarm."""

    def update(self, board: Board, choices: Choices, now_s: float, address: str) -> None:
        """Show how things are."""
        self.show([banner(board, choices, now_s, address)], choices)


class Footer(Lines):
    """Keys and what they do; a click does it too."""

    hints: tuple[KeyHint, ...] = ()

    def update(self, choices: Choices) -> None:
        """Show as many as fit."""
        self.show([footer(keys(list(self.hints), self.size.width))], choices)

    async def on_click(self, event: Click) -> None:
        """Do what the hint under the pointer says."""
        x = 1
        for hint in keys(list(self.hints), self.size.width):
            width = len(hint.key) + len(hint.text) + 3
            if x <= event.x < x + width:
                await self.screen.run_action(hint.action)
            x += width
