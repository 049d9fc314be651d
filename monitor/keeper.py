"""What survives the daemon: the books of every stream, calibration, the newest samples, and a journal.

All of it lies in the alarm log's file, so that one transaction holds what some messages caused and that they were
received. Rules of the file:

- A checkpoint, every few seconds, holds for each stream its ledger, the blocks it holds back and its calibration,
  and the samples since the last one. It speaks of what was received when its turn began (see monitor.pipeline),
  and is written when everything that this caused is written, too.
- Between two checkpoints the messages of senders that wait for an acknowledgement are written down as they came,
  before they are acknowledged. After a crash they are received once more, from here, and not published again.
- Sizes are bounded: samples by `history_s` a stream, the journal by the checkpoints, events and alarms by number
  and by age.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from monitor.config import AlarmLog as Retention
from monitor.config import State
from monitor.core.blocks import NS, Block
from monitor.core.engine import Saved
from monitor.core.errors import SchemaError
from monitor.core.wire import decode_block, encode_block
from monitor.sinks.alarmlog import AlarmLog, Write
from monitor.sources import Message

_HOUR_S = 3600.0
_MANY = 2**31
"""Samples in a block that we wrote ourselves."""


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """Messages that came together, as they are in the journal."""

    now_ns: int
    messages: list[tuple[bytes, str]]


class Kept(NamedTuple):
    """What an earlier run left."""

    saved: list[Saved]
    recent: list[Block]
    """The newest samples, oldest first within each stream."""
    journal: list[Entry]


class Keeper:
    """Collects what must survive, and says what to write; writing is the pipeline's."""

    def __init__(
        self,
        alarm_log: AlarmLog,
        settings: State,
        retention: Retention,
        history_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._log, self._settings, self.retention = alarm_log, settings, retention
        self._history_s, self._clock = history_s, clock
        self._fresh: dict[str, list[Block]] = {}
        self._journal: list[Entry] = []
        self._next_s = clock() + settings.checkpoint_s
        self._marked_s = 0.0
        self._is_dirty = False

    def block(self, block: Block) -> None:
        """Samples that were taken in."""
        self._is_dirty = True
        if self._settings.history:
            self._fresh.setdefault(block.stream, []).append(block)

    def received(self, messages: Sequence[Message], now_ns: int) -> None:
        """Messages that somebody will be told are safe."""
        if messages:
            self._journal.append(Entry(now_ns, [(message.payload, message.stream) for message in messages]))

    @property
    def is_due(self) -> bool:
        """Whether it is time for a checkpoint."""
        return self._is_dirty and self._clock() >= self._next_s

    def begin(self, books: Sequence[Saved] | None) -> list[Write]:
        """A turn begins: what is to be written at its end. With `books` it is a checkpoint, and `states` follows.

        What is large is made ready when it is written, in the writer's thread.
        """
        journal, self._journal = self._journal, []
        if books is None:
            entries = _rows(msgspec.msgpack.encode(journal))
            return [Write("INSERT INTO journal (entries) VALUES (?)", entries)] if journal else []
        now_s = self._clock()
        self._next_s, self._is_dirty = now_s + self._settings.checkpoint_s, False
        fresh, self._fresh = self._fresh, {}
        pieces = (piece for blocks in fresh.values() for piece in _joined(blocks))
        kept_ns = round(self._history_s * NS)
        spans = [
            (blocks[0].stream, _end_ns(blocks[-1]) - kept_ns, _end_ns(blocks[-1])) for blocks in fresh.values()
        ]
        return [
            # Older than what is kept, or of a time that has been taken back.
            Write("DELETE FROM recent WHERE stream = ? AND (end_ns < ? OR end_ns > ?)", iter(spans)),
            Write(
                "INSERT INTO recent (stream, end_ns, block) VALUES (?, ?, ?)",
                ((piece.stream, _end_ns(piece), encode_block(piece)) for piece in pieces),
            ),
            Write("DELETE FROM journal WHERE ?", _rows(1)),
            *self._prune(now_s),
        ]

    def states(self, saved: Sequence[Saved]) -> list[Write]:
        """What is known of every stream at the end of a checkpoint's turn."""
        rows = ((one.stream, msgspec.msgpack.encode(one)) for one in saved)
        return [Write("INSERT OR REPLACE INTO stream (name, state) VALUES (?, ?)", rows)]

    def _prune(self, now_s: float) -> list[Write]:
        """Old events and alarms that are over: by number, and by the hour in which they were written."""
        keep, oldest_s = self.retention.keep_events, now_s - self.retention.keep_days * 24 * _HOUR_S
        writes = []
        if now_s >= self._marked_s + _HOUR_S:
            self._marked_s = now_s
            newest = "(SELECT coalesce(max(rowid), 0) FROM event), (SELECT coalesce(max(rowid), 0) FROM alarm)"
            writes.append(Write(f"INSERT INTO watermark SELECT ?, {newest}", _rows(now_s)))
        for table, which in (("event", ""), ("alarm", "state = 'cleared' AND")):
            by_number = f"rowid <= (SELECT max(rowid) FROM {table}) - ?"  # noqa: S608
            by_age = f"rowid <= (SELECT max({table}) FROM watermark WHERE written_s < ?)"  # noqa: S608
            writes.append(Write(f"DELETE FROM {table} WHERE {which} {by_number}", _rows(keep)))  # noqa: S608
            writes.append(Write(f"DELETE FROM {table} WHERE {which} {by_age}", _rows(oldest_s)))  # noqa: S608
        # The newest mark that is too old is the one that says what else is; those before it have had their day.
        stale = "written_s < (SELECT max(written_s) FROM watermark WHERE written_s < ?)"
        writes.append(Write(f"DELETE FROM watermark WHERE {stale}", _rows(oldest_s)))  # noqa: S608
        return writes

    def load(self) -> Kept:
        """What an earlier run left; raises StateLost when it cannot be read."""
        try:
            saved = [
                msgspec.msgpack.decode(state, type=Saved)
                for (state,) in self._log.read("SELECT state FROM stream")
            ]
            recent = [
                decode_block(block, max_samples=_MANY)
                for (block,) in self._log.read("SELECT block FROM recent ORDER BY rowid")
            ]
            journal = [
                entry
                for (entries,) in self._log.read("SELECT entries FROM journal ORDER BY id")
                for entry in msgspec.msgpack.decode(entries, type=list[Entry])
            ]
        except (msgspec.DecodeError, UnicodeDecodeError, SchemaError) as error:
            raise SchemaError(f"what an earlier monitor left cannot be read, and is left out: {error}") from error
        return Kept(saved, recent, journal)


def _rows(*row: object) -> Iterator[tuple[object, ...]]:
    return iter([row])


def _joined(blocks: Sequence[Block]) -> Iterator[Block]:
    """Consecutive blocks of a stream as one, until something breaks their row."""
    parts: list[Block] = []
    for block in blocks:
        if parts and not _follows(parts[-1], block):
            yield _join(parts)
            parts = []
        parts.append(block)
    if parts:
        yield _join(parts)


def _join(parts: list[Block]) -> Block:
    return msgspec.structs.replace(parts[0], values=np.concatenate([part.values for part in parts]))


def _follows(before: Block, after: Block) -> bool:
    same = before.run == after.run and before.rate_hz == after.rate_hz and before.channels == after.channels
    late_ns = abs((after.t0_ns or 0) - _end_ns(before))
    next_seq = (before.seq or 0) + len(before.values)
    return same and next_seq == after.seq and late_ns * (after.rate_hz or 1) < NS


def _end_ns(block: Block) -> int:
    return (block.t0_ns or 0) + round(len(block.values) * NS / (block.rate_hz or 1))
