"""The bridge from MQTT: a real broker, the cluster's own, and kills."""

from __future__ import annotations

import asyncio
import functools
import json
import subprocess
import sys

import pytest

from monitor.cluster.bridge import Bridge, _bridge, place_of
from monitor.cluster.jetstream import connected
from monitor.cluster.layout import make_streams
from monitor.core.wire import decode_block, encode_block
from monitor.outlets import open_outlet
from monitor.senders import send
from monitor.sources import Delivery, Message
from tests.cluster.conftest import cluster_config, nodes
from tests.cluster.signals import blocks

pytestmark = [pytest.mark.broker, pytest.mark.xdist_group("cluster")]


async def held(js, stream):
    """(run, seq) of the blocks of a stream, as the cluster holds them."""
    found = await js.read_some("SAMPLES", f"samples.*.{stream}", {"seq": 1}, batch=5000)
    return [(block.run, block.seq) for block in (decode_block(one.data, stream) for one in found)]


@pytest.mark.slow
async def test_what_the_broker_has_acknowledged_arrives_once_and_in_order_although_the_bridge_is_killed(tmp_path):
    async with nodes(1, tmp_path) as made:
        config = cluster_config(made)
        port = made[0].mqtt
        servers = f'cluster.servers=["{made[0].url}"]'
        command = [
            sys.executable, "-m", "monitor", "cluster", "bridge", "--set", servers,
            "--set", "mqtt.host=127.0.0.1", "--set", f"mqtt.port={port}", "--set", "mqtt.reconnect_max_s=0.5",
            "--set", "mqtt.redelivery_s=60",
        ]  # fmt: skip
        log = tmp_path / "bridge.log"

        def start():
            with log.open("ab") as said:
                return subprocess.Popen(command, stderr=said)

        async with connected(config.cluster, "test") as js:
            await make_streams(js, config.cluster)
            bridge = start()
            try:
                await until(lambda: "mqtt: connected" in log.read_text())

                async def device(n):
                    async with open_outlet(f"mqtt://127.0.0.1:{port}", "signals") as outlet:
                        await send(blocks(f"sine/{n}", 60.0), outlet, speed=0)

                sending = asyncio.gather(*(device(n) for n in range(3)))
                for _ in range(2):
                    before = (await js.call("STREAM.INFO.SAMPLES"))["state"]["messages"]
                    while (await js.call("STREAM.INFO.SAMPLES"))["state"]["messages"] < before + 60:  # noqa: ASYNC110
                        await asyncio.sleep(0.01)
                    bridge.kill()
                    bridge.wait()
                    bridge = start()
                await sending
                async with asyncio.timeout(90):
                    while (await js.call("STREAM.INFO.SAMPLES"))["state"]["messages"] < 900:  # noqa: ASYNC110
                        await asyncio.sleep(0.05)
                for n in range(3):
                    found = await held(js, f"sine/{n}")
                    assert [seq for _, seq in found] == list(range(0, 3000, 10))
                bridge.terminate()
                assert bridge.wait(10) == 0
            finally:
                bridge.kill()
                bridge.wait()


async def until(condition, seconds=60):
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_what_comes_again_is_stored_once_and_what_cannot_be_stored_is_counted(tmp_path):
    async with nodes(1, tmp_path) as made:
        config = cluster_config(made)
        async with connected(config.cluster, "test") as js:
            await make_streams(js, config.cluster)
            bridge = Bridge(js)
            numbered = json.dumps({"seq": 0, "values": [1, 2]}).encode()
            plain = b'{"values": [1, 2]}'
            await bridge.store([Message(numbered, "sine/1"), Message(plain, "sine/1")] * 2)
            await bridge.store(
                [Message(b"x" * 5_000_000, "sine/1"), Message(plain, "not a name"), Message(plain, "")]
            )
            found = await js.read_some("SAMPLES", "samples.*.sine/1", {"seq": 1})
            # Who does not number blocks sends the same values twice, for all that one can tell.
            assert [one.data for one in found] == [numbered, plain, plain]
            assert (bridge.stored, bridge.refused) == (3, 3)
            again = Bridge(js)  # the next one knows what the cluster holds
            await again.store([Message(numbered, "sine/1")])
            assert again.stored == 0


async def test_what_comes_before_its_time_waits_for_what_lies_before_it(tmp_path):
    """A new bridge knows from the cluster what is next; what never comes is waited for, and given up."""
    sent = [Message(encode_block(block), "sine/1") for block in blocks("sine/1", 4.0)]
    async with nodes(1, tmp_path) as made:
        config = cluster_config(made)
        async with connected(config.cluster, "test") as js:
            await make_streams(js, config.cluster)
            await Bridge(js).store(sent[:4])
            bridge = Bridge(js)
            early = [asyncio.create_task(bridge.store([message], 20.0)) for message in (sent[7], sent[6])]
            await asyncio.sleep(0)
            await bridge.store([*sent[8:10], *sent[3:6]], 20.0)
            await asyncio.gather(*early)
            await bridge.store([sent[12], sent[11], sent[13]], 0.1)  # the tenth is lost
            assert [seq // 10 for _, seq in await held(js, "sine/1")] == [*range(10), 11, 12, 13]


def test_who_does_not_number_blocks_has_no_place_for_them():
    assert place_of("a/b", b'{"values": [1, 2], "seq": 4, "run": "x"}') == ("x", 4, 6)
    assert place_of("a/b", b'{"values": [1]}') is place_of("a/b", b"rubbish") is place_of("a/b", b"") is None


class Broker:
    """A source whose deliveries are known before."""

    name = "test"

    def __init__(self, deliveries):
        self._deliveries = deliveries

    async def deliveries(self):
        for delivery in self._deliveries:
            yield delivery


async def test_a_hole_in_one_stream_holds_up_no_other(tmp_path):
    async with nodes(1, tmp_path) as made:
        config = cluster_config(made)
        async with connected(config.cluster, "test") as js:
            await make_streams(js, config.cluster)
            holed, whole = ([encode_block(b) for b in blocks(f"sine/{n}", 30.0)] for n in (1, 2))
            del holed[1]
            acknowledged = []
            deliveries = [
                Delivery([Message(payload, stream)], functools.partial(acknowledged.append, stream), 3600.0)
                for stream, payloads in (("sine/1", holed), ("sine/2", whole))
                for payload in payloads
            ]
            bridging = asyncio.create_task(_bridge(Broker(deliveries), Bridge(js)))
            await until(lambda: acknowledged.count("sine/2") == len(whole))
            assert acknowledged.count("sine/1") == 1
            bridging.cancel()
            await asyncio.wait({bridging})
