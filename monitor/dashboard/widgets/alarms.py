"""The alarm table."""

from __future__ import annotations

from textual.events import Click
from textual.message import Message

from monitor.dashboard.choices import Choices
from monitor.dashboard.state import Board
from monitor.dashboard.tables import alarm_table
from monitor.dashboard.widgets.lines import Lines


class AlarmTable(Lines, can_focus=True):
    """Alarms by urgency, with sign and state."""

    class Chosen(Message):
        """An alarm was clicked on."""

        def __init__(self, alarm_id: str) -> None:
            super().__init__()
            self.alarm_id = alarm_id

    _keys: tuple[str, ...] = ()

    def update(self, board: Board, choices: Choices, now_s: float) -> None:
        """Show how things are."""
        width, height = self.size
        table = alarm_table(board, choices, width, height, now_s, focused=self.has_focus)
        self._keys = tuple(table.keys)
        self.show(table.lines, choices)

    def on_click(self, event: Click) -> None:
        """Choose the alarm under the pointer."""
        if event.y < len(self._keys) and self._keys[event.y]:
            self.post_message(self.Chosen(self._keys[event.y]))
