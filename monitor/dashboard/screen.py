"""The one screen: composes the widgets, binds the keys, and redraws on a timer."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType

from monitor.core.blocks import NS
from monitor.dashboard import timemachine
from monitor.dashboard.actions import Actions
from monitor.dashboard.bars import KeyHint, Meter
from monitor.dashboard.choices import Choices
from monitor.dashboard.keys import KEYS
from monitor.dashboard.link import Link
from monitor.dashboard.palette import Palette
from monitor.dashboard.stack import head_columns, window_wanted_s
from monitor.dashboard.state import Board
from monitor.dashboard.themes import theme_name
from monitor.dashboard.widgets.alarms import AlarmTable
from monitor.dashboard.widgets.bars import Banner, Footer, Header
from monitor.dashboard.widgets.numerals import Numerals
from monitor.dashboard.widgets.overlay import BeatOverlay
from monitor.dashboard.widgets.overview import Overview
from monitor.dashboard.widgets.plain import Column, Row
from monitor.dashboard.widgets.prompt import Prompt
from monitor.dashboard.widgets.streams import StreamList
from monitor.dashboard.widgets.strip import PastStrip
from monitor.dashboard.widgets.waveform import Waveforms

PANELS_S = 0.2
"""Seconds between updates of everything but the waveforms; a key shows at once."""


class WatchScreen(Actions):
    """Waveforms, numbers, alarms and streams."""

    AUTO_FOCUS = "StreamList"
    BINDINGS: ClassVar[list[BindingType]] = [*KEYS]
    BLANK = True

    def __init__(
        self, board: Board, link: Link, choices: Choices, frames_s: float, clock: Callable[[], float]
    ) -> None:
        super().__init__(board, link, choices, clock)
        self._frames_s = frames_s
        self._drawn: object = None
        self._choices_shown = -1
        self._panels_at_s = float("-inf")
        self._frame_times: deque[float] = deque(maxlen=128)
        self._draw_ms = 0.0

    def compose(self) -> ComposeResult:
        """See Textual."""
        yield Header(id="header")
        yield Banner(id="banner")
        with Row(id="main"):
            with Column(id="signals"):
                yield Waveforms(id="waveforms")
                yield PastStrip(id="past")
            with Column(id="side"):
                yield Numerals(id="numerals")
                yield BeatOverlay(id="beats")
        yield Overview(id="overview")
        with Row(id="tables"):
            yield AlarmTable(id="alarms")
            yield StreamList(id="streams")
        yield Footer(id="footer")
        yield Prompt(id="prompt")

    def on_mount(self) -> None:
        """Begin to draw."""
        self.query_one(Footer).hints = tuple(
            KeyHint(b.key_display or b.key, b.description, b.action) for b in KEYS if b.show
        )
        self.set_interval(1 / self._frames_s, self.draw)

    def on_resize(self) -> None:
        """Draw for the new size as soon as the layout is known."""
        self.call_after_refresh(self._redraw)

    def _redraw(self) -> None:
        self._drawn, self._panels_at_s = None, float("-inf")
        self.draw()

    def draw(self) -> None:
        """One frame: the waveforms when anything in them moved, the rest a few times a second."""
        now_s = self.clock()
        self.choices.settle(self.board.names)
        self.choices.refresh(self.board)
        if not self.choices.overview:
            self._draw_waveforms(now_s)
        if self.choices.version != self._choices_shown or not 0 <= now_s - self._panels_at_s < PANELS_S:
            self._choices_shown, self._panels_at_s = self.choices.version, now_s
            self._update_panels(now_s)

    def _draw_waveforms(self, now_s: float) -> None:
        board, choices, waveforms = self.board, self.choices, self.query_one(Waveforms)
        heads = head_columns(board, choices, now_s, waveforms.size.width)
        silence_s = None if board.is_connected(now_s) else int(board.silence_s(now_s) or 0)
        known = board.version if choices.frozen is None else board.alarm_version
        looks = (known, choices.version, heads, silence_s, int(now_s), waveforms.size)
        if looks == self._drawn:
            return
        self._drawn = looks
        started_s = time.perf_counter()
        waveforms.update(board, choices, now_s)
        self._draw_ms += 0.1 * ((time.perf_counter() - started_s) * 1000 - self._draw_ms)
        self._frame_times.append(now_s)

    def _update_panels(self, now_s: float) -> None:
        board, choices, address = self.board, self.choices, self.link.feed
        self.set_class(choices.overview, "-overview")
        self._put_on(choices.palette)
        self.link.want(window_wanted_s(board, choices))
        overview = self.query_one(Overview)
        if choices.overview:
            overview.update(board, choices, now_s)
        self.link.glance(overview.page.names if choices.overview and overview.page is not None else ())
        frames = sum(1 for t in self._frame_times if now_s - t < 1.0)
        self.query_one(Header).update(board, choices, Meter(frames, self._draw_ms), now_s, address)
        self.query_one(Banner).update(board, choices, now_s, address)
        self.query_one(Numerals).update(board, choices, now_s)
        self.query_one(BeatOverlay).update(board, choices)
        self.query_one(PastStrip).update(board, choices)
        self.query_one(AlarmTable).update(board, choices, now_s)
        self.query_one(StreamList).update(board, choices, now_s)
        self.query_one(Footer).update(choices)

    def _put_on(self, palette: Palette) -> None:
        name = theme_name(palette)
        if self.app.theme != name:
            self.app.theme = name

    # the mouse

    def on_stream_list_chosen(self, message: StreamList.Chosen) -> None:
        """A stream was clicked on."""
        self.choices.select(message.stream)

    def on_waveforms_chosen(self, message: Waveforms.Chosen) -> None:
        """A lane was clicked on; in a picture that stands, the cursor goes there."""
        self.choices.select(message.stream)
        if self.choices.frozen is not None:
            ago_s = (self.choices.frozen.head_ns(message.stream) - message.t_ns) / NS
            self.choices.move(cursor_s=ago_s)

    def on_waveforms_turned(self, message: Waveforms.Turned) -> None:
        """The wheel was turned: back and on in time, or more and less of it."""
        if message.zooms:
            self.choices.step_time(-message.by)
        else:
            by_s = 0.1 * message.by * timemachine.window_s(self.board, self.choices)
            timemachine.scroll(self.board, self.choices, by_s, self.clock())

    def on_past_strip_chosen(self, message: PastStrip.Chosen) -> None:
        """A moment of the last minutes was clicked on, or dragged over."""
        timemachine.go_to(self.board, self.choices, message.t_ns, self.clock())

    def on_overview_chosen(self, message: Overview.Chosen) -> None:
        """A tile was clicked on."""
        self.choices.select(message.stream)
        if message.twice:
            self.choices.toggle("overview")

    def on_alarm_table_chosen(self, message: AlarmTable.Chosen) -> None:
        """An alarm was clicked on."""
        self.choices.select_alarm(message.alarm_id)
