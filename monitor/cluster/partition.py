"""One partition in a worker's hands: restored, gone on with, committed.

A commit is one message on results.P: what some messages caused, up to which message that goes, and where the
newest frozen shard lies. It is written only where the commit before it is the one that we know (compare-and-set):
of two workers that both think the partition is theirs one writes, and the other learns that it was overtaken.
Messages are acknowledged after that. Whoever takes over thaws the shard that the last commit names, lives through
what came after it in the very steps in which that was committed, telling nobody, and goes on.

That the consumer hands out messages in order and each once is not relied upon: the position says what is next, and
where something may lie between it and what was handed out, that is read from the stream. (What was handed out to
somebody who died comes again when its time is up, in the midst of what is new, and not all of it at once.)
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor

import msgspec
import nats.errors

from monitor.cluster.jetstream import JetStream, Overtaken, Unanswered
from monitor.cluster.layout import (
    CLOCK,
    RESULTS,
    SAMPLES,
    STATES,
    orders_subject,
    partition_subject,
    results_subject,
    states_subject,
)
from monitor.cluster.pull import Delivered, entry_of
from monitor.cluster.shard import Entry, Outcome, Shard
from monitor.core.blocks import Alarm, Beat, Event
from monitor.core.errors import SchemaError
from monitor.core.evidence import Evidence
from monitor.sinks import Sink

log = logging.getLogger(__name__)

_PIECE_BYTES = 512 * 1024
"""Of a frozen shard in one message."""
_RETRY_S = 0.1
_TICK_S = 0.5


class Commit(msgspec.Struct, frozen=True, omit_defaults=True):
    """What some messages of a partition caused."""

    position: int
    """Place of the last of them in SAMPLES."""
    worker: str
    notices: list[Event | Alarm] = []
    beats: list[Beat] = []
    evidence: list[Evidence] = []
    budgets: dict[int, list[str]] = {}
    """By the place of an order for another budget: the streams that have it."""
    pieces: tuple[int, ...] = ()
    """Places in STATES of the newest frozen shard."""
    frozen_position: int = 0
    frozen_commit: int = 0
    """The commit after which it was frozen."""
    streams: int = 0
    """In this partition."""


class Partition:
    """See the head of the file."""

    def __init__(
        self,
        js: JetStream,
        number: int,
        worker: str,
        make_shard: Callable[[], Shard],
        compute: Executor,
        snapshot_s: float,
        sink: Sink | None = None,
    ) -> None:
        """`compute` is where shards work; `sink` hears of what they see."""
        self._js, self.number, self._worker, self._make_shard = js, number, worker, make_shard
        self._compute, self._snapshot_s, self._sink = compute, snapshot_s, sink
        self.shard: Shard | None = None
        self._commit = Commit(0, worker)
        self._last = 0
        """Place of our last commit in RESULTS."""
        self._expected = (-1, "")
        """Number and pin of what the consumer hands out next, where nothing is lost or goes to somebody else."""
        self._is_in_order = False
        """Whether we have seen all of it since something that it handed out for the first time."""
        self._frozen_s = 0.0
        self._ticked_s = 0.0

    @property
    def position(self) -> int:
        """Place of the last message that is committed."""
        return self._commit.position

    async def process(self, delivered: Sequence[Delivered]) -> Outcome | None:
        """Go on with what the consumer handed out, and commit it; None when all of it was known already.

        Raises Overtaken when somebody else has gone on meanwhile: then it is restored the next time.
        """
        if self.shard is None:
            await self.restore()
        entries: list[Entry] = []
        position = self.position
        for one in delivered:
            if (one.number, one.pin) != self._expected:
                self._is_in_order = False
            self._expected = (one.number + 1, one.pin)
            if one.entry.seq > position:
                if not (one.is_first and self._is_in_order):
                    entries += await self._read(position + 1, one.entry.seq - 1, one.entry.seq)
                entries.append(one.entry)
                position = one.entry.seq
            self._is_in_order |= one.is_first
        return await self._go_on(entries) if entries else None

    async def _read(self, first: int, last: int, until: int) -> list[Entry]:
        """Messages of the partition from `first` to `last`; `until` is the place of the one after them."""
        found = self._js.read(SAMPLES, partition_subject(self.number), first, until)
        return [entry_of(one.seq, one.subject, one.data, one.at_ns) async for one in found if one.seq <= last]

    async def _go_on(self, entries: list[Entry]) -> Outcome:
        shard = self.shard
        if shard is None:
            raise Overtaken(f"partition {self.number} is not ours", 0)
        loop = asyncio.get_running_loop()
        outcome = await loop.run_in_executor(self._compute, shard.take, entries, self._sink)
        for error in outcome.refused[:1]:
            log.warning("partition %d: refused a block: %s", self.number, error)
        await self._write(
            msgspec.structs.replace(
                self._commit,
                position=entries[-1].seq,
                worker=self._worker,
                notices=outcome.notices,
                beats=outcome.beats,
                evidence=outcome.evidence,
                budgets=outcome.budgets,
                streams=shard.engine.count_streams(),
            )
        )
        if time.monotonic() - self._frozen_s > self._snapshot_s:
            await self.freeze()
        return outcome

    async def _write(self, commit: Commit) -> None:
        """Compare and set; tried again until it is known to be written, or not to be."""
        data, subject = msgspec.msgpack.encode(commit), results_subject(self.number)
        once = f"{self._worker} {self._last} {commit.position} {len(commit.pieces) and commit.pieces[0]}"
        while True:
            try:
                self._last = await self._js.publish(subject, data, once=once, after=self._last)
            except Unanswered:
                await asyncio.sleep(_RETRY_S)
                continue
            except Overtaken:
                found = await self._newest()
                if found is None or found[1] != data:  # it is not that our own earlier attempt came through
                    self.forget()
                    raise
                self._last = found[0]
            self._commit = commit
            return

    async def _newest(self) -> tuple[int, bytes] | None:
        while True:
            try:
                found = await self._js.last(RESULTS, results_subject(self.number))
            except Unanswered:
                await asyncio.sleep(_RETRY_S)
            else:
                return (found.seq, found.data) if found else None

    async def freeze(self) -> None:
        """Store the whole shard, and commit where it lies."""
        if self.shard is None or self._commit.frozen_position == self.position:
            return
        loop = asyncio.get_running_loop()
        data = await loop.run_in_executor(self._compute, self.shard.freeze)
        pieces = []
        for at in range(0, len(data), _PIECE_BYTES):
            try:
                pieces.append(await self._js.publish(states_subject(self.number), data[at : at + _PIECE_BYTES]))
            except Unanswered:  # the older one will do for now
                return
        self._frozen_s = time.monotonic()
        await self._write(
            msgspec.structs.replace(
                self._commit,
                worker=self._worker,
                notices=[],
                beats=[],
                evidence=[],
                budgets={},
                pieces=tuple(pieces),
                frozen_position=self.position,
                frozen_commit=self._last,
            )
        )

    async def restore(self) -> None:
        """Become what the last commit says."""
        began_s = time.monotonic()
        newest = await self._newest()
        shard = self._make_shard()
        self._last, self._commit = 0, Commit(0, self._worker)
        if newest is not None:
            self._last, self._commit = newest[0], msgspec.msgpack.decode(newest[1], type=Commit)
            await self._thaw(shard, self._commit)
            await self._live_through(shard, self._commit)
            shard.position = self.position
        self.shard, self._is_in_order, self._frozen_s = shard, False, time.monotonic()
        log.info(
            "partition %d: ours, going on after message %d (%d streams, %.0f ms)",
            self.number, self.position, shard.engine.count_streams(), 1000 * (time.monotonic() - began_s),
        )  # fmt: skip

    async def _thaw(self, shard: Shard, commit: Commit) -> None:
        if not commit.pieces:
            return
        pieces = [await self._js.get(STATES, seq) for seq in commit.pieces]
        data = b"".join(piece.data for piece in pieces if piece is not None)  # one that is gone is told below
        loop = asyncio.get_running_loop()
        try:
            exact = await loop.run_in_executor(self._compute, shard.thaw, data, commit.frozen_position)
            if not exact:
                log.warning("partition %d: other models or another version: windows warm up again", self.number)
        except SchemaError as error:
            shard.position = commit.frozen_position
            log.error("partition %d: its state cannot be read, its streams begin anew: %s", self.number, error)  # noqa: TRY400

    async def _live_through(self, shard: Shard, commit: Commit) -> None:
        """Take what was committed after the shard was frozen, in the same steps; nobody is told again."""
        if commit.position <= shard.position:
            return
        entries = await self._read(shard.position + 1, commit.position, commit.position)
        commits = self._js.read(RESULTS, results_subject(self.number), commit.frozen_commit + 1, self._last)
        steps = [msgspec.msgpack.decode(one.data, type=Commit).position async for one in commits]
        await asyncio.get_running_loop().run_in_executor(self._compute, _relive, shard, entries, steps)

    async def tick(self) -> None:
        """While nothing comes: let time go on for streams that may have fallen silent.

        And where the last owner has died, the server tells who is next with the next message: this is one.
        """
        if time.monotonic() < self._ticked_s + _TICK_S:
            return
        self._ticked_s = time.monotonic()
        with contextlib.suppress(Unanswered, nats.errors.Error, ConnectionError):
            if (
                self.shard.engine.listens
                if self.shard
                else await self._js.last(SAMPLES, partition_subject(self.number))
            ):
                await self._js.nats.publish(orders_subject(self.number, CLOCK), b"")

    def forget(self) -> None:
        """It is somebody else's now, or may be."""
        self.shard = None


def _relive(shard: Shard, entries: Sequence[Entry], steps: Sequence[int]) -> None:
    """Take `entries` in the steps that end with these messages."""
    at = 0
    for step in steps:
        end = at
        while end < len(entries) and entries[end].seq <= step:
            end += 1
        shard.take(entries[at:end])
        at = end
