"""Five pictures of the whole screen. After a change that is meant: pytest tests/dashboard/test_snapshots.py
--snapshot-update, and look at what changed.
"""

from __future__ import annotations

import numpy as np
import pytest

from monitor.dashboard.app import Dashboard
from monitor.dashboard.bars import Meter
from monitor.dashboard.choices import Choices
from monitor.dashboard.raster import ASCII, BRAILLE
from monitor.dashboard.screen import WatchScreen
from monitor.dashboard.state import Board
from monitor.dashboard.themes import DARK, LIGHT, MONO, PAPER
from tests.dashboard.conftest import Clock, until
from tests.dashboard.making import alarm, beat, block, event, forecast, state, status
from tests.dashboard.watching import StubLink, full_board


def ward() -> Board:
    board = Board()
    t = np.arange(600) / 100
    for i in range(100):
        name = f"bed/{i:02d}"
        board.fold(state(name, newest_s=5.99, heart_rate_bpm=60.0 + i % 30), 0.0)
        board.fold(block(np.sin((2 + i % 7) * t) ** 9, 0.0, stream=name), 0.0)
    board.fold(alarm("a", 5.0, stream="bed/42", priority="high"), 0.0)
    board.fold(alarm("b", 5.0, stream="bed/77"), 0.0)
    board.fold(status(latency_ms=8.0), 0.0)
    return board


def heart() -> Board:
    board = Board()
    t = np.arange(1200) / 100
    board.fold(state("ecg/1", newest_s=11.99, heart_rate_bpm=75.0), 0.0)
    board.fold(block(np.exp(-(((t % 0.8) - 0.4) ** 2) / 0.001) + 0.1 * np.sin(t), 0.0, stream="ecg/1"), 0.0)
    for i in range(14):
        board.fold(beat(0.4 + 0.8 * i, "V" if i == 9 else "N", stream="ecg/1", rate_bpm=75.0), 0.0)
    board.fold(forecast(11.99, np.zeros(60), stream="ecg/1"), 0.0)
    board.fold(event(7.4, 7.9, stream="ecg/1"), 0.0)
    board.fold(alarm("v", 7.6, stream="ecg/1", model="m@1", priority="high"), 0.0)
    board.fold(status(latency_ms=8.0), 0.0)
    return board


@pytest.mark.parametrize(
    ("board", "size", "palette", "glyphs", "keys"),
    [
        pytest.param(full_board, (140, 44), DARK, BRAILLE, (), id="main"),
        pytest.param(heart, (100, 36), PAPER, BRAILLE, ("left_square_bracket",), id="looking-back-on-paper"),
        pytest.param(heart, (80, 24), MONO, ASCII, (), id="ascii-without-colour"),
        pytest.param(ward, (200, 60), DARK, BRAILLE, ("o",), id="overview-of-a-hundred"),
        pytest.param(heart, (120, 40), LIGHT, BRAILLE, ("w",), id="why-in-the-light"),
    ],
)
def test_the_screen_looks_as_it_did(snap_compare, monkeypatch, board, size, palette, glyphs, keys):
    monkeypatch.setattr("monitor.dashboard.screen.Meter", lambda *_: Meter(25.0, 1.0))
    monkeypatch.delenv("NO_COLOR", raising=False)
    app = Dashboard(board(), StubLink(), Choices(palette=palette, glyphs=glyphs), frames_s=0.1, clock=Clock())

    async def settle(pilot) -> None:
        await until(lambda: any(isinstance(s, WatchScreen) for s in app.screen_stack), "the screen")
        await pilot.pause()
        await pilot.press(*keys)
        watch = next(s for s in app.screen_stack if isinstance(s, WatchScreen))
        for _ in range(2):
            watch._redraw()
            await pilot.pause()

    assert snap_compare(app, terminal_size=size, run_before=settle)
