"""The line at the foot in which a filter, a note or a command is typed."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message
from textual.suggester import SuggestFromList
from textual.widgets import Input

from monitor.dashboard.commands import COMMANDS

ASKS = {
    "filter": "streams that match (regular expression)",
    "alarms": "alarms that hold these words: stream, label, high, latched, unseen, said-false ...",
    "note": "note on this moment",
    "command": "command, or the beginning of one",
}


class Prompt(Input):
    """Hidden while nothing is asked."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Leave", show=False)]

    class Answered(Message):
        """Something was typed; `done` says whether it is final."""

        def __init__(self, kind: str, text: str, *, done: bool) -> None:
            super().__init__()
            self.kind, self.text, self.done = kind, text, done

    class Left(Message):
        """Nothing shall come of it."""

        def __init__(self, kind: str) -> None:
            super().__init__()
            self.kind = kind

    kind = ""

    def ask(self, kind: str, text: str = "") -> None:
        """Show itself and wait for an answer."""
        self.kind = ""
        self.placeholder = ASKS[kind]
        self.border_title = kind
        self.suggester = SuggestFromList([c.name for c in COMMANDS]) if kind == "command" else None
        self.value, self.cursor_position = text, len(text)
        self.kind = kind
        self.add_class("-asking")
        self.focus()

    def close(self) -> None:
        """Hide."""
        self.remove_class("-asking")
        self.kind = ""

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filters work while one types."""
        event.stop()
        if self.kind in ("filter", "alarms"):
            self.post_message(self.Answered(self.kind, event.value, done=False))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """That is it."""
        event.stop()
        if self.kind:
            self.post_message(self.Answered(self.kind, event.value, done=True))

    def action_leave(self) -> None:
        """Never mind."""
        self.post_message(self.Left(self.kind))
