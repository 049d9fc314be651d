"""What the workers commit, read by a gateway: logged, then told, each once and in order; which alarms are open.

How far the log has come is written in the transaction that holds what was read, so that a gateway goes on where it
ended, as long as the cluster keeps its commits.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from monitor.cluster.jetstream import JetStream, Refused, Stored, Unanswered, time_ns, time_text
from monitor.cluster.layout import RESULTS, SAMPLES, partition_of, results_subject, stream_subject
from monitor.cluster.partition import Commit
from monitor.core.blocks import NS, Alarm, Note, State
from monitor.core.evidence import Evidence
from monitor.core.judge import Notice
from monitor.publisher import Publisher
from monitor.sinks.alarmlog import Write

LOOK_S = 0.1
OURS = "monitor"
"""Stream of the alarms that are the gateway's own."""
_BEFORE_NS = 3600 * NS
"""Who has read nothing yet begins with the commits of so long ago."""
_PLACE = "INSERT OR REPLACE INTO place (of, seq) VALUES (?, ?)"


class Reader:
    """See the head of the file."""

    def __init__(self, js: JetStream, publisher: Publisher) -> None:
        self._js, self._publisher = js, publisher
        self._writing = asyncio.Lock()
        self._open: dict[str, Alarm] = {}
        self._homes: dict[str, int] = {}
        self._positions: dict[int, int] = {}
        self.budgets: dict[int, list[str]] = {}
        """Streams that have another budget, by the place of the order; to be taken out by who gave it."""
        self._advanced = asyncio.Event()
        self._seq = 0
        """Place of the newest commit that was read."""

    @property
    def open_alarms(self) -> list[Alarm]:
        """Alarms that are not over, by the time they were raised."""
        return sorted(self._open.values(), key=lambda alarm: (alarm.raised_ns, alarm.id))

    def count_alarms(self) -> Counter[str]:
        """Open ones, by stream."""
        return Counter(alarm.stream for alarm in self._open.values())

    async def catch_up(self) -> None:
        """Read what was committed while there was no gateway."""
        alarm_log = self._publisher.alarm_log
        left_open = alarm_log.alarms(active=True, limit=-1)
        self._open = {alarm.id: alarm for alarm in left_open if alarm.stream != OURS}
        over = [one for one in left_open if one.stream == OURS]  # of a gateway that is no more
        await self.tell([msgspec.structs.replace(one, state=State.CLEARED) for one in over])
        self._seq = await self._begin()
        await self.tell([], [Write(_PLACE, iter([(RESULTS, self._seq)]))])
        while found := await some(self._js, RESULTS, results_subject("*"), {"seq": self._seq + 1}):
            await self._take(found)

    async def _begin(self) -> int:
        """The place after which to read: where it ended, or before the first commit of late."""
        since = time.time_ns() - _BEFORE_NS
        read = dict(self._publisher.alarm_log.read("SELECT of, seq FROM place"))
        while True:
            state = (await self._js.call(f"STREAM.INFO.{RESULTS}"))["state"]
            last = int(state["last_seq"])
            if read.get(RESULTS, last + 1) <= last:
                return int(read[RESULTS])
            if not state["messages"] or time_ns(state["last_ts"]) < since:
                return last
            # A copy that is behind may answer, and then has none of them yet.
            if found := await some(self._js, RESULTS, results_subject("*"), {"start_time": time_text(since)}):
                return found[0].seq - 1
            await asyncio.sleep(LOOK_S)

    async def follow(self) -> None:
        """Read on for ever."""
        while True:
            found = await some(self._js, RESULTS, results_subject("*"), {"seq": self._seq + 1})
            if found:
                await self._take(found)
            else:
                await asyncio.sleep(LOOK_S)

    async def _take(self, found: Sequence[Stored]) -> None:
        notices: list[Notice | Evidence] = []
        for one in found:
            commit = msgspec.msgpack.decode(one.data, type=Commit)
            partition = partition_of(one.subject)
            self._positions[partition] = commit.position
            self.budgets |= commit.budgets
            for alarm in commit.notices:
                self._note(alarm)
            self._homes |= {notice.stream: partition for notice in commit.notices}
            notices += [*commit.notices, *commit.beats, *commit.evidence]
        self._seq = found[-1].seq
        await self.tell(notices, [Write(_PLACE, iter([(RESULTS, self._seq)]))])
        self._advanced.set()

    def _note(self, notice: Notice) -> None:
        if isinstance(notice, Alarm) and notice.state is State.CLEARED:
            self._open.pop(notice.id, None)
        elif isinstance(notice, Alarm):
            self._open[notice.id] = notice

    async def end(self, alarm: Alarm) -> None:
        """Nobody knows of this alarm any more: it is over."""
        over = msgspec.structs.replace(alarm, state=State.CLEARED, acknowledged=True)
        self._note(over)
        await self.tell([over])

    async def tell(self, notices: Sequence[Notice | Note | Evidence], writes: Sequence[Write] = ()) -> None:
        """Log these, then tell them."""
        async with self._writing:
            await self._publisher.publish(notices, writes)

    async def home(self, stream: str) -> int | None:
        """The partition of a stream; None where the cluster holds nothing of it any more."""
        if stream not in self._homes:
            last = await self._js.last(SAMPLES, stream_subject(stream))
            if last is None:
                return None
            self._homes[stream] = partition_of(last.subject)
        return self._homes[stream]

    def lives(self, stream: str, partition: int) -> None:
        """Somebody says that this is the partition of a stream."""
        self._homes[stream] = partition

    async def carried_out(self, orders: Mapping[int, int], seconds: float) -> list[int]:
        """Wait, at most so long, until orders (places by partition) are obeyed; the partitions where not."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._late(orders):
                    self._advanced.clear()
                    await self._advanced.wait()
        return self._late(orders)

    def _late(self, orders: Mapping[int, int]) -> list[int]:
        return [partition for partition, seq in orders.items() if self._positions.get(partition, 0) < seq]


async def some(js: JetStream, stream: str, subject: str, start: Mapping[str, object]) -> list[Stored]:
    """The next messages; none where nobody answers just now."""
    try:
        return await js.read_some(stream, subject, start)
    except (Unanswered, Refused):
        await asyncio.sleep(LOOK_S)
        return []
