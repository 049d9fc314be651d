"""Looking back: scrolling, the cursor, the event before and the event after. Pure, like what it moves."""

from __future__ import annotations

from collections.abc import Sequence

from monitor.core.blocks import NS
from monitor.dashboard.choices import Choices
from monitor.dashboard.scale import time_base_s
from monitor.dashboard.state import Board
from monitor.dashboard.stream import StreamView

REACH_S = 600.0
"""How far back the daemon is asked, when it is not known to reach farther."""
AIM = 0.4
"""Where in the picture a moment is put that one goes to, as a share of the width from the right."""
STEP = 1e-3


def window_s(board: Board, choices: Choices) -> float:
    """Seconds that the selected stream's picture shows before its right end."""
    view = board.streams.get(choices.selected)
    return time_base_s(view.rate_hz if view is not None else 0.0, choices.time_steps)


def reach_s(board: Board, choices: Choices) -> float:
    """How far back from where it was frozen one may look."""
    view = _view(board, choices)
    held_s = 0.0
    if view is not None and view.trace is not None and view.trace.count:
        held_s = (view.trace.count - 1) * view.trace.period_ns / NS
    if board.length_s:
        return held_s - window_s(board, choices)
    return max(REACH_S, held_s) - window_s(board, choices)


def scroll(board: Board, choices: Choices, by_s: float, now_s: float) -> None:
    """Show what was earlier (below zero) or later; it freezes first, and stops where it was frozen."""
    choices.hold(board, now_s)
    if choices.frozen is not None:
        back_s = min(choices.frozen.back_s - by_s, max(reach_s(board, choices), 0.0))
        choices.move(back_s=back_s)


def move_cursor(board: Board, choices: Choices, by_s: float, now_s: float) -> None:
    """Move the cursor; at an edge the picture moves instead."""
    was_live = choices.frozen is None
    choices.hold(board, now_s)
    frozen = choices.frozen
    if frozen is None:
        return
    window = window_s(board, choices)
    wanted = (0.0 if was_live else frozen.cursor_s) - by_s
    if wanted < 0:
        scroll(board, choices, -wanted, now_s)
    elif wanted > window * 0.98:
        scroll(board, choices, window * 0.98 - wanted, now_s)
    choices.move(cursor_s=min(max(wanted, 0.0), window * 0.98))


def go_to(board: Board, choices: Choices, t_ns: int, now_s: float) -> None:
    """Bring a moment of the selected stream into the picture, and put the cursor there."""
    choices.hold(board, now_s)
    frozen = choices.frozen
    if frozen is None or choices.selected not in frozen.heads_ns:
        return
    ago_s = (frozen.heads_ns[choices.selected] - t_ns) / NS
    back_s = min(max(ago_s - AIM * window_s(board, choices), 0.0), max(reach_s(board, choices), 0.0))
    choices.move(back_s=back_s, cursor_s=ago_s - back_s)


def moments(view: StreamView, notes: Sequence[int]) -> list[int]:
    """Where something was flagged or noted, oldest first."""
    flagged = [band.from_ns for band in view.bands if band.rank]
    return sorted({*flagged, *notes})


def step_event(board: Board, choices: Choices, by: int, now_s: float) -> bool:
    """Go to the event before (-1) or after (+1) the cursor; whether there is one."""
    view = _view(board, choices)
    if view is None:
        return False
    frozen = choices.frozen
    at_ns = frozen.cursor_ns(choices.selected) if frozen is not None else view.newest_ns
    found = moments(view, [note.t_ns for note in board.notes_of(choices.selected)])
    slack_ns = NS * STEP
    if by < 0:
        earlier = [t for t in found if t < at_ns - slack_ns]
        wanted = earlier[-1] if earlier else None
    else:
        wanted = next((t for t in found if t > at_ns + slack_ns), None)
    if wanted is None:
        return False
    go_to(board, choices, wanted, now_s)
    return True


def _view(board: Board, choices: Choices) -> StreamView | None:
    live = board.streams.get(choices.selected)
    return choices.frozen.views.get(choices.selected, live) if choices.frozen is not None else live
