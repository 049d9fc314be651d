"""What the screen shows, as a fold of what was received.

Rules of this file: no clock (wall time, in seconds of any steady clock, comes in as `now_s`), no I/O, and every
collection is bounded. Data times are compared with data times of the same stream only.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from monitor.core.blocks import Alarm, Beat, Block, Event, Forecast, Note, Score, State, Verdict
from monitor.core.published import Status, StreamState
from monitor.dashboard.stream import RANK, StreamView
from monitor.dashboard.trace import KEPT_S

Message = Block | Forecast | Beat | Event | Alarm | Note | StreamState | Status | list[Score]

SILENCE_S = 3.0
"""Without a status for so long, the daemon is not there."""
MAX_STREAMS = 4096
MAX_ALARMS = 500
MAX_NOTES = 1000
LIVE = frozenset({State.PENDING, State.ACTIVE, State.CLEARING, State.LATCHED})


def is_live(alarm: Alarm) -> bool:
    """Whether the alarm still wants somebody's eyes: not over, or kept until acknowledged."""
    return alarm.state in LIVE


def _order(alarm: Alarm) -> tuple[bool, bool, int, int]:
    live = is_live(alarm)
    return (not live, live and alarm.acknowledged, -RANK[alarm.priority] if live else 0, -alarm.raised_ns)


class Board:
    """All that is known of a daemon and its streams."""

    def __init__(self, length_s: float = 0.0) -> None:
        """`length_s` is that of the recording that is looked at; 0 when what comes is live."""
        self.length_s = length_s
        self.streams: dict[str, StreamView] = {}
        self.status: Status | None = None
        self.heard_s: float | None = None
        """Wall time of the last status; None before the first."""
        self.refused = 0
        """Messages that could not be read."""
        self.version = 0
        """Changes whenever anything else here does."""
        self._alarms: dict[str, Alarm] = {}
        self._sorted: tuple[int, list[Alarm]] = (-1, [])
        self._ranks: tuple[int, dict[str, int]] = (-1, {})
        self.alarm_version = 0
        """Changes whenever an alarm, a note or the silence does."""
        self.notes: dict[str, Note] = {}
        """What was said and not taken back, by id."""
        self.models: dict[str, dict[str, Any]] = {}
        """What the cards of the models say, by NAME@VERSION."""

    # what comes in

    def fold(self, message: Message, now_s: float) -> None:
        """Take one received message in."""
        self.version += 1
        match message:
            case Status():
                before = self.status.silenced if self.status is not None else ()
                self.alarm_version += before != message.silenced
                self.status, self.heard_s = message, now_s
            case Note():
                self._fold_note(message)
            case Alarm():
                self._fold_alarm(message)
                if message.stream in self.streams:  # an alarm outlives its stream, and the daemon has its own
                    self.streams[message.stream].fold(message, now_s)
            case list():
                for score in message:
                    self._view(score.stream).fold(score, now_s)
            case _:
                self._view(message.stream).fold(message, now_s)

    def fold_overview(self, status: Status, streams: Iterable[StreamState], now_s: float) -> None:
        """Take the answer to GetStatus in, which begins a connection: what was known before may be over."""
        self.streams = {}
        self._alarms = {}
        self.notes = {}
        self.alarm_version += 1
        for state in streams:
            self.fold(state, now_s)
        self.status = status
        if self.heard_s is None:
            self.heard_s = now_s  # at the start, as good as a first word; later only the feed itself counts

    def fold_alarms(self, alarms: Iterable[Alarm]) -> None:
        """Take the answer to GetAlarms in; what was published since is newer and stays."""
        for alarm in alarms:
            known = self._alarms.get(alarm.id)
            if known is None or known.changed_ns <= alarm.changed_ns:
                self.fold(alarm, 0.0)

    def fold_models(self, cards: Iterable[Mapping[str, Any]]) -> None:
        """Take the answer to GetModels in: the cards, by NAME@VERSION."""
        self.models = {f"{card.get('name')}@{card.get('version')}": dict(card) for card in cards}

    def fold_notes(self, notes: Iterable[Note]) -> None:
        """Take the answer to GetNotes in; what was published since is newer and stays."""
        for note in notes:
            self.notes.setdefault(note.id, note)
        self.version += 1
        self.alarm_version += 1

    def fold_history(
        self, stream: str, blocks: Iterable[Block], events: Iterable[Event], beats: Iterable[Beat]
    ) -> None:
        """Take the answer to GetHistory in: it goes before what has come since."""
        self.version += 1
        self._view(stream).fold_history(blocks, events, beats)

    def release(self, stream: str) -> None:
        """Nobody looks at this stream any more."""
        if stream in self.streams:
            self.version += 1
            self.streams[stream].release()

    def refuse(self) -> None:
        """A message could not be read."""
        self.version += 1
        self.refused += 1

    def _view(self, stream: str) -> StreamView:
        view = self.streams.get(stream)
        if view is None:
            if len(self.streams) >= MAX_STREAMS:
                del self.streams[next(iter(self.streams))]
            view = StreamView(stream, max(self.length_s, KEPT_S))
            for alarm in self._alarms.values():
                if alarm.stream == stream:
                    view.fold(alarm, 0.0)
            self.streams = dict(sorted([*self.streams.items(), (stream, view)]))
        return view

    def _fold_alarm(self, alarm: Alarm) -> None:
        self._alarms[alarm.id] = alarm
        self.alarm_version += 1
        if len(self._alarms) > MAX_ALARMS:
            del self._alarms[self.alarms[-1].id]
            self.alarm_version += 1

    def _fold_note(self, note: Note) -> None:
        self.notes.pop(note.id, None)
        if note.text or note.verdict:
            self.notes[note.id] = note
        if len(self.notes) > MAX_NOTES:
            del self.notes[next(iter(self.notes))]
        self.alarm_version += 1

    # what can be asked

    def verdict(self, alarm_id: str) -> Verdict:
        """What somebody said of an alarm: "true", "false" or nothing yet."""
        note = self.notes.get(f"{alarm_id}-verdict")
        return note.verdict if note is not None else ""

    def notes_of(self, stream: str) -> list[Note]:
        """Notes on moments of a stream, oldest first; verdicts are the alarms' business."""
        found = [note for note in self.notes.values() if note.stream == stream and not note.alarm]
        return sorted(found, key=lambda note: note.t_ns)

    def silence_left_s(self, now_s: float) -> float:
        """Seconds until silenced alarms call again; 0 when none is silenced."""
        if self.status is None or self.heard_s is None or not self.status.silenced:
            return 0.0
        return max(self.status.silence_left_s - (now_s - self.heard_s), 0.0)

    def is_connected(self, now_s: float) -> bool:
        """Whether the daemon was heard of lately and did not say goodbye."""
        return (
            self.status is not None
            and self.status.state != "offline"
            and self.heard_s is not None
            and now_s - self.heard_s <= SILENCE_S
        )

    def stale_s(self, stream: str, now_s: float) -> float | None:
        """Seconds without new data of a stream, when that is more than usual; a recording may end."""
        return None if self.length_s else self.streams[stream].stale_s(now_s)

    def silence_s(self, now_s: float) -> float | None:
        """Seconds since the daemon was last heard of; None when it never was."""
        return None if self.heard_s is None else max(now_s - self.heard_s, 0.0)

    @property
    def names(self) -> list[str]:
        """The streams, in the order of their names."""
        return list(self.streams)

    @property
    def alarms(self) -> list[Alarm]:
        """Live before over, unacknowledged before acknowledged, high before low, new before old."""
        if self._sorted[0] != self.alarm_version:
            self._sorted = (self.alarm_version, sorted(self._alarms.values(), key=_order))
        return self._sorted[1]

    @property
    def calling(self) -> list[Alarm]:
        """Live alarms that nobody has acknowledged or silenced, the most urgent first."""
        wanted = itertools.takewhile(lambda a: is_live(a) and not a.acknowledged, self.alarms)
        silenced = self.status.silenced if self.status is not None else ()
        return [alarm for alarm in wanted if alarm.state is not State.PENDING and alarm.id not in silenced]

    @property
    def silenced(self) -> list[Alarm]:
        """Live alarms that nobody has acknowledged and somebody has silenced."""
        silenced = self.status.silenced if self.status is not None else ()
        return [a for a in self.alarms if a.id in silenced and is_live(a) and not a.acknowledged]

    def alarm(self, alarm_id: str) -> Alarm | None:
        """The alarm of that id, if it is known."""
        return self._alarms.get(alarm_id)

    def rank(self, stream: str) -> int:
        """How urgent the most urgent live alarm of a stream is: 0 none, 1 low, 2 medium, 3 high."""
        if self._ranks[0] != self.alarm_version:
            ranks: dict[str, int] = {}
            for alarm in self._alarms.values():
                if is_live(alarm):
                    ranks[alarm.stream] = max(ranks.get(alarm.stream, 0), RANK[alarm.priority])
            self._ranks = (self.alarm_version, ranks)
        return self._ranks[1].get(stream, 0)
