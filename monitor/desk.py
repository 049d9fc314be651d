"""What people say to the daemon: silence, notes on a signal, the verdict on an alarm, the test of the alarms.

Everything said here reaches every dashboard: notes and verdicts are written to the alarm log before they are
published, like alarms; silence goes out with the status. Rules of the file:

- Silence is for the alarms that call when it is asked for; what is raised later calls. It ends by itself, and does
  not outlive the daemon: whoever restarts it hears all of it again.
- A note says something about a moment of a stream; one with a verdict judges an alarm. Saying it again replaces
  it, saying nothing takes it back.
- A test alarm is an alarm like any other on its way out, of the stream "monitor", and ends by itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import msgspec

from monitor.control import Annotate, GetAlarms, GetNotes, GetWhy, Mark, Silence, TestAlarm, Why
from monitor.core.blocks import NS, Alarm, Kind, Note, State, is_stream_name
from monitor.core.errors import MonitorError
from monitor.sinks.alarmlog import AlarmLog

TEST_S = 10.0


class UnknownAlarm(MonitorError):
    """Nobody knows the alarm that was spoken of."""


class Desk:
    """Takes what people say, and hands on what is to be logged and told."""

    def __init__(
        self,
        tell: Callable[[Sequence[Alarm | Note]], None],
        open_alarms: Callable[[], list[Alarm]],
        log: AlarmLog,
        now_ns: Callable[[], int],
    ) -> None:
        """`tell` logs and publishes; `open_alarms` gives all that are not over."""
        self._tell, self._open_alarms, self._log, self._now_ns = tell, open_alarms, log, now_ns
        self._silent_until_ns = 0
        self._silenced: tuple[str, ...] = ()
        self._tests: dict[str, tuple[Alarm, int]] = {}
        """Test alarms that are not over, and when each will be."""

    def answer(self, request: object) -> object:  # noqa: PLR0911 - a table
        """The answer to what somebody said or asks of alarms; raises MonitorError for what cannot be."""
        match request:
            case Silence():
                return self._silence(request)
            case TestAlarm():
                return self._test(request)
            case Mark():
                return self._mark(request)
            case Annotate():
                return self._annotate(request)
            case GetAlarms():
                return self._alarms(request)
            case GetNotes():
                return self._log.notes(stream=request.stream, limit=request.limit)
            case GetWhy():
                return self._why(request.alarm)
        raise MonitorError(f"no answer to {request}")

    def _alarms(self, request: GetAlarms) -> list[Alarm]:
        if request.active:
            alarms = [a for a in self._open_alarms() if request.stream in ("", a.stream)]
            return alarms[::-1][: request.limit]
        return self._log.alarms(stream=request.stream, limit=request.limit)

    def _alarm(self, alarm_id: str) -> Alarm:
        """The alarm as it stands now; raises UnknownAlarm."""
        alarm = next((a for a in self._open_alarms() if a.id == alarm_id), None) or self._log.alarm(alarm_id)
        if alarm is None:
            raise UnknownAlarm(f"no alarm {alarm_id!r} in the log; see `monitor alarms`")
        return alarm

    def _why(self, alarm_id: str) -> Why:
        newest = [] if alarm_id else self._log.alarms(limit=1)
        if not (alarm_id or newest):
            raise UnknownAlarm("no alarm has been raised yet")
        alarm = self._alarm(alarm_id or newest[0].id)
        until_ns = alarm.changed_ns if alarm.state is State.CLEARED else 2**62
        said = self._log.notes(stream=alarm.stream)
        notes = [n for n in said if n.alarm == alarm.id or (not n.alarm and alarm.raised_ns <= n.t_ns <= until_ns)]
        return Why(alarm, self._log.evidence(alarm.id), self._log.events_of(alarm), notes)

    def _silence(self, request: Silence) -> float:
        silent = [alarm.id for alarm in self._open_alarms() if not alarm.acknowledged] if request.seconds else []
        self._silent_until_ns = self._now_ns() + round(request.seconds * NS) if silent else 0
        self._silenced = tuple(silent)
        return self.silence_left_s

    @property
    def silence_left_s(self) -> float:
        """Seconds until silenced alarms call again; 0 when none is."""
        return max((self._silent_until_ns - self._now_ns()) / NS, 0.0)

    @property
    def silenced(self) -> tuple[str, ...]:
        """The alarms that are silent."""
        return self._silenced if self.silence_left_s else ()

    def _annotate(self, request: Annotate) -> Note:
        if not is_stream_name(request.stream):
            raise MonitorError(f"expected the name of a stream, got {request.stream!r}")
        made_ns = self._now_ns()
        seed = f"{request.stream}\n{request.t_ns}\n{made_ns}"
        identity = request.id or hashlib.blake2b(seed.encode(), digest_size=6).hexdigest()
        note = Note(identity, request.stream, request.t_ns, made_ns, request.text.strip(), author=request.author)
        self._tell([note])
        return note

    def _mark(self, request: Mark) -> Note:
        alarm = self._alarm(request.alarm)
        note = Note(
            f"{alarm.id}-verdict", alarm.stream, alarm.raised_ns, self._now_ns(), request.text.strip(),
            alarm=alarm.id, verdict=request.verdict, author=request.author,
        )  # fmt: skip
        self._tell([note])
        return note

    def _test(self, request: TestAlarm) -> Alarm:
        now_ns = self._now_ns()
        alarm = Alarm(
            id=f"test-{request.priority}-{now_ns}", stream="monitor", kind=Kind.SIGNAL, label="test",
            priority=request.priority, state=State.ACTIVE, raised_ns=now_ns, changed_ns=now_ns, score=1.0,
            threshold=1.0, times=1, detail="asked for, to see that alarms arrive",
        )  # fmt: skip
        self._tests[alarm.id] = alarm, now_ns + round(TEST_S * NS)
        self._tell([alarm])
        return alarm

    def acknowledge(self, alarm_id: str) -> list[Alarm]:
        """Acknowledge a test alarm, or all with an empty id; those that changed."""
        changed = []
        for alarm, until_ns in list(self._tests.values()):
            if not alarm.acknowledged and alarm_id in ("", alarm.id):
                seen = msgspec.structs.replace(alarm, acknowledged=True)
                self._tests[alarm.id] = seen, until_ns
                changed.append(seen)
        self._tell(changed)
        return changed

    def tick(self) -> None:
        """Let test alarms end whose time has come."""
        now_ns = self._now_ns()
        over = [alarm for alarm, until_ns in self._tests.values() if until_ns <= now_ns]
        for alarm in over:
            del self._tests[alarm.id]
        if over:
            self._tell([msgspec.structs.replace(a, state=State.CLEARED, changed_ns=now_ns) for a in over])

    @property
    def open_alarms(self) -> list[Alarm]:
        """Test alarms that are not over."""
        return [alarm for alarm, _ in self._tests.values()]
