"""The dashboard as a watcher uses it: keys in, text out. The clock stands unless a test moves it."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest
from textual.filter import NoColor

from monitor.dashboard.app import FRAMES_OVER_SSH_S, FRAMES_S, Dashboard, default_frames_s
from monitor.dashboard.choices import Choices, ForecastMode
from monitor.dashboard.keys import KEYS
from monitor.dashboard.link import Link
from monitor.dashboard.screen import WatchScreen
from monitor.dashboard.state import Board
from monitor.dashboard.themes import MONO
from monitor.dashboard.widgets.alarms import AlarmTable
from monitor.dashboard.widgets.bars import Banner, Footer, Header
from monitor.dashboard.widgets.numerals import Numerals
from monitor.dashboard.widgets.overlay import BeatOverlay
from monitor.dashboard.widgets.streams import StreamList
from monitor.dashboard.widgets.strip import PastStrip
from monitor.dashboard.widgets.waveform import Waveforms
from tests.dashboard.conftest import until
from tests.dashboard.making import alarm, block, status
from tests.dashboard.watching import watching

LEAVING = {"q", "question_mark", "w", "slash", "colon", "n", "e", "c", "P"}
"""Keys that leave the screen or write files."""


async def test_what_is_seen_at_first():
    async with watching() as watcher:
        assert "● LIVE  ecg/1  100 Hz" in watcher.see(Header)
        assert "▲▲▲ V  ecg/1" in watcher.see(Banner)
        assert "▸ ecg/1" in watcher.see(Waveforms)
        assert "HR" in watcher.see(Numerals)
        assert "last 9 beats" in watcher.see(BeatOverlay)
        assert "-10 min" in watcher.see(PastStrip)
        assert "13:46:44.000 V" in watcher.see(AlarmTable)
        assert "zulu" in watcher.see(StreamList)
        assert "q Quit" in watcher.see(Footer)
        assert set(watcher.link.wanted) == {"ecg/1", "ecg/2", "sine/1", "sine/2"}


async def test_freeze_lets_the_picture_stand_while_data_go_on():
    async with watching() as watcher:
        await watcher.press("space")
        frozen = watcher.see(Waveforms)
        assert "❚❚ FROZEN" in watcher.see(Header)
        assert "FROZEN" in frozen
        watcher.board.fold(block(np.full(500, 3.0), 10.0, stream="ecg/1"), 0.1)
        watcher.board.fold(alarm("new", 14.0, stream="ecg/1", priority="high"), 0.1)
        await watcher.draw()
        assert watcher.see(Waveforms) == frozen
        assert "13:46:54.000" in watcher.see(AlarmTable)
        await watcher.press("space")
        assert "LIVE" in watcher.see(Header)
        assert watcher.see(Waveforms) != frozen


async def test_acknowledge_sends_the_most_urgent_alarm():
    async with watching() as watcher:
        await watcher.press("a")
        await until(lambda: watcher.link.acknowledged == ["high"], "the command")
        assert "▲▲▲ V  ecg/1" in watcher.see(Banner)  # until the daemon says so
        watcher.board.fold(alarm("high", 4.0, stream="ecg/1", priority="high", acknowledged=True), 0.0)
        await watcher.draw()
        assert "▲▲ V  ecg/2" in watcher.see(Banner)
        assert "✓ seen" in watcher.see(AlarmTable)


async def test_acknowledge_sends_the_selected_alarm():
    async with watching() as watcher:
        await watcher.press("shift+tab")
        assert isinstance(watcher.app.focused, AlarmTable)
        await watcher.press("down", "down", "a")
        await until(lambda: watcher.link.acknowledged == ["medium"], "the command")
        await watcher.press("enter")
        assert "ecg/2" in watcher.see(Header)
        await watcher.press("escape")
        assert isinstance(watcher.app.focused, StreamList)


async def test_what_could_not_be_acknowledged_is_told():
    async with watching() as watcher:
        watcher.link.fails = True
        await watcher.press("a")
        await until(lambda: any("no daemon answered" in n.message for n in watcher.app._notifications), "a notice")


async def test_without_an_alarm_there_is_nothing_to_acknowledge():
    board = Board()
    board.fold(status(), 0.0)
    async with watching(board) as watcher:
        await watcher.press("a")
        assert watcher.link.acknowledged == []


async def test_disconnected_is_shown_and_the_picture_does_not_look_alive():
    async with watching() as watcher:
        watcher.clock.now_s = 8.0
        await watcher.draw()
        assert "✖ DISCONNECTED 8 s" in watcher.see(Header)
        assert "No word from" in watcher.see(Banner)
        assert watcher.see(Waveforms).count("DISCONNECTED") == 4
        assert "not live" in watcher.see(Numerals)
        assert "unknown" in watcher.see(StreamList)
        watcher.board.fold(status(), 8.0)
        watcher.board.fold(block([1.0], 10.0, stream="ecg/1"), 8.0)
        await watcher.draw()
        assert "LIVE" in watcher.see(Header)
        assert "DISCONNECTED" not in watcher.see(Waveforms)


async def test_before_there_is_a_daemon():
    async with watching(Board()) as watcher:
        assert "DISCONNECTED nothing heard from tcp://127.0.0.1:5601" in watcher.see(Header)
        assert "waiting for streams" in watcher.see(Waveforms)


async def test_any_size_and_back():
    async with watching() as watcher:
        for size in ((20, 5), (300, 90), (80, 24), (1, 1), (40, 12), (59, 19), (100, 36), (200, 60), (140, 44)):
            await watcher.pilot.resize_terminal(*size)
            await watcher.draw()
            lines = watcher.see(Waveforms).splitlines()
            assert max((len(line) for line in lines), default=0) <= size[0]
        assert "▸ ecg/1" in watcher.see(Waveforms)


@pytest.mark.parametrize("size", [(20, 5), (80, 24), (300, 90)])
async def test_every_key_at_every_size(size):
    async with watching(size=size) as watcher:
        keys = [k for b in KEYS for k in b.key.split(",") if k not in LEAVING]
        await watcher.press(*keys, *reversed(keys))
        assert watcher.app.is_running


async def test_the_small_screen_keeps_what_matters():
    async with watching(size=(20, 5)) as watcher:
        assert "LIVE" in watcher.see(Header)
        assert "▲▲▲" in watcher.see(Banner)
        assert watcher.screen.query_one(Waveforms).size.height == 2


async def test_streams_are_chosen_with_the_arrows():
    async with watching() as watcher:
        await watcher.press("down")
        assert "ecg/2" in watcher.see(Header)
        await watcher.press("up", "up")
        assert "zulu" in watcher.see(Header)
        assert set(watcher.link.wanted) == {"zulu"}


async def test_switches():
    async with watching() as watcher:
        choices = watcher.app.choices
        assert "┼" in watcher.see(Waveforms)
        await watcher.press("g", "s", "f", "v", "plus", "full_stop", "p")
        assert not choices.grid
        assert choices.sweeps
        assert choices.forecast is ForecastMode.WITH_PAST
        assert choices.glyphs.name == "quadrant"
        assert choices.gain_steps == {"ecg/1": 1}
        assert choices.time_steps == 1
        assert choices.pinned == ["ecg/1"]
        assert "┼" not in watcher.see(Waveforms)
        assert "sweep 8 s · past forecasts" in watcher.see(Header)
        await watcher.press("0")
        assert choices.gain_steps == {}


async def test_ascii_is_ascii_everywhere():
    async with watching() as watcher:
        await watcher.press("v", "v", "v")
        for kind in (Header, Banner, Waveforms, Numerals, BeatOverlay, PastStrip, AlarmTable, StreamList, Footer):
            widget = watcher.screen.query_one(kind)
            assert all(widget.render_line(y).text.isascii() for y in range(widget.size.height)), kind


async def test_help_comes_from_the_bindings():
    async with watching() as watcher:
        await watcher.press("question_mark")
        table = watcher.app.screen._table()
        shown = [str(cell) for cell in table.columns[1]._cells]
        for binding in KEYS:
            assert binding.tooltip in shown
        assert "not a medical device" in str(watcher.app.screen.query_one("#help").border_subtitle)
        await watcher.press("escape")
        assert isinstance(watcher.app.screen, WatchScreen)


async def test_the_mouse_chooses_streams_alarms_and_keys():
    async with watching() as watcher:
        await watcher.pilot.click(StreamList, offset=(5, 3))
        await watcher.draw()
        assert "sine/1" in watcher.see(Header)
        await watcher.pilot.click(Waveforms, offset=(30, 10))
        await watcher.draw()
        assert "ecg/2" in watcher.see(Header)
        await watcher.pilot.click(AlarmTable, offset=(5, 2))
        assert watcher.app.choices.alarm_id == "medium"
        await watcher.pilot.click(Footer, offset=(3, 0))
        assert watcher.app.choices.frozen is not None
        await watcher.pilot.click(AlarmTable, offset=(5, 0))
        await watcher.pilot.click(StreamList, offset=(5, 0))


async def test_where_nothing_changed_nothing_is_drawn():
    async with watching() as watcher:
        drawn: list[object] = []
        waveforms = watcher.screen.query_one(Waveforms)
        waveforms.update = lambda *_: drawn.append(1)
        watcher.screen.draw()
        assert drawn == []
        watcher.board.fold(block([1.0], 10.0, stream="ecg/1"), 0.0)
        watcher.screen.draw()
        assert drawn == [1]


async def test_a_frame_repaints_only_rows_that_changed():
    async with watching() as watcher:
        regions: list[int] = []
        waveforms = watcher.screen.query_one(Waveforms)
        waveforms.refresh = lambda *pieces: regions.append(len({piece.y for piece in pieces}))
        watcher.board.fold(block([0.5], 10.0, stream="ecg/1"), 0.0)
        watcher.screen.draw()
        assert regions
        assert 0 < regions[0] < 12  # one lane of four; 0 would be all


async def test_no_color_shows_no_colour(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    async with watching() as watcher:
        assert watcher.app.choices.palette is MONO
        assert [type(f) for f in watcher.app.get_line_filters()] == [NoColor]
        strip = watcher.screen.query_one(Waveforms).render_line(3)
        assert all(segment.style.color is None for segment in strip)
        assert watcher.screen.query_one(Banner).render_line(0)._segments[0].style.reverse


def test_fewer_frames_over_ssh(monkeypatch):
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    assert default_frames_s() == FRAMES_S
    monkeypatch.setenv("SSH_CONNECTION", "10.0.0.1 5 10.0.0.2 22")
    assert default_frames_s() == FRAMES_OVER_SSH_S


async def test_a_live_feed_from_end_to_end(daemon, monkeypatch):
    """Real sockets, the real link: history and live data on the screen, an alarm acknowledged."""
    monkeypatch.setattr("monitor.dashboard.link.ASK_S", 60.0)
    board = Board()
    link = Link(board, daemon.feed, daemon.control, clock=time.monotonic)
    app = Dashboard(board, link, Choices(selected="ecg/208"), frames_s=20)
    async with app.run_test(size=(140, 44)) as pilot:
        await until(lambda: isinstance(app.screen, WatchScreen), "the screen")

        def seen() -> bool:
            daemon.publish_status()
            daemon.step(daemon.streams[0])
            waveforms = app.screen.query_one(Waveforms).text
            return (
                "▸ ecg/208 MLII" in waveforms
                and "⣿" in waveforms
                and board.streams["ecg/208"].forecast is not None
            )

        await until(seen, "waveforms")
        daemon.set_alarm(alarm("mine", stream="ecg/208", priority="high"))
        await until(lambda: board.calling, "an alarm")
        first = board.calling[0].id
        await pilot.press("a")
        await until(lambda: daemon.alarms[first].acknowledged, "the acknowledgement")
        await until(lambda: first not in {a.id for a in board.calling}, "the banner to move on")


def test_the_pure_modules_import_no_textual():
    pure = "state stream trace hindsight past raster scale timing graticule picture stack "
    pure += "choices bars tables beats readings listing overview quality plot why timemachine cursor"
    code = f"""
import sys
for name in {pure.split()!r}:
    __import__("monitor.dashboard." + name)
print([m for m in sys.modules if m.split(".")[0] in ("textual", "rich", "zmq", "onnxruntime")])
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
