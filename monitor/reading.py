"""From messages to the engine: the plain goes in as tables, the rest block by block, the bad is counted."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from monitor.core.blocks import Block, Event
from monitor.core.bulk import decode
from monitor.core.engine import Engine
from monitor.core.errors import SchemaError
from monitor.core.pages import Page
from monitor.core.wire import check_values
from monitor.publisher import Publisher
from monitor.sources import Message
from monitor.telemetry import Telemetry

log = logging.getLogger(__name__)

_REMEMBERED = 10_000
"""Complaints that are kept at most."""


class Reading:
    """Pushes what came, and tells the publisher of it; never waits."""

    def __init__(self, engine: Engine, publisher: Publisher, telemetry: Telemetry) -> None:
        self._engine, self._publisher, self._telemetry = engine, publisher, telemetry
        self._events: list[Event] = []
        self._complaints: set[tuple[str, str]] = set()

    def events(self) -> list[Event]:
        """What blocks themselves made known, gaps and restarts, since it was last asked."""
        events, self._events = self._events, []
        return events

    def take(
        self, messages: Sequence[Message], now_ns: int, mark: int, *, max_samples: int, patience_s: float
    ) -> None:
        """Push what came at `now_ns`. A bad message is counted, and the first of a kind a stream is logged."""
        for part in decode(messages, self._engine.known, max_samples):
            if isinstance(part, Page):
                self._follow(part, now_ns, mark, patience_s)
            elif isinstance(part, SchemaError):
                self._complain(part)
            else:
                self._try(part, now_ns, mark, patience_s)
            if self._engine.holds:
                self.release(now_ns)

    def _follow(self, page: Page, now_ns: int, mark: int, patience_s: float) -> None:
        taken, others = self._engine.follow(page, mark)
        if len(taken):
            self._publisher.page(taken)
        for row in others:
            self._try(page.block(row), now_ns, mark, patience_s)

    def _try(self, block: Block, now_ns: int, mark: int, patience_s: float) -> None:
        try:
            check_values(block.values, block.stream)
            self.push(block, now_ns, mark, patience_s=patience_s)
        except SchemaError as error:
            self._complain(error)

    def release(self, now_ns: int) -> bool:
        """Push the blocks that came too early and need wait no longer; whether there were any."""
        is_any = False
        while (held := self._engine.due(now_ns)) is not None:
            is_any = True
            try:
                self.push(held.block, held.arrived_ns, held.mark, is_due=True)
            except SchemaError as error:
                self._complain(error)
        return is_any

    def push(self, block: Block, now_ns: int, mark: int, *, patience_s: float = 0.0, is_due: bool = False) -> None:
        """Push one block; raises SchemaError when it cannot be used."""
        taken, events = self._engine.push(block, now_ns, mark, patience_s=patience_s, is_due=is_due)
        if taken is not None:
            self._publisher.block(taken)
        self._events += events

    def _complain(self, error: SchemaError) -> None:
        self._engine.refuse(error.stream)
        self._telemetry.refused += 1
        if len(self._complaints) < _REMEMBERED and (error.stream, error.kind) not in self._complaints:
            self._complaints.add((error.stream, error.kind))
            log.warning("refused a block: %s (further ones of this kind are counted, not logged)", error)
