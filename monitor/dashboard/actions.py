"""What keys and the mouse do: each action changes the choices, or says something to the daemon."""

from __future__ import annotations

import getpass
from collections.abc import Awaitable, Callable
from typing import Any

from textual.screen import Screen

from monitor.control import Annotate, GetWhy, Mark, Silence, Why
from monitor.core.blocks import NS, Alarm, Note, Verdict
from monitor.core.errors import MonitorError
from monitor.dashboard import timemachine
from monitor.dashboard.choices import Choices
from monitor.dashboard.commands import CommandError, parse
from monitor.dashboard.explain import WhyScreen
from monitor.dashboard.help import HelpScreen
from monitor.dashboard.keys import KEYS
from monitor.dashboard.link import Link
from monitor.dashboard.state import Board, is_live
from monitor.dashboard.typed import Typed
from monitor.dashboard.why import case_of
from monitor.dashboard.widgets.alarms import AlarmTable
from monitor.dashboard.widgets.overview import Overview
from monitor.dashboard.widgets.prompt import Prompt
from monitor.dashboard.widgets.streams import StreamList
from monitor.dashboard.widgets.waveform import Waveforms

SILENCE_S = 120.0


class Actions(Screen[None]):
    """A screen with the actions that the keys name; what it shows is its heirs' business."""

    def __init__(self, board: Board, link: Link, choices: Choices, clock: Callable[[], float]) -> None:
        super().__init__()
        self.board, self.link, self.choices, self.clock = board, link, choices, clock
        self.typed = Typed(self)

    # ways to look

    def action_freeze(self) -> None:
        """Let the picture stand, or go back to live."""
        self.choices.freeze(self.board, self.clock())

    def action_live(self) -> None:
        """Back to live."""
        self.choices.live()

    def action_switch(self, what: str) -> None:
        """Switch one of the ways to look at it."""
        self.choices.toggle(what)

    def action_gain(self, by: int) -> None:
        """Enlarge or reduce."""
        self.choices.step_gain(by)

    def action_auto_gain(self) -> None:
        """Gain as it fits."""
        self.choices.auto_gain()

    def action_time(self, by: int) -> None:
        """Show more or less time."""
        self.choices.step_time(by)

    def action_step(self, by: int) -> None:
        """The next or previous stream, tile, or alarm where the alarm table has the focus."""
        if self.choices.overview:
            page = self.query_one(Overview).page
            self.choices.step_stream(self.choices.listed(self.board), by * (page.tiling.across if page else 1))
        elif isinstance(self.focused, AlarmTable):
            self.choices.step_alarm(self.board, by)
        else:
            self.choices.step_stream(self.choices.listed(self.board), by)

    def action_pin(self) -> None:
        """Keep the selected stream on the screen."""
        self.choices.pin()

    def action_review(self) -> None:
        """The alarm log in large, or back."""
        self.toggle_class("-review")
        self.query_one(AlarmTable if self.has_class("-review") else StreamList).focus()

    # looking back

    def action_cursor(self, by: int) -> None:
        """Move the cursor by cells of the picture, or the choice in the overview by tiles."""
        if self.choices.overview:
            self.choices.step_stream(self.choices.listed(self.board), by)
            return
        cells = max(self.query_one(Waveforms).size.width, 1)
        cell_s = timemachine.window_s(self.board, self.choices) / cells
        timemachine.move_cursor(self.board, self.choices, by * cell_s, self.clock())

    def action_scroll(self, pages: int) -> None:
        """Show what was before or after."""
        by_s = 0.8 * pages * timemachine.window_s(self.board, self.choices)
        timemachine.scroll(self.board, self.choices, by_s, self.clock())

    def action_event(self, by: int) -> None:
        """Go to the event before or after."""
        if not timemachine.step_event(self.board, self.choices, by, self.clock()):
            self.notify(f"Nothing was flagged {'before' if by < 0 else 'after'} this.", timeout=2)

    def action_go(self) -> None:
        """Go to the selected alarm, in its stream and at its time; or look closer at a stream of the overview."""
        alarm = self.board.alarm(self.choices.alarm_id)
        if self.choices.overview:
            self.choices.toggle("overview")
        elif alarm is not None and alarm.stream in self.board.streams:
            self.choices.select(alarm.stream)
            self.remove_class("-review")
            view = self.board.streams[alarm.stream]
            if view.newest_ns - alarm.raised_ns > timemachine.window_s(self.board, self.choices) * NS / 2:
                self.choices.hold(self.board, self.clock())
                timemachine.go_to(self.board, self.choices, alarm.raised_ns, self.clock())

    def action_home(self) -> None:
        """Back to how it began."""
        self.choices.reset()
        self.remove_class("-review")
        self.query_one(StreamList).focus()

    # alarms

    def chosen_alarm(self) -> Alarm | None:
        """The selected alarm, else the most urgent one."""
        return self.board.alarm(self.choices.alarm_id) or next(
            iter([*self.board.calling, *self.board.alarms]), None
        )

    def action_acknowledge(self) -> None:
        """Acknowledge the selected alarm if it calls, else the most urgent one that does."""
        alarm = self.board.alarm(self.choices.alarm_id)
        if alarm is None or alarm.acknowledged or not is_live(alarm):
            alarm = next(iter([*self.board.calling, *self.board.silenced]), None)
        if alarm is None:
            self.notify("There is no alarm to acknowledge.", timeout=2)
        else:
            self.tell(self.link.acknowledge(alarm.id), "Not acknowledged")

    def action_silence(self) -> None:
        """Silence what calls, or end the silence."""
        if self.board.calling:
            self.tell(self.link.say(Silence(SILENCE_S), float), "Not silenced")
        elif self.board.silenced:
            self.tell(self.link.say(Silence(0.0), float), "Not ended")
        else:
            self.notify("There is no alarm to silence.", timeout=2)

    def action_mark(self, verdict: Verdict, text: str = "") -> None:
        """Say that the selected alarm was true or false, or take that back."""
        alarm = self.chosen_alarm()
        if alarm is None:
            self.notify("There is no alarm to judge.", timeout=2)
            return
        wanted: Verdict = "" if self.board.verdict(alarm.id) == verdict and not text else verdict
        self.tell(self.link.say(Mark(alarm.id, wanted, text, _name()), Note), "Not marked")

    def annotate(self, text: str) -> None:
        """Keep a note on the cursor's moment, or on now."""
        choices, view = self.choices, self.board.streams.get(self.choices.selected)
        if view is None or not text.strip():
            return
        t_ns = choices.frozen.cursor_ns(view.name) if choices.frozen is not None else view.newest_ns
        self.tell(self.link.say(Annotate(view.name, t_ns, text.strip(), _name()), Note), "Not noted")

    def action_why(self) -> None:
        """Explain the selected alarm, or the event at the cursor."""
        case = case_of(self.board, self.choices)
        if case is None:
            self.notify("Nothing has been flagged yet.", timeout=2)
        else:
            self.app.push_screen(WhyScreen(self.board, self.choices, case, self._ask_why))

    async def _ask_why(self, alarm_id: str) -> Why:
        return await self.link.say(GetWhy(alarm_id), Why)

    def tell(self, saying: Awaitable[Any], failed: str) -> None:
        """Say something to the daemon without waiting; what went wrong is shown."""
        self.run_worker(self._tell(saying, failed), name="say")

    async def _tell(self, saying: Awaitable[Any], failed: str) -> None:
        try:
            await saying
        except MonitorError as error:
            self.notify(str(error), title=failed, severity="error")

    # typing

    def action_prompt(self, kind: str) -> None:
        """Ask for a filter, a note or a command."""
        if kind == "filter" and (isinstance(self.focused, AlarmTable) or self.has_class("-review")):
            self.query_one(Prompt).ask("alarms", self.choices.alarm_filter)
        else:
            self.query_one(Prompt).ask(kind, self.choices.filter if kind == "filter" else "")

    def on_prompt_answered(self, message: Prompt.Answered) -> None:
        """Take what was typed."""
        match message.kind:
            case "filter":
                self.choices.set_filter(message.text)
            case "alarms":
                self.choices.set_alarm_filter(message.text)
        if message.done:
            self._leave_prompt(message.kind)
            if message.kind == "note":
                self.annotate(message.text)
            elif message.kind == "command" and message.text.strip():
                self.carry_out(message.text)

    def on_prompt_left(self, message: Prompt.Left) -> None:
        """Nothing came of it; a filter is taken away."""
        if message.kind == "filter":
            self.choices.set_filter("")
        elif message.kind == "alarms":
            self.choices.set_alarm_filter("")
        self._leave_prompt(message.kind)

    def _leave_prompt(self, kind: str) -> None:
        self.query_one(Prompt).close()
        self.query_one(AlarmTable if kind == "alarms" else StreamList).focus()

    def carry_out(self, text: str) -> None:
        """Do what a typed command says."""
        try:
            command, rest = parse(text)
            getattr(self.typed, f"do_{command.name}")(rest)
        except (CommandError, MonitorError) as error:
            self.notify(str(error), severity="error", timeout=5)

    def action_help(self) -> None:
        """Show what every key does."""
        self.app.push_screen(HelpScreen(KEYS))

    # files

    def action_record(self) -> None:
        """Have the daemon record, or end that."""
        status = self.board.status
        self.carry_out("record off" if status is not None and status.recorded else "record")

    def action_export(self, form: str) -> None:
        """Write what is seen to a file."""
        self.carry_out(f"export {form}")

    def action_copy(self) -> None:
        """Copy what is seen."""
        self.carry_out("copy")

    def action_screenshot(self) -> None:
        """Save a picture of the screen."""
        self.carry_out("screenshot")


def _name() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""
