"""What several tests need: a card, a broker, a daemon of their own."""

from __future__ import annotations

import asyncio
import gc
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import msgspec
import numpy as np
import pytest

from monitor.config import Config
from monitor.core.card import Card, KnownAnswer, Source, Tensor
from monitor.reload import load_models
from tests.daemons import STREAMS

# How fast an example is drawn or run says something of the machine, not of the code.
hypothesis.settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("untimed")


def build_card(task: str = "forecast", **changes: object) -> Card:
    given: dict[str, object] = {
        "name": "tiny", "version": "1", "task": task, "cell": "gru", "layers": 1, "hidden": 4, "parameters": 100,
        "rate_hz": 50.0, "window": 10, "hop": 5, "horizon": 10 if task == "forecast" else 0,
        "classes": () if task == "forecast" else ("quiet", "spike"),
        "thresholds": {} if task == "forecast" else {"spike": 0.9},
        "source": Source(name="simulated"), "seed": 0, "made": "2026-01-01", "code": "0",
        "known_answer": KnownAnswer(Tensor.of(np.zeros((1, 10, 1), np.float32)), {}),
    }  # fmt: skip
    return Card(**{**given, **changes})


@pytest.fixture(scope="session")
def make_card():
    """Makes a card with whatever the test wants to be different."""
    return build_card


@pytest.fixture(scope="module")
def models():
    """Those of the noisy sine, which tests.daemons.settings names."""
    return load_models(msgspec.convert({"streams": [STREAMS]}, Config))


@dataclass(frozen=True)
class Broker:
    """A real MQTT broker: the NATS server with its MQTT listener."""

    port: int
    process: subprocess.Popen[bytes]


@pytest.fixture
def cut_connections(caplog):
    """For tests that break connections on purpose: what lies broken is collected here and not in a later test.

    paho leaves a socket whose TLS handshake failed to the garbage collector, and asyncio a connection whose
    peer was killed; the logged exception holds it until then. Those who ask for this ignore such warnings.
    """
    yield
    caplog.get_records("call").clear()
    gc.collect()


@pytest.fixture
def broker(tmp_path):
    """A broker on a free port of the loopback, stopped by its process id."""
    running = start_broker(tmp_path, free_port())
    yield running
    running.process.kill()
    running.process.wait()


def start_broker(folder: Path, port: int, extra: str = "") -> Broker:
    binary = Path(sys.executable).parent / "nats-server"
    settings = folder / "broker.conf"
    settings.write_text(
        f"server_name: test\nhost: 127.0.0.1\nport: {free_port()}\n"
        f'jetstream {{ store_dir: "{folder}/store" }}\n'
        f'mqtt {{ host: 127.0.0.1, port: {port}, ack_wait: "2s"{extra} }}\n'
    )
    with (folder / "broker.log").open("ab") as log:
        process = subprocess.Popen([binary, "-c", settings], stdout=log, stderr=log)
    wait_until(lambda: _accepts(port), f"the broker on port {port}")
    return Broker(port, process)


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until(condition: Callable[[], object], what: str, seconds: float = 60.0) -> None:
    """Poll until `condition` holds; fail with `what` when it does not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {seconds:g} s for {what}")
        time.sleep(0.01)


async def eventually(condition: Callable[[], object], what: str, seconds: float = 60.0) -> None:
    """The same, leaving the event loop to others in the meantime."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {seconds:g} s for {what}")
        await asyncio.sleep(0.01)


def pytest_addoption(parser):
    parser.addoption("--update-golden", action="store_true", help="Rewrite sample_streams/expected.")
