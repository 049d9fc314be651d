"""What survives the daemon: the books of every stream, calibration, the newest samples, and a journal.

All of it lies in the alarm log's file, so that one transaction holds what some messages caused and that they were
received. Rules of the file:

- A checkpoint, every few seconds, holds for each stream its ledger, the blocks it holds back and its calibration,
  and the samples since the last one. It speaks of what was received when its turn began (see monitor.pipeline),
  and is written when everything that this caused is written, in a transaction of its own: it is large.
- Of thousands of streams samples are many megabytes: some are written ahead of the rest. They count once the
  checkpoint is there, which says up to which row; what lies behind that is of one that never came to its end.
- The messages of senders that wait for an acknowledgement are written down as they came, before they are
  acknowledged, and crossed out by the next checkpoint. After a crash they are received once more, from here, and
  not published again.
- Sizes are bounded: samples by `history_s` a stream, the journal by the checkpoints, events and alarms by number
  and by age, streams that stay away by `forget_days`.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from monitor.config import AlarmLog as Retention
from monitor.config import State
from monitor.core.blocks import NS, Block
from monitor.core.errors import SchemaError
from monitor.core.memory import Saved
from monitor.core.wire import decode_block, encode_block
from monitor.history import History
from monitor.sinks.alarmlog import AlarmLog, Write
from monitor.sources import Message

_HOUR_S = 3600.0
_FEW_ROWS = 64
"""Of a checkpoint that are made ready in one go."""
_PART_BYTES = 2**20
"""Of it that wait to be written."""
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
        history: History,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._log, self._settings, self.retention = alarm_log, settings, retention
        self._history, self._clock = history, clock
        self._journal: list[Entry] = []
        self._next_id = 1
        """Of what is written of it."""
        self._next_s = clock() + settings.checkpoint_s
        self._marked_s = 0.0
        self._written: dict[str, int] = {}
        """A hash of what the file says of each stream."""
        self._forgotten: list[str] = []
        self.is_dirty = False
        """Whether anything has come since the last checkpoint."""

    def received(self, messages: Sequence[Message], now_ns: int) -> None:
        """Messages that somebody will be told are safe."""
        if messages:
            self._journal.append(Entry(now_ns, [(message.payload, message.stream) for message in messages]))

    def lost(self) -> None:
        """What was to be written could not be: the next checkpoint holds everything."""
        self._written.clear()

    @property
    def is_due(self) -> bool:
        """Whether it is time for a checkpoint."""
        return self.is_dirty and self._clock() >= self._next_s

    def journal(self) -> list[Write]:
        """A turn begins: what is to be written with all that comes of it."""
        journal, self._journal = self._journal, []
        if not journal:
            return []
        self._next_id += 1
        row = _rows(self._next_id - 1, msgspec.msgpack.encode(journal))
        return [Write("INSERT INTO journal (id, entries) VALUES (?, ?)", row)]

    def checkpoint(self) -> list[Write]:
        """A turn begins: what is to be written after all that comes of it, with what `states` gives then.

        What is large is made ready when its rows are asked for, which may be a little at a time.
        """
        now_s = self._clock()
        self._next_s, self.is_dirty = now_s + self._settings.checkpoint_s, False
        unsaved = self._history.unsaved() if self._settings.history else iter(())
        ends: dict[str, tuple[int, float]] = {}
        return [
            Write("INSERT OR IGNORE INTO place SELECT 'recent', coalesce(max(rowid), 0) FROM recent", _rows()),
            Write("DELETE FROM recent WHERE rowid > (SELECT seq FROM place WHERE of = 'recent')", _rows()),
            Write(
                "INSERT INTO recent (stream, end_ns, block) VALUES (?, ?, ?)",
                self._pieces(unsaved, ends),
                ahead=True,
            ),
            # Older than what is kept, or of a time that has been taken back.
            Write("DELETE FROM recent WHERE stream = ? AND (end_ns < ? OR end_ns > ?)", self._spans(ends)),
            Write("DELETE FROM journal WHERE id < ?", _rows(self._next_id)),
            Write("DELETE FROM stream WHERE name = ?", iter([(name,) for name in self._forgotten])),
            Write("DELETE FROM recent WHERE stream = ?", iter([(name,) for name in self._forgotten])),
            Write(
                "UPDATE place SET seq = (SELECT coalesce(max(rowid), 0) FROM recent) WHERE of = 'recent'", _rows()
            ),
            *self._prune(now_s),
        ]

    @staticmethod
    def _pieces(unsaved: Iterator[Block], ends: dict[str, tuple[int, float]]) -> Iterator[tuple[str, int, bytes]]:
        for piece in unsaved:
            ends[piece.stream] = _end_ns(piece), piece.rate_hz or 1.0
            yield piece.stream, ends[piece.stream][0], encode_block(piece)

    def _spans(self, ends: dict[str, tuple[int, float]]) -> Iterator[tuple[str, int, int]]:
        """What is kept of each stream whose pieces are there: nothing of others."""
        for stream, (end_ns, rate_hz) in ends.items():
            yield stream, end_ns - round(self._history.seconds_of(rate_hz) * NS), end_ns

    def states(self, saved: Iterable[Saved]) -> list[Write]:
        """What is known of every stream at the end of a checkpoint's turn."""
        rows = self._changed(saved, self._clock())
        return [Write("INSERT OR REPLACE INTO stream (name, state) VALUES (?, ?)", rows)]

    def _changed(self, saved: Iterable[Saved], now_s: float) -> Iterator[tuple[str, bytes]]:
        for one in saved:
            said = _said(one)
            if self._written.get(one.stream) != said:
                self._written[one.stream] = said
                yield one.stream, msgspec.msgpack.encode(msgspec.structs.replace(one, seen_s=now_s))

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
        by_number = "rowid <= (SELECT max(rowid) FROM evidence) - ?"
        writes.append(Write(f"DELETE FROM evidence WHERE {by_number}", _rows(self.retention.keep_windows)))  # noqa: S608
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
                for (block,) in self._log.read(
                    # Files from before samples were written ahead do not say up to which row.
                    "SELECT block FROM recent "
                    "WHERE coalesce(rowid <= (SELECT seq FROM place WHERE of = 'recent'), 1) ORDER BY rowid"
                )
            ]
            self._next_id = 1 + int(self._log.read("SELECT coalesce(max(id), 0) FROM journal")[0][0])
            journal = [
                entry
                for (entries,) in self._log.read("SELECT entries FROM journal ORDER BY id")
                for entry in msgspec.msgpack.decode(entries, type=list[Entry])
            ]
        except (msgspec.DecodeError, UnicodeDecodeError, SchemaError) as error:
            raise SchemaError(f"what an earlier monitor left cannot be read, and is left out: {error}") from error
        oldest_s = self._clock() - self._settings.forget_days * 24 * _HOUR_S
        known = [one for one in saved if one.seen_s >= oldest_s]
        self._written = {one.stream: _said(one) for one in known}
        self._forgotten = [one.stream for one in saved if one.stream not in self._written]
        return Kept(known, [block for block in recent if block.stream in self._written], journal)


def in_parts(checkpoint: Iterable[Write]) -> Iterator[list[Write]]:
    """A checkpoint made ready a little at a time: what is to be written next, nothing while that is not ready."""
    ready: list[Write] = []
    for write in checkpoint:
        rows: list[tuple[object, ...]] = []
        held = 0
        while some := list(itertools.islice(write.rows, _FEW_ROWS)):
            rows += some
            held += sum(len(value) for row in some for value in row if isinstance(value, bytes))
            if write.ahead and held >= _PART_BYTES:
                yield [*ready, Write(write.sql, iter(rows))]
                ready, rows, held = [], [], 0
            yield []
        ready.append(Write(write.sql, iter(rows)))
    yield ready


def _said(one: Saved) -> int:
    """The same for the same, whenever it was seen: to keep all that is said of thousands would take megabytes."""
    return hash(msgspec.msgpack.encode(msgspec.structs.replace(one, seen_s=0.0)))


def _rows(*row: object) -> Iterator[tuple[object, ...]]:
    return iter([row])


def _end_ns(block: Block) -> int:
    return (block.t0_ns or 0) + round(len(block.values) * NS / (block.rate_hz or 1))
