"""From notices to the alarm log and then to the sinks: nothing is told before it is durable.

When the log cannot be written, monitoring goes on: an alarm of high priority says so, and what happens is kept in
memory, as much as there is room for, until it can be.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from monitor.core.blocks import Alarm, Beat, Block, Event, Kind, Note, State
from monitor.core.conclusions import Conclusion
from monitor.core.engine import Engine
from monitor.core.errors import StorageLost
from monitor.core.evidence import Evidence, bytes_of
from monitor.core.judge import Notice
from monitor.core.pages import Page
from monitor.history import History
from monitor.sinks import Sink
from monitor.sinks.alarmlog import AlarmLog, Write
from monitor.telemetry import Telemetry

log = logging.getLogger(__name__)

_REMEMBERED = 10_000
"""Notices that could not be logged, that are kept at most."""


_SIGNAL_S = 5.0
"""Of signal that an alarm about the signal itself keeps."""


class Publisher:
    """Writes, then tells; one thread of its own does the writing."""

    def __init__(
        self,
        sinks: Sequence[Sink],
        history: History,
        alarm_log: AlarmLog,
        telemetry: Telemetry,
        now_ns: Callable[[], int],
    ) -> None:
        self._sinks, self._history, self.alarm_log = sinks, history, alarm_log
        self._telemetry, self._now_ns = telemetry, now_ns
        self.quiet = False
        """Tell nobody and write nothing: what is past is lived through again."""
        self.storage_alarm: Alarm | None = None
        """Ours, while the alarm log cannot be written."""
        self._unlogged: deque[Alarm | Event | Note | Evidence] = deque(maxlen=_REMEMBERED)
        self._writer = ThreadPoolExecutor(1, "alarm-log")
        self._writing = asyncio.Lock()

    def block(self, block: Block) -> None:
        """Samples that were taken in."""
        self._history.block(block)
        if not self.quiet:
            for sink in self._sinks:
                sink.block(block)

    def page(self, page: Page) -> None:
        """The same of many streams at once."""
        self._history.page(page)
        if not self.quiet:
            for sink in self._sinks:
                sink.page(page)

    def conclusion(self, engine: Engine, conclusion: Conclusion) -> None:
        """Forecasts and scores of a batch."""
        if not self.quiet:
            for sink in self._sinks:
                sink.conclusion(engine, conclusion)

    async def publish(self, notices: Sequence[Notice | Note | Evidence], writes: Sequence[Write] = ()) -> None:
        """Write the notices, and `writes` in the same transaction; then tell. Evidence is there for who asks."""
        if self.quiet:
            return
        self._unlogged.extend(notice for notice in notices if not isinstance(notice, Beat))
        self._unlogged.extend(self._signals_of(notices))
        told = [notice for notice in notices if not isinstance(notice, Evidence)]
        if self._unlogged or writes:
            async with self._writing:
                told += await self._log(writes)
        for notice in told:
            self._telemetry.events += isinstance(notice, Event)
            if isinstance(notice, Event | Beat):
                self._history.notice(notice)
            for sink in self._sinks:
                sink.notice(notice)

    def _signals_of(self, notices: Sequence[Notice | Note | Evidence]) -> list[Evidence]:
        """The signal itself, for alarms about it that are new: no model has seen a window of that."""
        found = []
        for alarm in notices:
            is_new = isinstance(alarm, Alarm) and alarm.state is State.ACTIVE and alarm.times == 1
            if not (is_new and isinstance(alarm, Alarm) and alarm.kind is Kind.SIGNAL) or alarm.acknowledged:
                continue
            if (seen := signal_of(alarm, self._history)) is not None:
                found.append(seen)
        return found

    async def _log(self, writes: Sequence[Write]) -> list[Notice | Note]:
        """Write what is not yet in the log. When that fails, or works again, an alarm of ours says so."""
        loop, unlogged = asyncio.get_running_loop(), list(self._unlogged)
        try:
            await loop.run_in_executor(self._writer, self.alarm_log.write, unlogged, writes)
        except StorageLost as error:
            if self.storage_alarm is not None:
                return []
            log.error("%s; monitoring goes on, and what happens is kept in memory until it can be", error)  # noqa: TRY400
            self.storage_alarm = _storage_alarm(self._now_ns(), str(error))
            return [self.storage_alarm]
        logged = {id(notice) for notice in unlogged}  # others may have come meanwhile
        self._unlogged = deque((one for one in self._unlogged if id(one) not in logged), _REMEMBERED)
        if self.storage_alarm is None:
            return []
        log.info("the alarm log can be written again")
        over = msgspec.structs.replace(self.storage_alarm, state=State.CLEARED, changed_ns=self._now_ns())
        self.storage_alarm = None
        self._unlogged.append(over)  # with the next write
        return [over]

    def close(self) -> None:
        """Give the thread back."""
        self._writer.shutdown(wait=True)


def signal_of(alarm: Alarm, history: History) -> Evidence | None:
    """The signal that an alarm about the signal itself was raised for; None where `history` does not have it."""
    seen = history.before(alarm.stream, alarm.changed_ns, _SIGNAL_S)
    if seen is None:
        return None
    rate_hz, channels = seen.rate_hz or 1.0, seen.values.shape[1]
    return Evidence(
        alarm.id, alarm.stream, "", alarm.score, alarm.threshold, alarm.changed_ns, rate_hz, channels, seen.unit,
        bytes_of(seen.values),
    )  # fmt: skip


def _storage_alarm(now_ns: int, detail: str) -> Alarm:
    return Alarm(
        id=f"alarm-log-{now_ns}",
        stream="monitor",
        kind=Kind.SIGNAL,
        label="alarm-log",
        priority="high",
        state=State.ACTIVE,
        raised_ns=now_ns,
        changed_ns=now_ns,
        score=1.0,
        threshold=1.0,
        times=1,
        detail=detail,
    )
