"""deploy/cluster/: read by those who will read it."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from monitor.config import load_config
from monitor.natsserver import find_server

pytestmark = pytest.mark.broker

FOLDER = Path(__file__).parents[2] / "deploy" / "cluster"


@pytest.mark.parametrize("name", ["a", "b"])
def test_the_server_takes_the_configuration(name, tmp_path):
    environment = {
        **os.environ,
        "NODE": name,
        "STORE": str(tmp_path),
        "ROUTES": '["nats://b:6222", "nats://c:6222"]',
        "WORKER_PASSWORD": "w",
        "DEVICE_PASSWORD": "d",
    }
    command = [find_server(), "-t", "-c", FOLDER / "node.conf"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "is valid" in done.stderr


def test_the_monitors_configuration_is_one_and_fits_the_servers():
    config, _ = load_config(FOLDER / "monitor.toml", {})
    assert config.cluster.replicas == 3
    assert [mqtt.port for mqtt, _ in zip(config.mqtt.listeners(), range(3), strict=False)] == [1883] * 3
    said = (FOLDER / "node.conf").read_text()
    assert str(4 * 2**20 + 64 * 2**10) in said


def test_the_unit_starts_a_worker():
    unit = (FOLDER / "monitor-worker@.service").read_text()
    (command,) = re.findall(r"^ExecStart=\S+ (\w+)", unit, re.MULTILINE)
    assert command == "worker"
