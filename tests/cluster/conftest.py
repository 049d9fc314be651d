"""A real cluster of NATS servers on the loopback, and workers in it."""

from __future__ import annotations

import asyncio
import contextlib

import msgspec
import pytest

pytest.importorskip("nats", reason="the extra `cluster` is not installed: pip install 'foretrace[cluster]'")

from monitor.cluster.jetstream import Unanswered, connected
from monitor.cluster.layout import RESULTS, partition_of, partition_subject, results_subject, samples_subject
from monitor.cluster.nodes import make_nodes
from monitor.cluster.partition import Commit
from monitor.cluster.shard import Outcome
from monitor.cluster.worker import run_worker
from monitor.config import Cluster
from tests.cluster.signals import config_of


@contextlib.asynccontextmanager
async def nodes(count, folder):
    """Servers that answer."""
    made = make_nodes(count, folder)
    try:
        await asyncio.gather(*(node.start() for node in made))
        await answering(made)
        yield made
    finally:
        await asyncio.gather(*(node.kill() for node in made))


async def answering(made, seconds=60.0):
    settings = Cluster(servers=tuple(node.url for node in made))
    async with asyncio.timeout(seconds):
        while True:
            with contextlib.suppress(Exception):
                async with connected(settings, "probe") as js:
                    await js.call("INFO")
                    return
            await asyncio.sleep(0.05)


def cluster_config(made, **changes):
    servers = [node.url for node in made]
    return config_of(
        cluster={"servers": servers, "replicas": min(len(made), 3), **changes.pop("cluster", {})}, **changes
    )


@contextlib.asynccontextmanager
async def working(config, models, name="w1"):
    """A worker in this process."""
    stop = asyncio.Event()
    task = asyncio.create_task(run_worker(config, models, name, stop))
    try:
        yield task
    finally:
        stop.set()
        await asyncio.wait_for(task, 90)


async def publish(js, entries):
    """Like a bridge: one message of a stream after the other, each until it is stored."""
    for entry in entries:
        while True:
            try:
                await js.publish(samples_subject(entry.stream), entry.payload, once=f"{entry.stream} {entry.seq}")
                break
            except Unanswered:
                await asyncio.sleep(0.05)


async def commits(js, partitions=4):
    """All commits, by partition."""
    while True:
        try:
            return await _commits(js, partitions)
        except Unanswered:
            await asyncio.sleep(0.05)


async def _commits(js, partitions):
    found = {}
    for partition in range(partitions):
        subject = results_subject(partition)
        newest = await js.last(RESULTS, subject)
        if newest:
            found[partition] = [
                msgspec.msgpack.decode(one.data, type=Commit)
                async for one in js.read(RESULTS, subject, 1, newest.seq)
            ]
    return found


async def told_by(js, partitions=4):
    """What the commits say, as `tests.cluster.signals.told` wants it."""
    return [
        Outcome(notices=commit.notices, beats=commit.beats)
        for rows in (await commits(js, partitions)).values()
        for commit in rows
    ]


async def caught_up(js, count, partitions=4, seconds=120.0):
    """Wait until every one of `count` samples messages is committed."""
    async with asyncio.timeout(seconds):
        while True:
            with contextlib.suppress(Unanswered):
                state = (await js.call("STREAM.INFO.SAMPLES", {"subjects_filter": ">"}))["state"]
                subjects = state.get("subjects", {})
                wanted = {partition_of(subject) for subject in subjects}
                blocks = sum(n for subject, n in subjects.items() if subject.startswith("samples."))
                done = 0
                for partition in wanted:
                    last = await js.last("SAMPLES", partition_subject(partition))
                    newest = await js.last(RESULTS, results_subject(partition))
                    done += bool(newest) and msgspec.msgpack.decode(newest.data, type=Commit).position == last.seq
                if blocks >= count and done == len(wanted):
                    return
            await asyncio.sleep(0.05)
