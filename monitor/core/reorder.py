"""Blocks that came too early: held back for a moment, in case what lies before them is only late.

Rules of the file:
- A block is held when samples of its run are missing before it, or when others of its stream are held already.
- It is due when what was missing has come, when the stream itself has gone on for `reorder_s` beyond the hole (its
  own time: a replay at any speed decides alike), when another run has begun, or when it has waited for `reorder_s`
  and nothing came at all.
- Where it came over a way that delivers again what was not acknowledged, it waits for that instead: `patience_s`.
"""

from __future__ import annotations

from typing import NamedTuple

from monitor.core.blocks import NS, Block

MAX_HELD = 1024
"""Blocks of one stream; with more the first is due."""


class Held(NamedTuple):
    """A block that waits."""

    block: Block
    arrived_ns: int
    mark: int
    patience_s: float = 0.0


class Early:
    """The early blocks of one stream, in the order in which they are to be taken."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: list[Held] = []

    def __bool__(self) -> bool:
        return bool(self._held)

    def blocks(self) -> list[Held]:
        """All that wait."""
        return list(self._held)

    def is_early(self, block: Block, run: str | None, next_seq: int) -> bool:
        """Whether `block` should wait, when sample `next_seq` of `run` is the next that is expected."""
        follows = block.run == run and block.seq is not None and block.seq <= next_seq
        if self._held:
            return not follows
        return run is not None and block.run == run and not follows and block.seq is not None

    def hold(self, held: Held) -> None:
        """Put a block in its place: among its run by sequence number, else last."""
        seq, at = held.block.seq, len(self._held)
        if seq is not None:
            while at and self._is_after(self._held[at - 1].block, held.block.run, seq):
                at -= 1
        self._held.insert(at, held)

    @staticmethod
    def _is_after(block: Block, run: str, seq: int) -> bool:
        return block.run == run and block.seq is not None and block.seq > seq

    def due(self, run: str | None, next_seq: int, rate_hz: float, reorder_s: float, now_ns: int) -> Held | None:
        """The first block, when it need not wait any longer; it is taken out."""
        if not self._held:
            return None
        first = self._held[0]
        block = first.block
        ends = [
            held.block.seq + len(held.block.values)
            for held in (first, self._held[-1])
            if held.block.run == run and held.block.seq is not None
        ]
        if (
            block.run != run
            or block.seq is None
            or block.seq <= next_seq
            or self._held[-1].block.run != run
            or (not first.patience_s and max(ends, default=0) - next_seq > reorder_s * rate_hz)
            or now_ns - first.arrived_ns >= max(reorder_s, first.patience_s) * NS
            or len(self._held) > MAX_HELD
        ):
            return self._held.pop(0)
        return None
