"""The life of an alarm: one transition table, levels and hold times in data time.

Rules of the file:
- A track is one thing that can be wrong with one stream: (slot, rule). It has one alarm at a time.
- A track is stepped in order of data time; nothing here asks what time it is.
- An alarm is raised when its score has stood at or above `raise_level` for `hold_s`, and is over when it has
  stayed below `clear_level` for `clear_s`. What lies between the levels changes nothing. Where a budget of false
  alarms is kept instead (monitor.core.budget), both levels are each stream's own, and move.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum, auto

import msgspec
import numpy as np
from numpy.typing import NDArray

from monitor.core.blocks import NS, Alarm, Ints, State
from monitor.core.rules import Track


class Signal(Enum):
    """What a step says to a track."""

    ABOVE = auto()
    """At or above the raise level."""
    BETWEEN = auto()
    BELOW = auto()
    """Below the clear level."""
    HELD = auto()
    """Above for as long as hold_s."""
    GONE = auto()
    """Below for as long as clear_s, nothing to wait for."""
    GONE_UNSEEN = auto()
    """Below for as long as clear_s, but the rule latches and nobody has acknowledged."""
    SEEN = auto()
    """Somebody acknowledged."""


TRANSITIONS: dict[tuple[State, Signal], State] = {
    (State.OK, Signal.ABOVE): State.PENDING,
    (State.PENDING, Signal.HELD): State.ACTIVE,
    (State.PENDING, Signal.BETWEEN): State.OK,
    (State.PENDING, Signal.BELOW): State.OK,
    (State.ACTIVE, Signal.BELOW): State.CLEARING,
    (State.CLEARING, Signal.ABOVE): State.ACTIVE,
    (State.CLEARING, Signal.BETWEEN): State.ACTIVE,
    (State.CLEARING, Signal.GONE): State.CLEARED,
    (State.CLEARING, Signal.GONE_UNSEEN): State.LATCHED,
    (State.LATCHED, Signal.ABOVE): State.ACTIVE,
    (State.LATCHED, Signal.SEEN): State.CLEARED,
}
"""Whatever is not listed leaves the state as it is. CLEARED ends the alarm: its track is OK again."""


_CODES = {state: code for code, state in enumerate(State)}
_OK, _PENDING, _ACTIVE, _CLEARING = (
    _CODES[state] for state in (State.OK, State.PENDING, State.ACTIVE, State.CLEARING)
)


class Life(msgspec.Struct, frozen=True):
    """A track that is not OK, as it is kept over a restart."""

    alarm: Alarm
    state: State
    since_ns: int


class _Life:
    """A track that is not OK."""

    __slots__ = ("alarm", "since_ns", "state")

    def __init__(self, alarm: Alarm, since_ns: int) -> None:
        self.alarm, self.since_ns, self.state = alarm, since_ns, State.OK


class Alarms:
    """All tracks of up to `capacity` streams."""

    def __init__(self, tracks: Sequence[Track], capacity: int, name_of: Callable[[int], str]) -> None:
        self.tracks = tuple(tracks)
        self._name_of = name_of
        shape = (capacity, len(self.tracks))
        self._lives: dict[tuple[int, int], _Life] = {}
        # Of each life what tells, many at a time, that a step would change nothing.
        self._state = np.zeros(shape, np.int8)
        self._best = np.zeros(shape)
        self._since_ns = np.zeros(shape, np.int64)

    def busy(self, slots: Ints) -> NDArray[np.bool_]:
        """(n, track) whether each track of each of `slots` is anything but OK."""
        busy: NDArray[np.bool_] = self._state[slots] != _OK
        return busy

    def step(
        self,
        slots: Ints,
        track: int,
        t_ns: Ints,
        score: NDArray[np.floating],
        levels: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
        detail_of: Callable[[int], str] | None = None,
    ) -> list[tuple[int, Alarm]]:
        """One step of `track` for distinct `slots` (n,): scores (n,) at data times (n,).

        `levels` are each row's own raise and clear level (n,); None takes the track's. `detail_of` a row is what
        an alarm says of itself that it raises.
        Returns (row, alarm) for each alarm whose published state changed.
        """
        of = self.tracks[track]
        raise_level, clear_level = levels or (of.raise_level, of.clear_level)
        state = self._state[slots, track]
        due = t_ns - self._since_ns[slots, track] >= of.rule.clear_s * NS
        better = score > self._best[slots, track]
        matters = (score >= raise_level) & ((state != _ACTIVE) | better)
        matters |= (state == _ACTIVE) & ((score < clear_level) | better)
        matters |= (state == _CLEARING) & ((score >= clear_level) | due)
        matters |= state == _PENDING
        changed = []
        for row in np.flatnonzero(matters).tolist():
            own = (of.raise_level, of.clear_level)
            if levels is not None:
                own = (float(levels[0][row]), float(levels[1][row]))
            told = self._step(int(slots[row]), track, int(t_ns[row]), float(score[row]), *own)
            if told and detail_of is not None and told[-1].state is State.ACTIVE and told[-1].times == 1:
                life = self._lives[int(slots[row]), track]
                life.alarm = msgspec.structs.replace(told[-1], detail=detail_of(row))
                told[-1] = life.alarm
            changed += [(row, alarm) for alarm in told]
        return changed

    def _step(
        self, slot: int, index: int, t_ns: int, score: float, raise_level: float, clear_level: float
    ) -> list[Alarm]:
        track = self.tracks[index]
        life = self._lives.get((slot, index))
        if life is None:
            life = self._lives[slot, index] = _Life(self._new(slot, track, t_ns, score, raise_level), t_ns)
        if score > life.alarm.score:
            life.alarm = msgspec.structs.replace(life.alarm, score=score)
        signal = Signal.BETWEEN if score >= clear_level else Signal.BELOW
        if score >= raise_level:
            signal = Signal.ABOVE
        changed = self._move(life, signal, t_ns)
        if life.state is State.PENDING and t_ns - life.since_ns >= track.rule.hold_s * NS:
            changed += self._move(life, Signal.HELD, t_ns)
        if life.state is State.CLEARING and t_ns - life.since_ns >= track.rule.clear_s * NS:
            unseen = track.rule.latch and not life.alarm.acknowledged
            changed += self._move(life, Signal.GONE_UNSEEN if unseen else Signal.GONE, t_ns)
        self._keep(slot, index, life)
        return changed

    def _move(self, life: _Life, signal: Signal, t_ns: int) -> list[Alarm]:
        state = TRANSITIONS.get((life.state, signal), life.state)
        if state is life.state:
            return []
        life.state, life.since_ns = state, t_ns
        # Waiting to become active or to be over is the alarm's own business; that it came back is not.
        if state not in (State.ACTIVE, State.LATCHED, State.CLEARED) or signal is Signal.BETWEEN:
            return []
        times = life.alarm.times + (state is State.ACTIVE)
        life.alarm = msgspec.structs.replace(life.alarm, state=state, changed_ns=t_ns, times=times)
        return [life.alarm]

    def _keep(self, slot: int, index: int, life: _Life) -> None:
        """Go on with a life, unless it is over."""
        if life.state in (State.OK, State.CLEARED):
            self._end(slot, index)
            return
        self._lives[slot, index] = life
        self._state[slot, index] = _CODES[life.state]
        self._best[slot, index] = life.alarm.score
        self._since_ns[slot, index] = life.since_ns

    def acknowledge(self, alarm_id: str) -> list[Alarm]:
        """Somebody has seen the alarm of this id, or all with an empty id; the alarms that changed."""
        changed = []
        for (slot, index), life in list(self._lives.items()):
            alarm = life.alarm
            if alarm.state is State.OK or alarm.acknowledged or alarm_id not in ("", alarm.id):
                continue
            life.alarm = msgspec.structs.replace(alarm, acknowledged=True)
            changed += self._move(life, Signal.SEEN, alarm.changed_ns) or [life.alarm]
            self._keep(slot, index, life)
        return changed

    def restore(self, slot: int, alarm: Alarm) -> bool:
        """Go on with an alarm that an earlier run of the monitor left open; False when no track speaks of it."""
        index = self._track_of(alarm)
        if index is None:
            return False
        life = _Life(alarm, alarm.changed_ns)
        life.state = alarm.state
        self._keep(slot, index, life)
        return True

    def inherit(self, other: Alarms) -> list[Alarm]:
        """Go on with the alarms of another set of tracks; those that no track speaks of any more are over."""
        over = []
        for (slot, index), life in other._lives.items():
            track = other.tracks[index]
            ours = next(
                (i for i, t in enumerate(self.tracks) if (t.kind, t.label) == (track.kind, track.label)), None
            )
            if ours is not None:
                self._keep(slot, ours, life)
            elif life.alarm.state is not State.OK:
                over.append(msgspec.structs.replace(life.alarm, state=State.CLEARED))
        return over

    def lives(self) -> dict[int, list[Life]]:
        """The tracks that are not OK, by stream, for a restart."""
        found: dict[int, list[Life]] = {}
        for (slot, _), life in self._lives.items():
            found.setdefault(slot, []).append(Life(life.alarm, life.state, life.since_ns))
        return found

    def live_on(self, slot: int, lives: Iterable[Life]) -> None:
        """The tracks of a stream go on as `lives` gave them; all others are OK."""
        for of, index in [key for key in self._lives if key[0] == slot]:
            self._end(of, index)
        for one in lives:
            track = self._track_of(one.alarm)
            if track is not None:
                life = _Life(one.alarm, one.since_ns)
                life.state = one.state
                self._keep(slot, track, life)

    def reconcile(self, known: Mapping[str, Alarm]) -> list[str]:
        """Published alarms that `known` does not have are over, those it has are as acknowledged as it says.

        Returns the ids of those that go on here.
        """
        ours = []
        for (slot, index), life in list(self._lives.items()):
            if life.alarm.state is State.OK:
                continue
            if (other := known.get(life.alarm.id)) is None:
                self._end(slot, index)
            else:
                life.alarm = msgspec.structs.replace(life.alarm, acknowledged=other.acknowledged)
                ours.append(other.id)
        return ours

    def _end(self, slot: int, index: int) -> None:
        self._lives.pop((slot, index), None)
        self._state[slot, index] = _OK

    def _track_of(self, alarm: Alarm) -> int | None:
        for index, track in enumerate(self.tracks):
            same_model = track.model.partition("@")[0] == alarm.model.partition("@")[0]
            if same_model and (track.kind, track.label) == (alarm.kind, alarm.label):
                return index
        return None

    def open(self) -> list[Alarm]:
        """The alarms that are active or latched, by the time they were raised."""
        alive = [life.alarm for life in self._lives.values() if life.alarm.state is not State.OK]
        return sorted(alive, key=lambda alarm: (alarm.raised_ns, alarm.id))

    def _new(self, slot: int, track: Track, t_ns: int, score: float, level: float) -> Alarm:
        stream = self._name_of(slot)
        seed = f"{stream}\n{track.kind}\n{track.label}\n{t_ns}"
        return Alarm(
            id=hashlib.blake2b(seed.encode(), digest_size=6).hexdigest(),
            stream=stream,
            kind=track.kind,
            label=track.label,
            priority=track.rule.priority,
            state=State.OK,  # becomes visible when it becomes active
            raised_ns=t_ns,
            changed_ns=t_ns,
            score=score,
            threshold=level,
            model=track.model,
        )
