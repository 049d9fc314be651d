"""What became of every block, and of what it caused: the cluster's promises, counted.

Everything that the cluster holds is read again: blocks are missing, doubled or out of order where their numbers
say so, and what was committed is compared with what one engine says that is given all of a partition at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import msgspec

from monitor.cluster.bridge import place_of
from monitor.cluster.jetstream import JetStream
from monitor.cluster.layout import (
    RESULTS,
    SAMPLES,
    count_partitions,
    partition_subject,
    results_subject,
    stream_subject,
)
from monitor.cluster.partition import Commit
from monitor.cluster.pull import entry_of
from monitor.cluster.shard import Entry, Shard, build_engine
from monitor.config import Config
from monitor.core.blocks import Alarm, Event
from monitor.core.expected import differences, row_of
from monitor.inference import Model

TOLERANCE = 1e-3
"""Of scores: batches of other sizes round otherwise, and interpolated times carry that on."""
_SETTLE_S = 60.0


class Audit(msgspec.Struct):
    """What was found."""

    blocks: int = 0
    missing: int = 0
    """Blocks' worth of samples that lie between blocks of one run."""
    doubled: int = 0
    out_of_order: int = 0
    told: int = 0
    """Events and changes of alarms."""
    differing: int = 0
    """Of those, that are not what one engine says, or are missing."""
    commits: int = 0


async def count_blocks(js: JetStream) -> int:
    """Blocks that are stored."""
    info = await js.call(f"STREAM.INFO.{SAMPLES}", {"subjects_filter": stream_subject("*")})
    return sum(info["state"].get("subjects", {}).values())


async def settled(js: JetStream, blocks: int) -> None:
    """Wait until so many blocks are stored, and all of them committed; raises TimeoutError after a minute."""
    async with asyncio.timeout(_SETTLE_S):
        while await count_blocks(js) < blocks:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        for partition in range(await count_partitions(js)):
            while await _is_behind(js, partition):  # noqa: ASYNC110
                await asyncio.sleep(0.1)


async def _is_behind(js: JetStream, partition: int) -> bool:
    last = await js.last(SAMPLES, partition_subject(partition))
    if last is None:
        return False
    newest = await js.last(RESULTS, results_subject(partition))
    return newest is None or msgspec.msgpack.decode(newest.data, type=Commit).position < last.seq


async def audit(js: JetStream, config: Config, models: Mapping[str, Model]) -> Audit:
    """Read and compare everything; takes about as long as the workers did."""
    found = Audit()
    pristine = build_engine(config, models)
    for partition in range(await count_partitions(js)):
        entries, commits = await _all_of(js, partition)
        found.commits += len(commits)
        _count_blocks(found, entries)
        told = [notice for commit in commits for notice in commit.notices]
        shard = Shard(config, models, pristine)
        said = (await asyncio.to_thread(shard.take, entries)).notices
        found.told += len(told)
        for stream in {notice.stream for notice in (*told, *said)}:
            found.differing += len(differences(_rows(told, stream), _rows(said, stream), TOLERANCE))
    return found


async def _all_of(js: JetStream, partition: int) -> tuple[list[Entry], list[Commit]]:
    last = await js.last(SAMPLES, partition_subject(partition))
    newest = await js.last(RESULTS, results_subject(partition))
    if last is None or newest is None:
        return [], []
    samples = js.read(SAMPLES, partition_subject(partition), 1, last.seq)
    entries = [entry_of(one.seq, one.subject, one.data, one.at_ns) async for one in samples]
    commits = js.read(RESULTS, results_subject(partition), 1, newest.seq)
    return entries, [msgspec.msgpack.decode(one.data, type=Commit) async for one in commits]


def _count_blocks(found: Audit, entries: list[Entry]) -> None:
    ends: dict[tuple[str, str], int] = {}
    known: set[tuple[str, str, int]] = set()
    for entry in entries:
        place = place_of(entry.stream, entry.payload) if entry.stream else None
        if place is None:
            continue
        found.blocks += 1
        key, length = (entry.stream, place.run), place.end - place.seq
        end = ends.setdefault(key, 0)
        if (*key, place.seq) in known:
            found.doubled += 1
        elif place.seq < end:
            found.out_of_order += 1
        else:
            found.missing += -(-(place.seq - end) // length)
        known.add((*key, place.seq))
        ends[key] = max(end, place.end)


def _rows(notices: list[Event | Alarm], stream: str) -> list[dict[str, object]]:
    return [row_of(notice, 0) for notice in notices if notice.stream == stream]
