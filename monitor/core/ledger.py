"""The ledger of one stream: every sample its sender sent is received or missing, and counted once.

Rules:
- Within a run, `received + missing` is the highest index seen + 1, after every block.
- A sample that was received before is a duplicate; one that was already given up as missing stays missing and
  is counted late as well.
- Another run id begins a new run at index 0; a block of a run that has ended is refused, for two senders that
  share a name would otherwise take each other's samples for gaps.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np

from monitor.core.blocks import Block, Ints
from monitor.core.columns import Column
from monitor.core.errors import SchemaError
from monitor.core.published import LedgerCounts

_REMEMBERED_GAPS = 64
_REMEMBERED_RUNS = 16


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do with a block: use its samples from `skip` on; `gap` samples are missing before them."""

    skip: int
    gap: int
    new_run: bool


class LedgerState(msgspec.Struct, frozen=True):
    """The books of one stream, as they are kept over a restart."""

    next_seq: int
    run: str | None
    ended: tuple[str, ...]
    gaps: tuple[tuple[int, int], ...]
    counts: LedgerCounts


class Books:
    """What changes in the ledgers of up to `capacity` streams when blocks come that were expected."""

    def __init__(self, capacity: int) -> None:
        self.next_seq = np.zeros(capacity, np.int64)
        """By slot, the index after the highest seen in the run that is on."""
        self.received = np.zeros(capacity, np.int64)

    def follow(self, slots: Ints, samples: int) -> None:
        """Book an expected block of so many samples of each of distinct streams."""
        self.next_seq[slots] += samples
        self.received[slots] += samples


class Ledger:
    """Accounts for the samples of one stream; a few integer operations a block."""

    __slots__ = (
        "_before_first", "_books", "_duplicated", "_ended", "_gap_count", "_gaps", "_invalid", "_late", "_missing",
        "_refused", "_run", "_runs", "slot", "stream",
    )  # fmt: skip

    next_seq = Column(lambda ledger: ledger._books.next_seq, int)  # noqa: SLF001 its own
    """Index, in the run that is on, of the sample that is expected next."""
    _received = Column(lambda ledger: ledger._books.received, int)  # noqa: SLF001 its own

    def __init__(self, stream: str, books: Books | None = None, slot: int = 0) -> None:
        """Its part of the `books` of many streams is what lies at `slot`; by default it has books of its own."""
        self.stream, self.slot = stream, slot
        self._books = Books(1) if books is None else books
        self.next_seq = self._received = 0
        self._run: str | None = None
        self._ended: tuple[str, ...] = ()
        self._gaps: tuple[tuple[int, int], ...] = ()  # [start, end) given up as missing
        self._missing = self._before_first = 0
        self._duplicated = self._late = self._refused = self._invalid = self._runs = self._gap_count = 0

    @property
    def counts(self) -> LedgerCounts:
        """The books as they stand."""
        return LedgerCounts(
            self._received, self._missing, self._before_first, self._duplicated, self._late, self._refused,
            self._invalid, self._runs, self._gap_count,
        )  # fmt: skip

    @property
    def run(self) -> str | None:
        """The run that is on; None before the first."""
        return self._run

    @property
    def state(self) -> LedgerState:
        """Everything there is to know, for a restart."""
        return LedgerState(self.next_seq, self._run, self._ended, self._gaps, self.counts)

    @classmethod
    def resumed(cls, stream: str, state: LedgerState, books: Books | None = None, slot: int = 0) -> Ledger:
        """A ledger that goes on where another ended."""
        ledger = cls(stream, books, slot)
        ledger.next_seq, ledger._run = state.next_seq, state.run
        ledger._ended, ledger._gaps = state.ended, state.gaps
        (
            ledger._received, ledger._missing, ledger._before_first, ledger._duplicated, ledger._late,
            ledger._refused, ledger._invalid, ledger._runs, ledger._gap_count,
        ) = msgspec.structs.astuple(state.counts)  # fmt: skip
        return ledger

    def enter(self, block: Block) -> Verdict:
        """Book the samples of `block`; raises SchemaError for a run that has ended."""
        new_run = block.run != self._run
        if new_run:
            self._begin(block.run)
        start = self.next_seq if block.seq is None else block.seq
        end = start + len(block.values)
        old = max(min(end, self.next_seq) - start, 0)
        if old:
            late = self._come_late(start, end)
            self._late += late
            self._duplicated += old - late
        gap = max(start - self.next_seq, 0)
        if gap:
            self._missing += gap
            if new_run:
                self._before_first += gap
            else:
                self._gap_count += 1
            self._gaps = (*self._gaps, (self.next_seq, start))[-_REMEMBERED_GAPS:]
        self._received += end - start - old
        self.next_seq = max(self.next_seq, end)
        return Verdict(old, 0 if new_run else gap, new_run)

    def _come_late(self, start: int, end: int) -> int:
        """How many samples of [start, end) had been given up; they are not late a second time."""
        late, gaps = 0, list[tuple[int, int]]()
        for a, b in self._gaps:
            late += max(min(end, b) - max(start, a), 0)
            gaps.extend(part for part in ((a, min(b, start)), (max(a, end), b)) if part[0] < part[1])
        self._gaps = tuple(gaps[-_REMEMBERED_GAPS:])
        return late

    def refuse(self) -> None:
        """A block of this stream could not be used."""
        self._refused += 1

    def invalid(self, samples: int) -> None:
        """So many of the received samples carried no value."""
        self._invalid += samples

    def _begin(self, run: str) -> None:
        if run in self._ended:
            raise SchemaError(
                f"stream {self.stream!r}: run {run!r} has ended, run {self._run!r} is on: expected one "
                "sender a stream; give the second sender a stream name of its own",
                stream=self.stream,
                kind="ended run",
            )
        if self._run is not None:
            self._ended = (*self._ended, self._run)[-_REMEMBERED_RUNS:]
        self._run = run
        self._runs += 1
        self.next_seq = 0
        self._gaps = ()
