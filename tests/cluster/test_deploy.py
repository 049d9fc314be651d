"""deploy/cluster/: read by those who will read it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from monitor.cli import cli
from monitor.configfile import load_config
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


UNITS = {"monitor-worker@.service": "1", "monitor-cluster@.service": "serve"}


@pytest.mark.parametrize(("name", "instance"), UNITS.items())
def test_a_unit_starts_what_there_is_and_sets_what_there_is(name, instance):
    text = (FOLDER / name).read_text().replace("%i", instance).replace("%S", "/var/lib").replace("%d", "/run")
    (command,) = re.findall(r"^ExecStart=\S+/monitor (.+)", text, re.MULTILINE)
    words = command.split()
    shown = CliRunner().invoke(cli, [*words[: words.index("--config")], "--help"])
    assert shown.exit_code == 0
    assert all(word in shown.output for word in words if word.startswith("--"))
    environment = dict(re.findall(r"^Environment=(\w+)=(.*)", text, re.MULTILINE))
    config, _ = load_config(FOLDER / "monitor.toml", environment)
    assert config.cluster.password_file == "/run/worker-password"


@pytest.mark.parametrize("name", UNITS)
def test_systemd_finds_nothing_wrong_with_a_unit(name, tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed: the unit is read, not judged")
    text = re.sub(r"ExecStart=\S+", f"ExecStart={sys.executable}", (FOLDER / name).read_text())
    file = tmp_path / name.replace("@", "@1")
    file.write_text(re.sub(r"^Documentation=.*\n", "", text, flags=re.MULTILINE))
    command = ["systemd-analyze", "verify", "--man=no", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not [line for line in done.stderr.splitlines() if file.name in line]
