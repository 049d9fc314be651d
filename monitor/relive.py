"""A restart goes on where the run before it ended, however that ended.

The newest samples go through the engine once more, so that windows are full; then books, calibration and alarms
are put where they were at the last checkpoint, and what the journal holds is received again. None of it is logged
or published a second time.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Sequence

from monitor.core.blocks import NS, Block
from monitor.core.engine import Engine
from monitor.core.errors import SchemaError
from monitor.history import History
from monitor.keeper import Keeper, Kept
from monitor.pipeline import Pipeline
from monitor.sinks.alarmlog import AlarmLog
from monitor.sources import Message

log = logging.getLogger(__name__)

RELIVED_NS = 5 * NS
"""So much of every stream goes through the engine again: its windows are full then."""
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
    _fill(pipeline, history, kept.recent)
    history.unsaved()  # that was saved before
    await pipeline.conclude_quietly()
    engine.resume(kept.saved)
    pipeline.keeper = keeper
    early = [Message(payload, one.stream) for one in kept.saved for payload in one.early]
    pipeline.receive(early, patience_s=PATIENCE_S)
    now_ns = time.time_ns()
    for entry in kept.journal:
        came = [Message(payload, stream) for payload, stream in entry.messages]
        pipeline.receive(came, entry.now_ns, PATIENCE_S + (now_ns - entry.now_ns) / NS)
    await pipeline.conclude_quietly()
    engine.restore(alarm_log.alarms(active=True, limit=-1))
    pipeline.publisher.quiet = False
    if kept.saved:
        messages = sum(len(entry.messages) for entry in kept.journal)
        log.info("going on with %d streams; %d messages since the last checkpoint", len(kept.saved), messages)


def _fill(pipeline: Pipeline, history: History, recent: Sequence[Block]) -> None:
    """The newest seconds into the windows, what is older into the history only."""
    newest = {block.stream: block.t0_ns or 0 for block in recent}
    for block in recent:
        if (block.t0_ns or 0) < newest[block.stream] - RELIVED_NS:
            history.block(block)
            continue
        with contextlib.suppress(SchemaError):  # another configuration may not want it
            pipeline.push(block, block.t0_ns or 0, time.monotonic_ns())
