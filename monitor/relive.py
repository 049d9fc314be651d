"""A restart goes on where the run before it ended, however that ended.

The newest samples go through the engine once more, so that windows are full; then books, calibration and alarms
are put where they were at the last checkpoint, and what the journal holds is received again. None of it is logged
or published a second time.
"""

from __future__ import annotations

import contextlib
import logging
import time

import msgspec

from monitor.core.blocks import NS
from monitor.core.engine import Engine
from monitor.core.errors import SchemaError
from monitor.core.memory import Saved
from monitor.history import History, least_s
from monitor.keeper import Keeper, Kept
from monitor.pipeline import Pipeline
from monitor.sinks.alarmlog import AlarmLog
from monitor.sources import Message

log = logging.getLogger(__name__)

RELIVED_S = 5.0
"""So much of every stream goes through the engine again, of slow ones all that is kept: windows are full then."""
PATIENCE_S = 5.0
"""What was held back at the end is held so much longer: what lies before it is about to be delivered again."""
_EVENTS = 10_000


async def relive(
    pipeline: Pipeline, engine: Engine, history: History, alarm_log: AlarmLog, keeper: Keeper
) -> None:
    """Restore what `keeper` finds, before anything is read; from then on the pipeline keeps with it."""
    pipeline.publisher.quiet = True
    try:
        kept = keeper.load()
    except SchemaError as error:
        log.warning("%s", error)
        kept = Kept([], [], [])
    for event in reversed(alarm_log.events(limit=_EVENTS)):
        history.notice(event)
    _fill(pipeline, history, kept)
    history.unsaved()  # that was saved before
    await pipeline.conclude_quietly()
    engine.memory.resume(kept.saved)
    pipeline.keeper = keeper
    early = [Message(payload, one.stream) for one in kept.saved for payload in one.early]
    pipeline.receive(early, patience_s=PATIENCE_S)
    now_ns = time.time_ns()
    for entry in kept.journal:
        came = [Message(payload, stream) for payload, stream in entry.messages]
        pipeline.receive(came, entry.now_ns, PATIENCE_S + (now_ns - entry.now_ns) / NS)
    await pipeline.conclude_quietly()
    engine.memory.restore(alarm_log.alarms(active=True, limit=-1))
    pipeline.publisher.quiet = False
    if kept.saved:
        messages = sum(len(entry.messages) for entry in kept.journal)
        log.info("going on with %d streams; %d messages since the last checkpoint", len(kept.saved), messages)


def _fill(pipeline: Pipeline, history: History, kept: Kept) -> None:
    """The newest seconds into the windows, so that these fall on the same samples; the rest to the history."""
    saved = {one.stream: one for one in kept.saved}
    oldest: dict[str, int] = {}
    for block in kept.recent:
        one = saved.get(block.stream)
        if one is None or block.run != one.ledger.run or (block.seq or 0) < one.begin_seq:
            history.block(block)
            continue
        first = oldest.setdefault(block.stream, block.seq or 0)
        start = _start(one, first, block.rate_hz or 1.0) - (block.seq or 0)
        before, after = block.values[: max(start, 0)], block.values[max(start, 0) :]
        if len(before):
            history.block(msgspec.structs.replace(block, values=before))
        if len(after):
            t0_ns = (block.t0_ns or 0) + round(len(before) * NS / (block.rate_hz or 1.0))
            newest = msgspec.structs.replace(block, values=after, seq=(block.seq or 0) + len(before), t0_ns=t0_ns)
            with contextlib.suppress(SchemaError):  # another configuration may not want it
                pipeline.reading.push(newest, t0_ns, time.monotonic_ns())


def _start(one: Saved, oldest: int, rate_hz: float) -> int:
    """From which sample of the run on: RELIVED_S before the end or a little more, in step with its segment."""
    wanted = one.ledger.next_seq - round(max(RELIVED_S, least_s(rate_hz)) * rate_hz)
    steps = (wanted - one.begin_seq) // one.align
    if one.begin_seq + steps * one.align < oldest:
        steps = -((one.begin_seq - oldest) // one.align)
    return max(one.begin_seq + steps * one.align, one.begin_seq)
