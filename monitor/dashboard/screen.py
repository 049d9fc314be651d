"""The one screen: composes the widgets, binds the keys, and redraws on a timer."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import Screen

from monitor.core.errors import MonitorError
from monitor.dashboard.bars import KeyHint, Meter
from monitor.dashboard.choices import Choices
from monitor.dashboard.help import HelpScreen
from monitor.dashboard.link import Link
from monitor.dashboard.stack import head_columns, window_wanted_s
from monitor.dashboard.state import Board, is_live
from monitor.dashboard.widgets.alarms import AlarmTable
from monitor.dashboard.widgets.bars import Banner, Footer, Header
from monitor.dashboard.widgets.numerals import Numerals
from monitor.dashboard.widgets.overlay import BeatOverlay
from monitor.dashboard.widgets.streams import StreamList
from monitor.dashboard.widgets.strip import PastStrip
from monitor.dashboard.widgets.waveform import Waveforms

PANELS_S = 0.2
"""Seconds between updates of everything but the waveforms; a key shows at once."""


class WatchScreen(Screen[None]):
    """Waveforms, numbers, alarms and streams."""

    AUTO_FOCUS = "StreamList"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "freeze", "Freeze", tooltip="Let the picture stand, or go back to live; data goes on"),
        Binding("a", "acknowledge", "Ack", tooltip="Acknowledge the selected alarm, else the most urgent"),
        Binding(
            "up,k", "step(-1)", "Stream", key_display="↑↓", tooltip="Choose a stream, or an alarm in its table"
        ),
        Binding("down,j", "step(1)", "Stream", show=False, tooltip="The same, downwards"),
        Binding("plus,equals_sign", "gain(1)", "Gain", key_display="+-", tooltip="Enlarge the selected stream"),
        Binding("minus", "gain(-1)", "Gain", show=False, tooltip="Reduce the selected stream"),
        Binding("0", "auto_gain", "Auto gain", show=False, tooltip="Gain as it fits by itself"),
        Binding("full_stop", "time(1)", "Time", key_display=",.", tooltip="Show more time"),
        Binding("comma", "time(-1)", "Time", show=False, tooltip="Show less time"),
        Binding("s", "switch('sweeps')", "Sweep", tooltip="Sweep with an erase bar, or scroll"),
        Binding("f", "switch('forecast')", "Forecast", tooltip="Forecast ahead; ahead and past ones; none"),
        Binding("g", "switch('grid')", "Grid", tooltip="Grid on or off"),
        Binding("p", "pin", "Pin", tooltip="Keep the selected stream on the screen, or let it go"),
        Binding("v", "switch('glyphs')", "Glyphs", tooltip="Braille, quadrants, half blocks, ASCII, sextants"),
        Binding("tab", "app.focus_next", "Table", show=False, tooltip="From the streams to the alarms and back"),
        Binding("enter", "go", "Go", show=False, tooltip="Go to the stream of the selected alarm"),
        Binding("escape", "home", "Home", show=False, tooltip="Select no alarm; back to the streams, and to live"),
        Binding("q", "app.quit", "Quit", tooltip="Quit; the daemon goes on"),
        Binding("question_mark", "help", "Help", key_display="?", tooltip="This help"),
    ]

    def __init__(
        self, board: Board, link: Link, choices: Choices, frames_s: float, clock: Callable[[], float]
    ) -> None:
        super().__init__()
        self._board, self._link, self._choices = board, link, choices
        self._frames_s, self._clock = frames_s, clock
        self._drawn: object = None
        self._choices_shown = -1
        self._panels_at_s = float("-inf")
        self._frame_times: deque[float] = deque(maxlen=128)
        self._draw_ms = 0.0

    def compose(self) -> ComposeResult:
        """See Textual."""
        yield Header(id="header")
        yield Banner(id="banner")
        with Horizontal(id="main"):
            with Vertical(id="signals"):
                yield Waveforms(id="waveforms")
                yield PastStrip(id="past")
            with Vertical(id="side"):
                yield Numerals(id="numerals")
                yield BeatOverlay(id="beats")
        with Horizontal(id="tables"):
            yield AlarmTable(id="alarms")
            yield StreamList(id="streams")
        yield Footer(id="footer")

    def on_mount(self) -> None:
        """Begin to draw."""
        self.query_one(Footer).hints = tuple(
            KeyHint(b.key_display or b.key, b.description, b.action)
            for b in self.BINDINGS
            if isinstance(b, Binding) and b.show
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
        now_s = self._clock()
        self._choices.settle(self._board.names)
        self._draw_waveforms(now_s)
        if self._choices.version != self._choices_shown or not 0 <= now_s - self._panels_at_s < PANELS_S:
            self._choices_shown, self._panels_at_s = self._choices.version, now_s
            self._update_panels(now_s)

    def _draw_waveforms(self, now_s: float) -> None:
        board, choices, waveforms = self._board, self._choices, self.query_one(Waveforms)
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
        board, choices, address = self._board, self._choices, self._link.feed
        self._link.want(window_wanted_s(board, choices))
        frames = sum(1 for t in self._frame_times if now_s - t < 1.0)
        self.query_one(Header).update(board, choices, Meter(frames, self._draw_ms), now_s, address)
        self.query_one(Banner).update(board, choices, now_s, address)
        self.query_one(Numerals).update(board, choices, now_s)
        self.query_one(BeatOverlay).update(board, choices)
        self.query_one(PastStrip).update(board, choices)
        self.query_one(AlarmTable).update(board, choices)
        self.query_one(StreamList).update(board, choices, now_s)
        self.query_one(Footer).update(choices)

    # keys

    def action_freeze(self) -> None:
        """Let the picture stand, or go back to live."""
        self._choices.freeze(self._board, self._clock())

    def action_switch(self, what: str) -> None:
        """Switch one of the ways to look at it."""
        self._choices.toggle(what)

    def action_gain(self, by: int) -> None:
        """Enlarge or reduce."""
        self._choices.step_gain(by)

    def action_auto_gain(self) -> None:
        """Gain as it fits."""
        self._choices.auto_gain()

    def action_time(self, by: int) -> None:
        """Show more or less time."""
        self._choices.step_time(by)

    def action_step(self, by: int) -> None:
        """The next or previous stream, or alarm where the alarm table has the focus."""
        if isinstance(self.focused, AlarmTable):
            self._choices.step_alarm(self._board, by)
        else:
            self._choices.step_stream(self._board.names, by)

    def action_pin(self) -> None:
        """Keep the selected stream on the screen."""
        self._choices.pin()

    def action_go(self) -> None:
        """Go to the stream of the selected alarm."""
        alarm = self._board.alarm(self._choices.alarm_id)
        if alarm is not None and alarm.stream in self._board.streams:
            self._choices.select(alarm.stream)

    def action_home(self) -> None:
        """Back to how it began."""
        self._choices.select_alarm("")
        if self._choices.frozen is not None:
            self.action_freeze()
        self.query_one(StreamList).focus()

    def action_acknowledge(self) -> None:
        """Acknowledge the selected alarm if it calls, else the most urgent one that does."""
        alarm = self._board.alarm(self._choices.alarm_id)
        if alarm is None or alarm.acknowledged or not is_live(alarm):
            alarm = next(iter(self._board.calling), None)
        if alarm is None:
            self.notify("There is no alarm to acknowledge.", timeout=2)
        else:
            self.run_worker(self._acknowledge(alarm.id), name="acknowledge")

    async def _acknowledge(self, alarm_id: str) -> None:
        try:
            await self._link.acknowledge(alarm_id)
        except MonitorError as error:
            self.notify(str(error), title="Not acknowledged", severity="error")

    def action_help(self) -> None:
        """Show what every key does."""
        self.app.push_screen(HelpScreen([b for b in self.BINDINGS if isinstance(b, Binding)]))

    # the mouse

    def on_stream_list_chosen(self, message: StreamList.Chosen) -> None:
        """A stream was clicked on."""
        self._choices.select(message.stream)

    def on_waveforms_chosen(self, message: Waveforms.Chosen) -> None:
        """A lane was clicked on."""
        self._choices.select(message.stream)

    def on_alarm_table_chosen(self, message: AlarmTable.Chosen) -> None:
        """An alarm was clicked on."""
        self._choices.select_alarm(message.alarm_id)
