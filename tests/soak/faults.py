"""What goes wrong in the soak, each for real."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import shutil
import signal
from collections import Counter
from pathlib import Path

import aiomqtt
import onnx
import zmq

from monitor.core.card import CARD_KEY
from monitor.core.wire import encode_block
from monitor.inference import find_models
from monitor.sockets import Socket
from tests.cable import Cable
from tests.conftest import start_broker
from tests.daemons import sine
from tests.processes import Process, check_database

MODEL = "sine-spikes"


class Faults:
    """Makes one thing go wrong at a time, and sees to it that it ends."""

    def __init__(self, folder: Path, daemon: Process, broker, cable: Cable, rng: random.Random):
        self.folder, self.daemon, self.broker, self.cable, self.rng = folder, daemon, broker, cable, rng
        self.done: Counter[str] = Counter()
        self.bad_inputs = 0
        self.version = 1
        self.models = folder / "models"
        self._stuck: list[Socket] = []

    @staticmethod
    def place_model(folder: Path) -> None:
        folder.mkdir()
        shutil.copy(find_models(None)[MODEL], folder / f"{MODEL}.onnx")

    async def one(self, *, harmless: bool, kind: str = ""):
        """Something, or the kind that is named; with `harmless` nothing that ends the daemon."""
        kinds = [self.kill_broker, self.cut_network, self.hang_up, self.new_model, self.bad_model,
                 self.bad_messages, self.stuck_client]  # fmt: skip
        deadly = [] if harmless else [self.kill_daemon, self.kill_daemon, self.stop_daemon]
        happens = getattr(self, kind) if kind else self.rng.choice([*kinds, *deadly])
        await happens()
        self.done[happens.__name__.replace("_", " ")] += 1

    async def kill_daemon(self):
        await asyncio.to_thread(self.daemon.kill)
        await asyncio.to_thread(check_database, self.daemon.db)
        self.daemon.start(wait=False)

    async def stop_daemon(self):
        assert await asyncio.to_thread(self.daemon.stop) == 0
        self.daemon.start(wait=False)

    async def kill_broker(self):
        self.broker.process.kill()
        await asyncio.to_thread(self.broker.process.wait)
        await asyncio.sleep(self.rng.random())
        self.broker = await asyncio.to_thread(start_broker, self.folder, self.broker.port)

    async def cut_network(self):
        await self.cable.cut()
        await asyncio.sleep(self.rng.random())
        await self.cable.mend()

    async def hang_up(self):
        self.daemon.process.send_signal(signal.SIGHUP)

    async def new_model(self):
        self.version += 1
        model = onnx.load(find_models(None)[MODEL])
        for entry in model.metadata_props:
            if entry.key == CARD_KEY:
                entry.value = json.dumps({**json.loads(entry.value), "version": str(self.version)})
        part = self.models / "new.part"
        onnx.save(model, part)
        part.replace(self.models / f"{MODEL}.onnx")

    async def bad_model(self):
        """The old one goes on until it is put right; a daemon that starts meanwhile would refuse to."""
        good = find_models(None)[MODEL].read_bytes()
        cut = self.rng.randrange(len(good))
        (self.models / f"{MODEL}.onnx").write_bytes(good[:cut] + self.rng.randbytes(64))
        complaints = self.daemon.text().count("the old one goes on")
        async with asyncio.timeout(15):
            while self.daemon.text().count("the old one goes on") == complaints:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        await self.new_model()

    async def bad_messages(self):
        """Over both ways in that take anything from anybody."""
        good = encode_block(next(sine("sine/pub-0", samples=10)))
        bad = [
            (f"signals/{self.rng.choice(['sine/bad', 'unknown', 'a/b/c/d', ''])}/samples", payload)
            for payload in (
                self.rng.randbytes(self.rng.randrange(300)),
                good[: self.rng.randrange(len(good))],
                b'{"values": [1e999], "rate_hz": 50}',
                b'{"values": "x"}',
                b"[" * 1000,
                b"",
            )
        ]
        knocking = Socket(zmq.DEALER, connect=self.daemon.control)
        knocking.send(b"1", self.rng.randbytes(50))
        knocking.send(b"only one frame")
        sender = Socket(zmq.PUB, connect=self.daemon.samples)
        await asyncio.sleep(0.3)  # a PUB socket drops what it sends before it is connected
        for topic, payload in bad:
            sender.send(topic.encode(), payload)
        with contextlib.suppress(aiomqtt.MqttError):
            async with aiomqtt.Client("127.0.0.1", self.broker.port, timeout=3) as client:
                for topic, payload in bad:
                    if "//" not in topic:
                        await client.publish(topic, payload, qos=1)
        self.bad_inputs += 2 + 2 * len(bad)
        await asyncio.sleep(0.2)
        sender.close()
        knocking.close()

    async def stuck_client(self):
        stuck = Socket(zmq.SUB, connect=f"ipc://{self.folder}/feed", options={zmq.RCVHWM: 1})
        stuck.subscribe(b"")
        self._stuck.append(stuck)
        if len(self._stuck) > 3:
            self._stuck.pop(0).close()

    def close(self):
        for stuck in self._stuck:
            stuck.close()
