"""The running app with a link that only remembers, what can be seen on it, and what can be done."""

from __future__ import annotations

import asyncio
import contextlib

import numpy as np

from monitor.control import GetWhy
from monitor.core.errors import Unreachable
from monitor.dashboard.app import Dashboard
from monitor.dashboard.choices import Choices
from monitor.dashboard.screen import WatchScreen
from monitor.dashboard.state import Board
from tests.dashboard.conftest import Clock, until
from tests.dashboard.making import alarm, beat, block, event, forecast, score, state, status


class StubLink:
    """Remembers what it was asked for."""

    feed, control = "tcp://127.0.0.1:5601", "tcp://127.0.0.1:5602"

    def __init__(self) -> None:
        self.wanted: dict[str, float] = {}
        self.acknowledged: list[str] = []
        self.glanced: list[str] = []
        self.said: list[object] = []
        self.answers: dict[object, object] = {}
        self.fails = False
        self.closed = False

    def want(self, streams) -> None:
        self.wanted = dict(streams)

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def acknowledge(self, alarm_id: str) -> None:
        if self.fails:
            raise Unreachable("no daemon answered")
        self.acknowledged.append(alarm_id)

    def glance(self, streams) -> None:
        self.glanced = list(streams)

    async def say(self, request, kind):
        if self.fails or (isinstance(request, GetWhy) and request not in self.answers):
            raise Unreachable("no daemon answered")
        if request in self.answers:
            return self.answers[request]
        self.said.append(request)
        return None

    def close(self) -> None:
        self.closed = True


class Watcher:
    """The running app, and what can be seen and done."""

    def __init__(self, app: Dashboard, pilot, board: Board, link: StubLink, clock: Clock) -> None:
        self.app, self.pilot, self.board, self.link, self.clock = app, pilot, board, link, clock

    @property
    def screen(self) -> WatchScreen:
        return next(s for s in self.app.screen_stack if isinstance(s, WatchScreen))

    async def draw(self) -> None:
        await self.pilot.pause()
        self.screen._redraw()
        await self.pilot.pause()

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.draw()

    def see(self, kind) -> str:
        return self.screen.query_one(kind).text


def full_board() -> Board:
    board = Board()
    t = np.arange(1000) / 100
    for i, name in enumerate(("ecg/1", "ecg/2", "sine/1", "sine/2", "zulu")):
        board.fold(state(name, newest_s=9.99, events=i), 0.0)
        board.fold(block(np.sin((i + 1) * t), 0.0, stream=name), 0.0)
        board.fold(forecast(9.99, np.zeros(100), stream=name), 0.0)
    board.fold([score(9.9, 0.5, stream="ecg/1")], 0.0)
    for i in range(9):
        board.fold(beat(i, stream="ecg/1"), 0.0)
    board.fold(event(8.0, 8.5, stream="ecg/1"), 0.0)
    board.fold(alarm("medium", 5.0, stream="ecg/2"), 0.0)
    board.fold(alarm("high", 4.0, stream="ecg/1", priority="high"), 0.0)
    board.fold(status(), 0.0)
    return board


@contextlib.asynccontextmanager
async def watching(board: Board | None = None, *, size=(140, 44), selected: str = ""):
    board, link = full_board() if board is None else board, StubLink()
    clock = Clock()
    app = Dashboard(board, link, Choices(selected=selected), frames_s=4, clock=clock)
    async with app.run_test(size=size) as pilot:
        watcher = Watcher(app, pilot, board, link, clock)
        await until(lambda: any(isinstance(s, WatchScreen) for s in app.screen_stack), "the screen")
        await watcher.draw()
        yield watcher
    assert link.closed
