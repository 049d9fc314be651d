"""Faults to order, for tests and drills: blocks that are lost, doubled, late, and gaps in the signal.

What goes in are the blocks of one stream, in order; what comes out are the blocks that shall be sent, each with
the time at which it is due, in seconds since the stream's first sample. The seed decides what goes wrong.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from monitor.core.blocks import NS, Block
from monitor.core.errors import ConfigError
from monitor.core.windows import seconds_to_samples

Due = tuple[float, Block]


class Faults(msgspec.Struct, frozen=True, kw_only=True):
    """What shall go wrong."""

    drop: float = 0.0
    """Share of the blocks that are never sent."""
    duplicate: float = 0.0
    """Share of the blocks that are sent twice."""
    jitter_s: float = 0.0
    """Blocks come late by anything up to this, and so out of order."""
    gaps: tuple[tuple[float, float], ...] = ()
    """Stretches that are never sent: from so many seconds on, for so many seconds."""
    seed: int = 0


@dataclass(slots=True)
class Toll:
    """What the faults took and gave, in samples."""

    dropped: int = 0
    """In lost blocks."""
    cut: int = 0
    """In gaps."""
    duplicated: int = 0
    """Sent a second time."""


def with_faults(blocks: Iterator[Block], faults: Faults, toll: Toll, *, number: int = 0) -> Iterator[Due]:
    """The blocks of one stream that are sent, and when; `number` tells the streams of a fleet apart."""
    for name, share in (("drop", faults.drop), ("duplicate", faults.duplicate)):
        if not 0 <= share <= 1:
            raise ConfigError(f"--{name}: expected a share from 0 to 1, got {share:g}")
    if not 0 <= faults.jitter_s < 1e6 or any(not at >= 0 < length for at, length in faults.gaps):
        raise ConfigError("--jitter and --gap: expected seconds of 0 or more, and gaps that are longer than 0")
    return _in_order(_faulty(blocks, faults, toll, np.random.default_rng((faults.seed, number))))


def _faulty(
    blocks: Iterator[Block], faults: Faults, toll: Toll, random: np.random.Generator
) -> Iterator[tuple[float, Due]]:
    """When each block would be due if all went well, with when it comes and what comes."""
    for whole in blocks:
        due_s = _end_s(whole)
        for block in _cut(whole, faults, toll):
            lost, doubled, late, later = random.uniform(size=4)
            if lost < faults.drop:
                toll.dropped += len(block.values)
                continue
            yield due_s, (due_s + late * faults.jitter_s, block)
            if doubled < faults.duplicate:
                toll.duplicated += len(block.values)
                yield due_s, (due_s + later * faults.jitter_s, block)


def _cut(block: Block, faults: Faults, toll: Toll) -> list[Block]:
    """What the gaps leave of a block."""
    if not faults.gaps:
        return [block]
    rate_hz, seq = block.rate_hz or 1.0, block.seq or 0
    index = seq + np.arange(len(block.values))
    kept = np.ones(len(index), np.bool_)
    for at_s, length_s in faults.gaps:
        first = seconds_to_samples(at_s, rate_hz)
        kept &= (index < first) | (index >= first + seconds_to_samples(length_s, rate_hz))
    toll.cut += len(kept) - int(kept.sum())
    return _kept(block, kept)


def without_gaps(blocks: Iterator[Block]) -> Iterator[Block]:
    """The blocks without the samples that no channel has a value of: what was a gap is one again."""
    for block in blocks:
        known = np.atleast_1d(~np.isnan(block.values).all(axis=1))
        yield from [block] if known.all() else _kept(block, known)


def _kept(block: Block, kept: NDArray[np.bool_]) -> list[Block]:
    """What of a block is kept, a block for each row of samples."""
    edges = [0, *(np.flatnonzero(np.diff(kept)) + 1).tolist(), len(kept)]
    return [_part(block, start, end) for start, end in itertools.pairwise(edges) if end > start and kept[start]]


def _part(block: Block, start: int, end: int) -> Block:
    """Samples `start` to `end` of a block."""
    t0_ns = None if block.t0_ns is None else block.t0_ns + round(start * NS / (block.rate_hz or 1.0))
    return msgspec.structs.replace(
        block, values=block.values[start:end], seq=(block.seq or 0) + start, t0_ns=t0_ns
    )


def _in_order(coming: Iterator[tuple[float, Due]]) -> Iterator[Due]:
    """Sorted by when they come; nothing comes before it would be due if all went well."""
    held: list[tuple[float, int, Block]] = []
    for count, (earliest_s, (due_s, block)) in enumerate(coming):
        while held and held[0][0] <= earliest_s:
            at_s, _, first = heapq.heappop(held)
            yield at_s, first
        heapq.heappush(held, (due_s, count, block))
    while held:
        at_s, _, first = heapq.heappop(held)
        yield at_s, first


def _end_s(block: Block) -> float:
    return ((block.seq or 0) + len(block.values)) / (block.rate_hz or 1.0)
