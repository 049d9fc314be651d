"""Where results go."""

from __future__ import annotations

from typing import Protocol

from monitor.core.blocks import Block, Note
from monitor.core.conclusions import Conclusion
from monitor.core.engine import Engine
from monitor.core.judge import Notice
from monitor.core.pages import Page
from monitor.core.published import Status, StreamState


class Sink(Protocol):
    """Something that publishes; it never waits, what does not fit is dropped and counted."""

    def block(self, block: Block) -> None:
        """Samples that were taken in."""
        ...

    def page(self, page: Page) -> None:
        """The same of many streams at once."""
        ...

    def conclusion(self, engine: Engine, conclusion: Conclusion) -> None:
        """Forecasts and scores of a batch."""
        ...

    def notice(self, notice: Notice | Note) -> None:
        """An event, an alarm that changed, a beat, a note."""
        ...

    def state(self, state: StreamState) -> None:
        """How a stream is doing."""
        ...

    def status(self, status: Status) -> None:
        """How the daemon is doing."""
        ...
