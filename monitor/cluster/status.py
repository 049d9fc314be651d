"""How a cluster is doing: its partitions, who has them, how far behind they are."""

from __future__ import annotations

import asyncio
import contextlib
import time

import msgspec
from nats.aio.msg import Msg

from monitor.cluster.jetstream import JetStream, Refused, Unanswered
from monitor.cluster.layout import (
    RESULTS,
    SAMPLES,
    WORKERS,
    consumer_of,
    count_partitions,
    partition_subject,
    results_subject,
)
from monitor.cluster.partition import Commit
from monitor.cluster.worker import HEARTBEAT_S, Presence
from monitor.core.errors import Unreachable

STALLED_S = 10.0
"""A partition whose messages have waited so long without a commit is not merely changing hands."""


class PartitionStatus(msgspec.Struct, frozen=True):
    """How one partition is doing."""

    partition: int
    owner: str
    """Who says that it has it; empty where nobody does."""
    streams: int
    lag: int
    """Messages that are stored and not yet committed."""
    behind_s: float
    """Since the last commit, while messages wait; 0 when none do."""
    commits: int
    """Place of the last one."""
    stalled: bool


class ClusterStatus(msgspec.Struct, frozen=True):
    """How the cluster is doing."""

    servers: list[str]
    workers: list[Presence]
    partitions: list[PartitionStatus]
    messages: int
    """Blocks that SAMPLES holds."""
    leaderless: list[str]
    """Streams that have no leader just now, and take nothing."""


async def status(js: JetStream) -> ClusterStatus:
    """Ask everybody; raises Unreachable where there is no such cluster, or it does not answer."""
    try:
        hearing = asyncio.create_task(_workers(js))
        count = await count_partitions(js)
        samples = await js.call(f"STREAM.INFO.{SAMPLES}")
        workers = await hearing
        owners = {number: one.worker for one in workers for number in one.partitions}
        partitions = await asyncio.gather(
            *(_partition(js, number, owners.get(number, "")) for number in range(count))
        )
    except (Unanswered, Refused) as error:
        raise Unreachable(f"the cluster has no streams of ours, or no leader: {error}") from error
    leaders = {SAMPLES: samples.get("cluster", {})}
    group = samples.get("cluster", {})
    servers = sorted({group.get("leader", ""), *(replica["name"] for replica in group.get("replicas", []))} - {""})
    return ClusterStatus(
        servers, workers, list(partitions), samples["state"]["messages"],
        [name for name, where in leaders.items() if where.get("replicas") and not where.get("leader")],
    )  # fmt: skip


async def _workers(js: JetStream) -> list[Presence]:
    """Those who speak up within two heartbeats."""
    heard: dict[str, Presence] = {}

    async def hear(message: Msg) -> None:
        with contextlib.suppress(msgspec.DecodeError):
            told = msgspec.msgpack.decode(message.data, type=Presence)
            heard[told.worker] = told

    subscription = await js.nats.subscribe(WORKERS, cb=hear)
    await asyncio.sleep(2.5 * HEARTBEAT_S)
    await subscription.unsubscribe()
    return [told for _, told in sorted(heard.items()) if not told.leaving]


async def _partition(js: JetStream, number: int, owner: str) -> PartitionStatus:
    info = await js.call(f"CONSUMER.INFO.{SAMPLES}.{consumer_of(number)}")
    newest = await js.last(RESULTS, results_subject(number))
    lag = int(info["num_pending"]) + int(info["num_ack_pending"])
    commit = msgspec.msgpack.decode(newest.data, type=Commit) if newest else None
    behind_s = 0.0
    if lag:
        oldest = await js.read_some(
            SAMPLES, partition_subject(number), {"seq": (commit.position if commit else 0) + 1}, batch=1
        )
        behind_s = max(time.time() - oldest[0].at_ns / 1e9, 0.0) if oldest else 0.0
        lag = lag if oldest else 0  # committed, and about to be acknowledged
    return PartitionStatus(
        number, owner, commit.streams if commit else 0, lag, round(behind_s, 3), newest.seq if newest else 0,
        behind_s > STALLED_S,
    )  # fmt: skip


def table(found: ClusterStatus) -> str:
    """For people."""
    lines = [f"{'partition':>9}  {'owner':20}  {'streams':>7}  {'lag':>7}  {'behind':>9}"]
    for one in found.partitions:
        behind = "STALLED" if one.stalled else f"{one.behind_s:.2f} s" if one.behind_s else "-"
        lines.append(
            f"{one.partition:>9}  {one.owner or 'nobody':20}  {one.streams:>7}  {one.lag:>7}  {behind:>9}"
        )
    who = ", ".join(f"{w.worker} ({len(w.partitions)})" for w in found.workers) or "none"
    lines.append(f"{len(found.workers)} workers: {who}")
    lines.append(f"{len(found.servers) or 1} servers; {found.messages} blocks kept")
    lines += [f"{name} has no leader" for name in found.leaderless]
    return "\n".join(lines)
