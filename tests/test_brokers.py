"""docs/brokers.md: its mosquitto is killed, its settings are ones, its command is run in test_brokerbox.py."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import tomllib

import msgspec
import pytest

from monitor.config import Config, Mqtt
from monitor.natsserver import free_port
from monitor.outlets import open_outlet
from monitor.senders import send
from tests.conftest import _accepts, wait_until
from tests.daemons import sine
from tests.documents import ROOT, blocks, commands
from tests.processes import Process

pytestmark = [pytest.mark.broker, pytest.mark.xdist_group("broker")]

PAGE = (ROOT / "docs" / "brokers.md").read_text()


@pytest.fixture
def mosquitto(tmp_path):
    """The page's settings on a port, with a password and a folder of its own; starts it as often as asked."""
    binary = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if binary is None:
        pytest.skip("mosquitto is not installed (apt-get install mosquitto): its settings are not tried")
    port, (settings,) = free_port(), blocks("conf", PAGE)
    (tmp_path / "kept").mkdir()
    own = {
        "listener 1883": f"listener {port} 127.0.0.1",
        "/etc/mosquitto/passwords": f"{tmp_path}/passwords",
        "/var/lib/mosquitto/": f"{tmp_path}/kept/",
    }
    for theirs, ours in own.items():
        assert theirs in settings
        settings = settings.replace(theirs, ours)
    subprocess.run(["mosquitto_passwd", "-b", "-c", tmp_path / "passwords", "monitor", "secret"], check=True)
    (tmp_path / "mosquitto.conf").write_text(settings + ("user root\n" if os.geteuid() == 0 else ""))
    running = []

    def start():
        with (tmp_path / "mosquitto.log").open("ab") as log:
            running.append(subprocess.Popen([binary, "-c", tmp_path / "mosquitto.conf"], stdout=log, stderr=log))
        wait_until(lambda: _accepts(port), "mosquitto")
        return running[-1]

    yield start, port
    for process in running:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_mosquitto_as_the_page_says_keeps_what_it_has_acknowledged_over_its_own_kill(tmp_path, mosquitto):
    start, port = mosquitto
    (tmp_path / "password").write_text("secret\n")
    mqtt = {"mqtt__host": "127.0.0.1", "mqtt__port": port, "mqtt__username": "monitor"}
    broker = start()
    with Process(tmp_path, **mqtt, mqtt__password_file=tmp_path / "password", mqtt__reconnect_max_s=0.5) as daemon:
        wait_until(lambda: "mqtt: connected" in daemon.text(), "the subscription")
        daemon.kill()

        async def publish():
            settings = Mqtt(username="monitor", password="secret")
            async with open_outlet(f"mqtt://127.0.0.1:{port}", "signals", mqtt=settings) as outlet:
                await send(sine(samples=2000), outlet, speed=0)

        asyncio.run(publish())
        broker.send_signal(signal.SIGKILL)
        broker.wait()
        start()
        daemon.start()
        wait_until(lambda: "sine/1" in daemon.ledgers(), "the first block")
        wait_until(lambda: daemon.ledgers()["sine/1"].received == 2000, "what it kept")
        assert daemon.ledgers()["sine/1"].missing == 0
        assert daemon.stop() == 0


def test_the_daemons_settings_are_ones():
    (settings,) = blocks("toml", PAGE)
    assert msgspec.convert(tomllib.loads(settings), Config).mqtt.tls


def test_its_one_command_is_run_by_a_test():
    assert commands(PAGE) == ["monitor run --broker"]
    assert '"--broker"' in (ROOT / "tests" / "test_brokerbox.py").read_text()
