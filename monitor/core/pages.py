"""Blocks that came together, side by side: what thousands of streams send is read as tables, not one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from monitor.core.blocks import Block, Floats, Ints

Who = tuple[str, str, float | None, tuple[str, ...], str]
"""What a sender says of its stream with every block: stream, run, rate in Hz, channels, unit."""

OPEN = -1
"""A time that the sender left open."""


@dataclass(frozen=True, slots=True)
class Page:
    """Blocks of as many samples and channels, of distinct streams."""

    whos: Sequence[Who]
    slots: Ints
    """(n,) of the streams."""
    seq: Ints
    """(n,) index of each first sample in its run."""
    t0_ns: Ints
    """(n,) its time, or OPEN."""
    values: Floats
    """(n, time, channel)"""

    def __len__(self) -> int:
        return len(self.slots)

    def block(self, row: int) -> Block:
        """One of the blocks."""
        stream, run, rate_hz, channels, unit = self.whos[row]
        t0_ns = int(self.t0_ns[row])
        return Block(
            stream, self.values[row], run, int(self.seq[row]), None if t0_ns == OPEN else t0_ns, rate_hz, channels,
            unit,
        )  # fmt: skip

    def rows(self, rows: Ints) -> Page:
        """Some of them."""
        whos = [self.whos[row] for row in rows.tolist()]
        return Page(whos, self.slots[rows], self.seq[rows], self.t0_ns[rows], self.values[rows])
