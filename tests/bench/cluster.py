"""What a cluster costs and how it grows: the same stored blocks worked off by one, two and three workers.

    python -m tests.bench.cluster [--streams 48] [--seconds 60] [--mode leapfrog]

One server, for what is measured is the workers; rounds are interleaved. Prints JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

from monitor.cluster.audit import settled
from monitor.cluster.jetstream import connected
from monitor.cluster.layout import STATES, make_streams, samples_subject
from monitor.cluster.status import _workers
from tests.cluster.chaos import WorkerProcess
from tests.cluster.conftest import cluster_config, nodes
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
                    worker.kill()
    return {
        "blocks_per_s": len(messages) / took_s,
        "worker_us_per_block": 1e6 * worker_s / len(messages),
        "server_us_per_block": 1e6 * server_s / len(messages),
        "state_bytes": state["state"]["bytes"],
    }


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--streams", type=int, default=48)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--mode", default="leapfrog")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
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
