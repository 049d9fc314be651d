"""What the watcher chose to see: streams, time base, gain, freeze. Pure, like the state it looks at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import NamedTuple

from monitor.core.blocks import NS, Alarm
from monitor.dashboard.listing import Order, listed
from monitor.dashboard.palette import Palette
from monitor.dashboard.raster import BRAILLE, GLYPHS, Glyphs
from monitor.dashboard.scale import MAX_GAIN_STEPS, TIME_BASES_S
from monitor.dashboard.state import Board
from monitor.dashboard.stream import StreamView
from monitor.dashboard.themes import DARK, PALETTES

MAX_STREAMS = 4
"""Streams shown at once while none is pinned."""
MAX_LANES = 12
LEAST_ROWS = 4
"""Of a lane, where there is more than one."""


class ForecastMode(Enum):
    """What of the forecasts is drawn."""

    AHEAD = "ahead"
    WITH_PAST = "ahead and past"
    OFF = "off"


class LaneKey(NamedTuple):
    """Which signal a lane shows."""

    stream: str
    channel: int


@dataclass(frozen=True)
class Frozen:
    """A picture that stands: as it was when the watcher froze it, or some way back from there."""

    views: Mapping[str, StreamView]
    heads_ns: Mapping[str, int]
    back_s: float = 0.0
    cursor_s: float = 0.0
    """Seconds from the right end of the picture back to the cursor."""

    def head_ns(self, stream: str) -> int:
        """Data time at the right end of what is shown of a stream."""
        return self.heads_ns.get(stream, 0) - round(self.back_s * NS)

    def cursor_ns(self, stream: str) -> int:
        """Data time under the cursor."""
        return self.head_ns(stream) - round(self.cursor_s * NS)


@dataclass
class Choices:
    """Changed by keys, read when drawing."""

    selected: str = ""
    wish: str = ""
    """The stream to select as soon as it is there, unless the watcher has chosen another by then."""
    pinned: list[str] = field(default_factory=list)
    alarm_id: str = ""
    """The alarm that is selected; empty for "the most urgent"."""
    sweeps: bool = False
    grid: bool = True
    forecast: ForecastMode = ForecastMode.AHEAD
    time_steps: int = 0
    gain_steps: dict[str, int] = field(default_factory=dict)
    glyphs: Glyphs = BRAILLE
    palette: Palette = DARK
    frozen: Frozen | None = None
    order: Order = Order.NAME
    filter: str = ""
    """What stream names must match to be listed; a regular expression."""
    alarm_filter: str = ""
    """What the text of listed alarms must hold."""
    overview: bool = False
    """Many streams in little instead of few in large."""
    version: int = 0
    """Changes whenever anything else here does."""

    def settle(self, names: list[str]) -> None:
        """Select something that exists, as long as anything does."""
        if self.wish in names:
            self.select(self.wish)
        elif self.selected not in names and names:
            wish = self.wish or self.selected  # what has gone may come back
            self.select(names[0])
            self.wish = wish

    def select(self, stream: str) -> None:
        """Look at this stream."""
        self.version += 1
        self.selected, self.wish = stream, ""

    def step_stream(self, names: list[str], by: int) -> None:
        """The next or the previous stream, round and round."""
        if names:
            at = names.index(self.selected) if self.selected in names else -by
            self.select(names[(at + by) % len(names)])

    def step_alarm(self, board: Board, by: int) -> None:
        """The next or the previous alarm of the table."""
        ids = [alarm.id for alarm in self.alarms(board)]
        if ids:
            self.version += 1
            at = ids.index(self.alarm_id) + by if self.alarm_id in ids else 0
            self.alarm_id = ids[min(max(at, 0), len(ids) - 1)]

    def set_filter(self, pattern: str) -> None:
        """List the streams whose names match."""
        self.version += 1
        self.filter = pattern.strip()

    def set_alarm_filter(self, words: str) -> None:
        """List the alarms that hold these words."""
        self.version += 1
        self.alarm_filter = words.strip()

    def reset(self) -> None:
        """No filter, no selected alarm, nothing frozen, no overview."""
        self.version += 1
        self.filter = self.alarm_filter = self.alarm_id = ""
        self.overview, self.frozen = False, None

    def alarms(self, board: Board) -> list[Alarm]:
        """The alarms that the filter lets through."""
        wanted = self.alarm_filter.lower().split()
        if not wanted:
            return board.alarms
        return [alarm for alarm in board.alarms if all(word in _searched(board, alarm) for word in wanted)]

    def select_alarm(self, alarm_id: str) -> None:
        """Choose an alarm of the table; empty for none."""
        self.version += 1
        self.alarm_id = alarm_id

    def pin(self) -> None:
        """Keep the selected stream on the screen, or let it go."""
        self.version += 1
        if self.selected in self.pinned:
            self.pinned.remove(self.selected)
        elif self.selected:
            self.pinned.append(self.selected)

    def step_gain(self, by: int) -> None:
        """Enlarge or reduce the selected stream."""
        self.version += 1
        steps = self.gain_steps.get(self.selected, 0) + by
        self.gain_steps[self.selected] = min(max(steps, -MAX_GAIN_STEPS), MAX_GAIN_STEPS)

    def auto_gain(self) -> None:
        """Back to the gain that fits by itself."""
        self.version += 1
        self.gain_steps.pop(self.selected, None)

    def step_time(self, by: int) -> None:
        """Show more or less time."""
        self.version += 1
        self.time_steps = min(max(self.time_steps + by, -len(TIME_BASES_S)), len(TIME_BASES_S))

    def toggle(self, name: str) -> None:
        """Switch `sweeps`, `grid` or `overview`, or go to the next `forecast`, `glyphs`, `palette` or `order`."""
        self.version += 1
        match name:
            case "sweeps":
                self.sweeps = not self.sweeps
            case "grid":
                self.grid = not self.grid
            case "overview":
                self.overview = not self.overview
            case "palette":
                self.palette = PALETTES[(PALETTES.index(self.palette) + 1) % len(PALETTES)]
            case "order":
                orders = list(Order)
                self.order = orders[(orders.index(self.order) + 1) % len(orders)]
            case "forecast":
                modes = list(ForecastMode)
                self.forecast = modes[(modes.index(self.forecast) + 1) % len(modes)]
            case "glyphs":
                self.glyphs = GLYPHS[(GLYPHS.index(self.glyphs) + 1) % len(GLYPHS)]

    def listed(self, board: Board) -> list[str]:
        """The streams that the filter lets through, in the order that was chosen."""
        return listed(board, self.order, self.filter)

    def freeze(self, board: Board, now_s: float) -> None:
        """Let the picture stand, or go back to what is live."""
        if self.frozen is not None:
            self.live()
        else:
            self.hold(board, now_s)

    def live(self) -> None:
        """Back to what is live."""
        self.version += 1
        self.frozen = None

    def hold(self, board: Board, now_s: float) -> None:
        """Let the picture stand, if it does not yet."""
        if self.frozen is not None:
            return
        self.version += 1
        views = {name: view.snapshot() for name, view in board.streams.items() if view.trace is not None}
        self.frozen = Frozen(views, {name: view.playhead.at(now_s) for name, view in views.items()})

    def move(self, *, back_s: float | None = None, cursor_s: float | None = None) -> None:
        """Show what was so many seconds before the picture was frozen, or put the cursor elsewhere."""
        if self.frozen is not None:
            self.version += 1
            back_s = self.frozen.back_s if back_s is None else max(back_s, 0.0)
            cursor_s = self.frozen.cursor_s if cursor_s is None else max(cursor_s, 0.0)
            self.frozen = replace(self.frozen, back_s=back_s, cursor_s=cursor_s)

    def refresh(self, board: Board) -> None:
        """Take in what of the past has been fetched since the picture was frozen."""
        if self.frozen is None:
            return
        views, heads = dict(self.frozen.views), dict(self.frozen.heads_ns)
        for name in self.streams_shown(board.names):
            live, held = board.streams[name], views.get(name)
            if live.trace is not None and (held is None or held.loads != live.loads):
                views[name] = live.snapshot()
                heads.setdefault(name, live.newest_ns)
        if views != self.frozen.views:
            self.version += 1
            self.frozen = replace(self.frozen, views=views, heads_ns=heads)

    def streams_shown(self, names: list[str]) -> list[str]:
        """The pinned streams and the selected one, or the selected one and its neighbours."""
        pinned = [name for name in self.pinned if name in names]
        if pinned:
            wanted = pinned if self.selected in pinned or self.selected not in names else [*pinned, self.selected]
            return wanted[-MAX_LANES:]
        at = names.index(self.selected) if self.selected in names else 0
        first = at - at % MAX_STREAMS
        return names[first : first + MAX_STREAMS]

    def lanes(self, board: Board, rows: int) -> list[LaneKey]:
        """The lanes that fit into so many rows: every channel of what is shown, or as much as there is room for.

        Where not all fit, each stream keeps its first channel before any gets a second, and the selected stream
        never goes without.
        """
        shown = self.streams_shown(board.names)
        room = min(max(rows // LEAST_ROWS, 1), MAX_LANES)
        width = {name: max(len(board.streams[name].channels), 1) for name in shown}
        first = sorted(shown, key=lambda name: name != self.selected)
        wanted = [LaneKey(name, 0) for name in first]
        wanted += [LaneKey(name, channel) for name in first for channel in range(1, width[name])]
        kept = set(wanted[:room])
        return [LaneKey(n, c) for n in shown for c in range(width[n]) if LaneKey(n, c) in kept]


def _searched(board: Board, alarm: Alarm) -> str:
    seen = "acknowledged" if alarm.acknowledged else "unseen"
    said = f"said-{board.verdict(alarm.id)}"
    parts = (alarm.stream, alarm.label, alarm.kind, alarm.priority, alarm.state, alarm.model, seen, said)
    return " ".join(parts).lower()
