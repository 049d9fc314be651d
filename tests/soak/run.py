"""Load, faults at random moments, and one table at the end: python -m tests.soak.run --minutes 10.

A daemon, a broker and many streams in real time over MQTT at QoS 1, ZeroMQ with acknowledgement and ZeroMQ
PUB/SUB. Exits with 1 when a promise was broken, and says which.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

import zmq

from monitor.broker import complain
from monitor.core.blocks import Alarm
from monitor.core.errors import SchemaError, Unreachable
from monitor.core.published import decode_event
from monitor.sockets import Socket
from tests.cable import Cable
from tests.conftest import free_port, start_broker
from tests.processes import Process, check_database
from tests.soak.faults import MODEL, Faults
from tests.soak.senders import BLOCK, RATE_HZ, Fleet, over_mqtt, over_zeromq

SHARES = {"mqtt": 0.3, "reliable": 0.35, "pub": 0.35}
SETTLE_S = 60.0


class Soak:
    """One run."""

    def __init__(self, folder: Path, seconds: float, streams: int, seed: int):
        self.folder, self.seconds = folder, seconds
        self.rng = random.Random(seed)
        self.fleets = {
            way: Fleet(way, round(streams * share), 1000 * i) for i, (way, share) in enumerate(SHARES.items())
        }
        self.heard: set[str] = set()
        self.behind_s = 0.0
        self.memory: dict[str, float] = {}
        self.broken: list[str] = []

    async def run(self) -> dict[str, object]:
        asyncio.get_running_loop().set_exception_handler(complain)  # brokers are killed on purpose
        broker = start_broker(self.folder, free_port())
        cable = Cable(broker.port)
        await cable.mend()
        Faults.place_model(self.folder / "models")
        rule = f'[{{name = "sine/*", models = ["{MODEL}"], rate_hz = {RATE_HZ}}}]'
        daemon = Process(
            self.folder, mqtt__host="127.0.0.1", mqtt__port=cable.port, mqtt__reconnect_max_s=0.5,
            mqtt__redelivery_s=60, streams=rule, models=self.folder / "models", state__checkpoint_s=1.0,
            feed__queue=1000,
        )  # fmt: skip
        faults = Faults(self.folder, daemon, broker, cable, self.rng)
        tasks: list[asyncio.Task[object]] = []
        try:
            daemon.start()
            await self._connected(daemon)
            work = (
                over_mqtt(self.fleets["mqtt"], broker.port),
                over_zeromq(self.fleets["reliable"], daemon.reliable),
                over_zeromq(self.fleets["pub"], daemon.samples),
                self._listen(daemon),
            )
            tasks = [asyncio.create_task(one) for one in work]
            await self._drive(daemon, faults)
            ledgers = await self._settled(daemon)
            self.memory["end"] = memory_mib(daemon) if daemon.process.poll() is None else 0.0
            for task in tasks:
                if task.done():
                    self.broken.append(f"a sender ended: {task.exception()!r}")
                task.cancel()
            self._expect(await asyncio.to_thread(daemon.stop) == 0, "the daemon did not end with 0")
            return self._report(daemon, faults, ledgers)
        finally:
            faults.close()
            daemon.kill()
            faults.broker.process.kill()
            faults.broker.process.wait()
            await cable.cut()

    async def _connected(self, daemon: Process):
        async with asyncio.timeout(30):
            while "mqtt: connected" not in daemon.text():  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def _drive(self, daemon: Process, faults: Faults):
        """Blocks in real time; a fault every few seconds, in the last third none that ends the daemon."""
        began = time.monotonic()
        breaking = asyncio.create_task(self._break(daemon, faults, began))
        tick = 0
        while (now_s := time.monotonic() - began) < self.seconds:
            for fleet in self.fleets.values():
                fleet.make()
            self.behind_s = max(self.behind_s, now_s - tick * BLOCK / RATE_HZ)
            tick += 1
            await asyncio.sleep(max(tick * BLOCK / RATE_HZ - (time.monotonic() - began), 0))
            if breaking.done() or daemon.process.poll() is not None:
                await asyncio.sleep(1)
                self._expect(not breaking.done(), "a fault could not be made")
                if daemon.process.poll() is not None:
                    self.broken.append("the daemon ended by itself")
                    break
        breaking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await breaking

    async def _break(self, daemon: Process, faults: Faults, began: float):
        pause_s = (1.0, 2.5) if self.seconds < 120 else (2.0, 8.0)
        while True:
            await asyncio.sleep(self.rng.uniform(*pause_s))
            share = (time.monotonic() - began) / self.seconds
            if share > 0.75 and "start" not in self.memory:
                self.memory["start"] = memory_mib(daemon)
            first = ("kill_daemon", "kill_broker", "new_model")[faults.done.total() :][:1]
            await faults.one(harmless=share > 2 / 3, kind=first[0] if first else "")

    async def _listen(self, daemon: Process):
        """Every alarm that the feed tells of."""
        feed = Socket(zmq.SUB, connect=f"ipc://{self.folder}/feed")
        feed.subscribe(b"all/")
        try:
            while True:
                for topic, payload in await feed.receive():
                    if topic.endswith(b"/events"):
                        with contextlib.suppress(SchemaError):
                            event = decode_event(payload)
                            if isinstance(event, Alarm):
                                self.heard.add(event.id)
        finally:
            feed.close()

    async def _settled(self, daemon: Process) -> dict[str, object]:
        """The ledgers, once everything that was sent is received or given up."""
        deadline = time.monotonic() + SETTLE_S
        ledgers: dict[str, object] = {}
        while time.monotonic() < deadline:
            with contextlib.suppress(Unreachable):
                ledgers = {name: state.ledger for name, state in (await daemon.states()).items()}
                safe = {**self.fleets["mqtt"].sent, **self.fleets["reliable"].sent}
                if all(n in ledgers and ledgers[n].received >= sent for n, sent in safe.items()):
                    break
            await asyncio.sleep(0.5)
        return ledgers

    def _expect(self, holds: bool, promise: str):
        if not holds:
            self.broken.append(promise)

    def _report(self, daemon: Process, faults: Faults, ledgers) -> dict[str, object]:
        rows: dict[str, object] = {
            "load": f"{sum(len(f.sent) for f in self.fleets.values())} streams for {self.seconds:.0f} s, "
            f"{sum(sum(f.sent.values()) for f in self.fleets.values()) / self.seconds:.0f} samples/s; "
            f"the sender was never more than {max(self.behind_s, 0):.1f} s late",
            "faults survived": f"{faults.done.total()}: "
            + ", ".join(f"{n} {k}" for k, n in faults.done.most_common()),
            "bad inputs tried": faults.bad_inputs,
        }
        for way, fleet in self.fleets.items():
            books = [ledgers.get(name) for name in fleet.sent]
            self._expect(all(books), f"{way}: a stream is unknown to the daemon")
            known = [ledger for ledger in books if ledger]
            total = {f: sum(getattr(b, f) for b in known) for f in ("received", "missing", "duplicated", "late")}
            sent = sum(fleet.sent.values())
            rows[f"samples over {NAMES[way]}"] = (
                f"sent {sent}, received {total['received']}, missing {total['missing']}, "
                f"duplicated {total['duplicated']}, late {total['late']}"
            )
            if way == "pub":
                wrong = [
                    n
                    for n, b in zip(fleet.sent, books, strict=True)
                    if b and b.received + b.missing > fleet.sent[n]
                ]
                self._expect(not wrong, f"pub: more in the books than was sent: {wrong[:3]}")
                self._expect(total["received"] > 0.3 * sent, "pub: most was lost")
            else:
                self._expect(total["received"] == sent, f"{way}: {sent - total['received']} samples are not there")
                self._expect(total["missing"] == 0, f"{way}: {total['missing']} samples missing")
        check_database(daemon.db)
        db = sqlite3.connect(daemon.db)
        logged = {row[0] for row in db.execute("SELECT id FROM alarm")}
        db.close()
        rows["alarms"] = (
            f"{len(logged)} raised, {len(self.heard - logged)} of {len(self.heard)} that were told lost"
        )
        self._expect(
            not self.heard - logged, f"{len(self.heard - logged)} alarms were told and are not in the log"
        )
        self._expect(bool(logged), "no alarm was raised at all")
        start, end = self.memory.get("start", 0.0), self.memory["end"]
        rows["memory of the daemon"] = f"{start:.0f} MiB after 75 %, {end:.0f} MiB at the end"
        self._expect(not start or end < 1.1 * start + 5, f"memory grew from {start:.0f} to {end:.0f} MiB")
        rows["alarm log"] = f"{daemon.db.stat().st_size / 2**20:.1f} MiB, integrity ok"
        self._expect("Traceback" not in daemon.text(), "a traceback in the log")
        rows["promises broken"] = "; ".join(self.broken) or "none"
        return rows


NAMES = {"mqtt": "MQTT, QoS 1", "reliable": "reliable ZeroMQ", "pub": "ZeroMQ PUB/SUB"}


def memory_mib(daemon: Process) -> float:
    status = Path(f"/proc/{daemon.process.pid}/status")
    if not status.exists():
        return 0.0
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def main() -> int:
    """Run and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        soak = Soak(Path(folder), given.minutes * 60, given.streams, given.seed)
        rows = asyncio.run(soak.run())
        if soak.broken:
            sys.stderr.write((Path(folder) / "daemon.log").read_text()[-20_000:])
    sys.stdout.write("| | |\n|---|---|\n" + "".join(f"| {name} | {value} |\n" for name, value in rows.items()))
    return 1 if soak.broken else 0


if __name__ == "__main__":
    sys.exit(main())
