"""What a cluster costs and how it grows: the same stored blocks worked off by one, two and three workers.

    python -m tests.bench.cluster [--streams 48] [--seconds 60] [--mode leapfrog]
    python -m tests.bench.cluster --join 5

One server, for what is measured is the workers; rounds are interleaved. With --join, workers come one after the
other to one that is at work: how long until the first commit of each, and how much of that it took to start.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import statistics
import tempfile
import time
from pathlib import Path

import msgspec

from monitor.cluster.audit import settled
from monitor.cluster.jetstream import JetStream, connected
from monitor.cluster.layout import RESULTS, STATES, make_streams, results_subject, samples_subject
from monitor.cluster.partition import Commit
from monitor.cluster.status import _workers
from tests.cluster.chaos import WorkerProcess, steadily
from tests.cluster.conftest import cluster_config, commits, nodes
from tests.cluster.signals import entries

PARTITIONS = 6
TICK = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


async def one_round(folder: Path, count: int, messages, mode: str) -> dict[str, float]:
    async with nodes(1, folder) as made:
        config = cluster_config(made, cluster={"partitions": PARTITIONS}, inference={"mode": mode})
        async with connected(config.cluster, "bench") as js:
            await make_streams(js, config.cluster)
            workers = [WorkerProcess(folder, config, f"w{n}") for n in range(count)]
            for worker in workers:
                worker.start()
            try:
                while len(await _workers(js)) < count:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
                await asyncio.sleep(1.0)  # until they have shared what there is
                worker_s = sum(cpu_s(w.process.pid) for w in workers)
                server_s, began = cpu_s(made[0].process.pid), time.monotonic()
                for at in range(0, len(messages), 200):
                    some = messages[at : at + 200]
                    await asyncio.gather(*(js.publish(samples_subject(m.stream), m.payload) for m in some))
                await settled(js, len(messages))
                took_s = time.monotonic() - began
                worker_s = sum(cpu_s(w.process.pid) for w in workers) - worker_s
                server_s = cpu_s(made[0].process.pid) - server_s
                state = await js.call(f"STREAM.INFO.{STATES}")
            finally:
                for worker in workers:
                    worker.kill(signal.SIGTERM)
    return {
        "blocks_per_s": len(messages) / took_s,
        "worker_us_per_block": 1e6 * worker_s / len(messages),
        "server_us_per_block": 1e6 * server_s / len(messages),
        "state_bytes": state["state"]["bytes"],
        "handed_over": sum(w.text().count("handed over") for w in workers),
    }


async def join(folder: Path, streams: int, count: int) -> list[dict[str, float]]:
    """Workers that come while a first one works off 80 blocks a second."""
    found = []
    async with nodes(1, folder) as made:
        config = cluster_config(made, cluster={"partitions": PARTITIONS})
        async with connected(config.cluster, "bench") as js:
            await make_streams(js, config.cluster)
            messages = entries([f"sine/{n}" for n in range(streams)], 20.0 * count)
            first = WorkerProcess(folder, config, "first").start()
            sending = asyncio.create_task(steadily(js, messages, rate=80))
            try:
                while not await commits(js, PARTITIONS):  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
                for number in range(count):
                    worker = WorkerProcess(folder, config, f"new-{number}")
                    began, worker_s = time.monotonic(), None
                    worker.start()
                    while worker.name not in await _newest(js):
                        if worker_s is None and "partitions in the cluster" in worker.text():
                            worker_s = time.monotonic() - began
                        await asyncio.sleep(0.005)
                    took_s = time.monotonic() - began
                    row = {"started_s": worker_s or took_s, "first_commit_s": took_s}
                    found.append(row | {"cpu_s": cpu_s(worker.process.pid)})
                    worker.kill(signal.SIGTERM)
            finally:
                sending.cancel()
                first.kill()
    return found


async def _newest(js: JetStream) -> set[str]:
    """Whose the newest commits are."""
    last = [await js.last(RESULTS, results_subject(number)) for number in range(PARTITIONS)]
    return {msgspec.msgpack.decode(one.data, type=Commit).worker for one in last if one}


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--streams", type=int, default=48)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--mode", default="leapfrog")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--join", type=int, default=0, help="so many workers, instead")
    given = parser.parse_args()
    if given.join:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            rows = await join(Path(folder), given.streams, given.join)
        shown = {key: [round(row[key], 2) for row in rows] for key in rows[0]}
        print(json.dumps({"load": os.getloadavg()[0], **shown}))  # noqa: T201
        return
    half = given.streams // 2
    messages = entries([*(f"ecg/{n}" for n in range(half)), *(f"sine/{n}" for n in range(half))], given.seconds)
    found: dict[int, list[dict[str, float]]] = {1: [], 2: [], 3: []}
    for _ in range(given.rounds):
        for count, rounds in found.items():
            with tempfile.TemporaryDirectory(prefix="bench-") as folder:
                rounds.append(await one_round(Path(folder), count, messages, given.mode))
    shown = {
        f"{count} workers": {key: round(statistics.median(r[key] for r in rounds), 1) for key in rounds[0]}
        for count, rounds in found.items()
    }
    print(json.dumps({"streams": given.streams, "mode": given.mode, "blocks": len(messages), **shown}, indent=1))  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main())
