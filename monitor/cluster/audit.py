"""What became of every block, and of what it caused: the cluster's promises, counted.

Everything that the cluster holds is read again: blocks are missing, doubled or out of order where their numbers
say so, and what was committed is compared with what one engine says that is given all of a partition at once.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import msgspec

from monitor.cluster.bridge import place_of
from monitor.cluster.jetstream import JetStream, Stored, Unanswered
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
from monitor.core.errors import MonitorError
from monitor.core.expected import differences, row_of
from monitor.inference import Model

T = TypeVar("T")

TOLERANCE = 1e-3
"""Of scores: batches of other sizes round otherwise, and interpolated times carry that on."""
_SETTLE_S = 180.0


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
    info = await _patiently(lambda: js.call(f"STREAM.INFO.{SAMPLES}", {"subjects_filter": stream_subject("*")}))
    return sum(info["state"].get("subjects", {}).values())


async def _patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """An answer; between two leaders, or where much else is going on, there is none for a while."""
    while True:
        try:
            return await ask()
        except Unanswered:
            await asyncio.sleep(0.1)


async def settled(js: JetStream, blocks: int) -> None:
    """Wait until so many blocks are stored, and all of them committed; raises MonitorError after three minutes."""
    try:
        async with asyncio.timeout(_SETTLE_S):
            while await count_blocks(js) < blocks:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            for partition in range(await _patiently(lambda: count_partitions(js))):
                while await _is_behind(js, partition):  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
    except TimeoutError as error:
        stored = await count_blocks(js)
        raise MonitorError(f"of {blocks} blocks {stored} are stored, and not all of those committed") from error


async def _is_behind(js: JetStream, partition: int) -> bool:
    last, newest = await _ends(js, partition)
    if last is None:
        return False
    return newest is None or msgspec.msgpack.decode(newest.data, type=Commit).position < last.seq


async def audit(js: JetStream, config: Config, models: Mapping[str, Model]) -> Audit:
    """Read and compare everything; takes about as long as the workers did."""
    found = Audit()
    pristine = build_engine(config, models)
    for partition in range(await _patiently(lambda: count_partitions(js))):
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
    last, newest = await _ends(js, partition)
    if last is None or newest is None:
        return [], []
    samples = await _read(js, SAMPLES, partition_subject(partition), last.seq)
    commits = await _read(js, RESULTS, results_subject(partition), newest.seq)
    entries = [entry_of(one.seq, one.subject, one.data, one.at_ns) for one in samples]
    return entries, [msgspec.msgpack.decode(one.data, type=Commit) for one in commits]


async def _ends(js: JetStream, partition: int) -> tuple[Stored | None, Stored | None]:
    """The newest message of a partition, and its newest commit."""
    last = await _patiently(lambda: js.last(SAMPLES, partition_subject(partition)))
    return last, await _patiently(lambda: js.last(RESULTS, results_subject(partition)))


async def _read(js: JetStream, stream: str, subject: str, last: int) -> list[Stored]:
    """All messages of a subject up to place `last`, which is there."""
    found: list[Stored] = []
    while not found or found[-1].seq < last:
        start = {"seq": found[-1].seq + 1 if found else 1}
        found += await _patiently(functools.partial(js.read_some, stream, subject, start))
    return [one for one in found if one.seq <= last]


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
