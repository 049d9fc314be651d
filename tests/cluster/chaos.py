"""A load on a cluster while something is killed now and then; counts what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import subprocess
import sys
import time

from monitor.cluster.jetstream import Refused, Unanswered
from monitor.cluster.layout import RESULTS, SAMPLES, partition_subject, results_subject
from tests.cluster.conftest import publish


class WorkerProcess:
    """`monitor worker` that can be killed."""

    def __init__(self, folder, config, name):
        cluster = config.cluster
        settings = {
            "cluster.servers": str(list(cluster.servers)).replace("'", '"'),
            "cluster.replicas": cluster.replicas,
            "cluster.partitions": cluster.partitions,
            "cluster.partition_streams": cluster.partition_streams,
            "inference.mode": config.inference.mode,
        }
        flags = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        self.command = [sys.executable, "-m", "monitor", "worker", "--name", name, *flags]
        self.name, self.log, self.process = name, folder / f"{name}.log", None

    def start(self):
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, stderr=log)
        return self

    def kill(self, number=signal.SIGKILL):
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait()

    def text(self):
        return self.log.read_text()


async def steadily(js, messages, rate):
    """Publish at `rate` messages a second, streams in parallel, each stream in order."""
    began = time.monotonic()
    streams = {}
    for number, message in enumerate(messages):
        streams.setdefault(message.stream, []).append((number / rate, message))

    async def one(parts):
        for due_s, message in parts:
            await asyncio.sleep(max(began + due_s - time.monotonic(), 0))
            await publish(js, [message])

    await asyncio.gather(*(one(parts) for parts in streams.values()))


async def longest_stall(js, partition, until, stalls):
    """Follow the commits of a partition; note the longest time between two while samples wait."""
    newest, since = 0, time.monotonic()
    while not until.is_set():
        with contextlib.suppress(Unanswered, Refused, AttributeError):
            last = await js.last(RESULTS, results_subject(partition))
            if last.seq != newest:
                newest, since = last.seq, time.monotonic()
            stalls[partition] = max(stalls.get(partition, 0), time.monotonic() - since)
        await asyncio.sleep(0.05)


def rng_of(seed):
    return random.Random(seed)


async def stored(js, partitions):
    """Messages in SAMPLES."""
    found = 0
    for partition in range(partitions):
        last = await js.last(SAMPLES, partition_subject(partition))
        if last:
            found += len([one async for one in js.read(SAMPLES, partition_subject(partition), 1, last.seq)])
    return found
