"""What goes to the terminal: only what changed, within the budget of a slow line."""

from __future__ import annotations

import numpy as np
from rich.console import Console
from textual._compositor import ChopsUpdate

from monitor.core.blocks import Block
from monitor.dashboard.app import Dashboard
from monitor.dashboard.choices import Choices
from monitor.dashboard.narrow import NarrowUpdate
from monitor.dashboard.palette import Ink
from monitor.dashboard.raster import Cells
from monitor.dashboard.screen import WatchScreen
from monitor.dashboard.state import Board
from tests.dashboard.conftest import Clock, until
from tests.dashboard.fake_feed import T0_NS, Ecg
from tests.dashboard.making import status
from tests.dashboard.watching import StubLink

BUDGET_KIB = 4.0


def test_changes_are_told_in_pieces():
    before, after = Cells.blank(3, 60), Cells.blank(3, 60)
    after.write(1, 5, "ab", Ink.TEXT)
    after.write(1, 40, "c", Ink.TEXT)
    after.write(1, 44, "d", Ink.TEXT)
    after.ground[2, 9] = Ink.SELECTED
    assert after.changes(before) == [(1, 5, 7), (1, 40, 45), (2, 9, 10)]
    assert after.changes(after) == []
    assert after.changes(None) == [(0, 0, 60), (1, 0, 60), (2, 0, 60)]


def test_where_much_changed_a_row_is_one_piece():
    before, after = Cells.blank(2, 60), Cells.blank(2, 60)
    after.glyph[0, ::15] = ord("x")
    after.glyph[1, ::15] = ord("x")
    assert after.changes(before) == [(0, 0, 46), (1, 0, 46)]


async def test_a_sweep_stays_within_its_budget(monkeypatch):
    """A lane of 160x24 for two seconds, frame by frame: bytes that would go to the terminal."""
    feed = Ecg("ecg/208", 74, 11, 1)
    board, clock, sent = Board(), Clock(), []
    console = Console(color_system="truecolor", force_terminal=True, width=190)

    def fold(n: int, count: int) -> None:
        values = feed.at((n + np.arange(count)) / 360)[:, :1].astype(np.float32)
        t0_ns = T0_NS + round(n * 1e9 / 360)
        board.fold(Block("ecg/208", values, "r", n, t0_ns, 360.0, ("MLII",), "mV"), clock.now_s)

    fold(0, 3600)
    board.fold(status(), 0.0)
    app = Dashboard(board, StubLink(), Choices(sweeps=True), frames_s=0.1, clock=clock)
    display = Dashboard._display

    def counted(self, screen, renderable) -> None:
        if isinstance(renderable, ChopsUpdate):
            sent.append(len(NarrowUpdate.of(renderable).render_segments(console).encode()))
        display(self, screen, renderable)

    monkeypatch.setattr(Dashboard, "_display", counted)
    async with app.run_test(size=(190, 39)) as pilot:
        await until(lambda: isinstance(app.screen, WatchScreen), "the screen")
        await pilot.pause()
        app.screen._redraw()
        await pilot.pause()
        sent.clear()
        for frame in range(50):
            clock.now_s += 0.04
            fold(3600 + round(14.4 * frame), round(14.4 * (frame + 1)) - round(14.4 * frame))
            app.screen.draw()
            await pilot.pause()
        assert len(sent) >= 25
    assert sum(sent) / 50 / 1024 < BUDGET_KIB
