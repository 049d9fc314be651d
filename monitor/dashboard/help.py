"""The help screen: what every key does, made from the bindings themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from monitor.dashboard.bars import DISCLAIMER
from monitor.dashboard.commands import COMMANDS

SYMBOLS = {
    "plus": "+", "equals_sign": "=", "minus": "-", "comma": ",", "full_stop": ".", "question_mark": "?",
    "up": "↑", "down": "↓", "left": "←", "right": "→", "slash": "/", "colon": ":", "left_square_bracket": "[",
    "right_square_bracket": "]", "shift+left": "Shift ←", "shift+right": "Shift →",
}  # fmt: skip
SIGNS = (
    ("▲▲▲ ▲▲ ▲ ◆", "priority of an alarm: high, medium, low; technical"),
    ("orange", "the forecast ahead of now, shaded: its interval"),
    ("bands", "what was flagged, with its label and score; red is high priority"),
    ("SKILL", '100: the forecast is always right; 0: no better than "it stays as it is"'),
    ("▪ *", "in the stream list: on the screen; pinned"),
)


class HelpScreen(ModalScreen[None]):
    """Any key closes it."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape,question_mark,q,space,enter", "dismiss", "Close")]

    def __init__(self, bindings: Sequence[Binding]) -> None:
        super().__init__()
        self._shown = bindings

    def compose(self) -> ComposeResult:
        """See Textual."""
        with VerticalScroll(id="help") as box:
            box.border_title = "Keys"
            box.border_subtitle = DISCLAIMER
            yield Static(self._table())

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        table.add_column(justify="right")
        table.add_column()
        for binding in self._shown:
            keys = "  ".join(SYMBOLS.get(key, key) for key in binding.key.split(","))
            table.add_row(Text(keys, "bold"), Text(binding.tooltip or binding.description))
        table.add_row()
        for command in COMMANDS:
            table.add_row(Text(f":{command.name} {command.needs}".strip(), "bold"), Text(command.text))
        table.add_row()
        for sign, meaning in SIGNS:
            table.add_row(Text(sign, "bold"), Text(meaning))
        return table
