"""Which streams are listed, and in which order."""

from __future__ import annotations

import re
from enum import Enum
from functools import lru_cache

from monitor.dashboard.state import Board
from monitor.dashboard.stream import StreamView


class Order(Enum):
    """What the stream list is sorted by."""

    NAME = "name"
    TROUBLE = "trouble"
    """Alarms first, then what comes nearest to one."""
    RATE = "rate"
    LOSS = "loss"


def listed(board: Board, order: Order, pattern: str) -> list[str]:
    """The names that match, in order; a pattern that is no regular expression is taken letter by letter."""
    matches = _compiled(pattern)
    names = [name for name in board.streams if matches.search(name)] if pattern else board.names
    if order is Order.TROUBLE:
        return sorted(names, key=lambda name: (-board.rank(name), -trouble(board.streams[name])))
    if order is Order.RATE:
        return sorted(names, key=lambda name: -board.streams[name].rate_hz)
    if order is Order.LOSS:
        return sorted(names, key=lambda name: -lost(board.streams[name]))
    return names


@lru_cache(64)
def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern, re.IGNORECASE)
    except re.error:
        return re.compile(re.escape(pattern), re.IGNORECASE)


def trouble(view: StreamView) -> float:
    """Its highest fresh score as a share of the threshold; 0 while none is known."""
    score = view.top_score
    return score.value / score.threshold if score is not None and score.threshold > 0 else 0.0


def lost(view: StreamView) -> float:
    """The share of its samples that did not come."""
    if view.state is None:
        return 0.0
    ledger = view.state.ledger
    return ledger.missing / max(ledger.received + ledger.missing, 1)
