"""Dockerfile and compose.yaml, without docker: what they say is looked at, and what they would run is run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import yaml

from monitor.cli import cli
from monitor.configfile import load_config
from tests.conftest import free_port, wait_until
from tests.deploy.dockerfile import environment, stages
from tests.documents import ROOT

DEPLOY = ROOT / "deploy"
BUILD, IMAGE = stages(DEPLOY / "Dockerfile")
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
CONFIGS = (environment(IMAGE), SERVICES["monitor"]["environment"])


def settings() -> dict[str, str]:
    """What the daemon of compose.yaml finds in its environment."""
    return {key: value for some in CONFIGS for key, value in some.items() if key.startswith("MONITOR_")}


def copied(stage) -> list[str]:
    return [source for i in stage if i.word == "COPY" and "--from" not in i.rest for source in i.words[:-1]]


def test_the_image_is_built_from_what_is_there(tmp_path):
    """What is copied is enough to build from, and nothing that .dockerignore leaves out."""
    allowed = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    for source in copied(BUILD):
        assert f"!{source}" in allowed
        target = tmp_path / source
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(ROOT / source)
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=60)
    assert list((tmp_path / "dist").glob("*.whl"))


def test_the_image_is_small_and_nobody_is_root_in_it():
    words = [instruction.word for instruction in IMAGE]
    (user,) = [i.rest for i in IMAGE if i.word == "USER"]
    assert user.isdecimal()
    assert user != "0"
    assert words.index("USER") > max(i for i, word in enumerate(words) if word == "RUN")
    assert {"HEALTHCHECK", "VOLUME", "ENTRYPOINT", "CMD"} <= set(words)
    assert [i.rest for i in IMAGE if i.word == "COPY"] == ["--from=build /opt/foretrace /opt/foretrace"]
    assert all(stage[0].rest.startswith("python:3.13-slim") for stage in (BUILD, IMAGE))
    assert "ADD" not in words


def test_the_daemon_of_the_image_is_configured():
    config, _ = load_config(None, settings())
    assert config.mqtt.host == "broker"
    assert config.http.listen.endswith(":9464")
    assert config.alarm_log.path.startswith(next(i.rest for i in IMAGE if i.word == "VOLUME") + "/")
    (entry,), (default,) = ([i.words for i in IMAGE if i.word == word] for word in ("ENTRYPOINT", "CMD"))
    assert [*entry, *default] == ["monitor", "run"]


def test_what_compose_runs_exists_and_is_pinned():
    for name, service in SERVICES.items():
        assert service["image"] == "foretrace" or re.search(r":v?\d+\.\d+", service["image"]), name
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (DEPLOY / source).exists() if source.startswith(".") else source in COMPOSE["volumes"], volume
        for wanted in service.get("depends_on", {}):
            assert wanted in SERVICES
    context, file = (SERVICES["monitor"]["build"][key] for key in ("context", "dockerfile"))
    assert (DEPLOY / context / file).resolve() == DEPLOY / "Dockerfile"
    command = SERVICES["sender"]["command"]
    cli.get_command(None, command[0]).make_context(command[0], command[1:])


def test_compose_lets_nobody_in_and_gives_nothing_away():
    for name, service in SERVICES.items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert not {"privileged", "network_mode", "pid", "devices"} & set(service)
    assert {name for name, service in SERVICES.items() if "profiles" in service} == {"prometheus", "grafana"}


def test_what_is_mounted_lies_where_prometheus_and_grafana_look():
    mounts = dict(
        volume.split(":")[:2] for name in ("prometheus", "grafana") for volume in SERVICES[name]["volumes"]
    )
    assert mounts["./prometheus"] == "/etc/prometheus"
    provider = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/foretrace.yaml").read_text())
    path = provider["providers"][0]["options"]["path"]
    assert mounts["./grafana/dashboards"] == path
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (DEPLOY / "grafana/dashboards" / Path(home).relative_to(path)).is_file()
    prometheus = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
    targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in prometheus["scrape_configs"]}
    assert targets["foretrace"] == ["monitor:9464"]
    assert (DEPLOY / "prometheus" / prometheus["rule_files"][0]).is_file()


def succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def compose() -> list[str] | None:
    """How docker compose is called here."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) and succeeds(*command, "version"):
            return command
    return None


def test_docker_compose_understands_it(tmp_path):
    command = compose()
    if command is None:
        pytest.skip("docker compose is not installed: compose.yaml is looked at, not read by it")
    text = (DEPLOY / "compose.yaml").read_text()
    if command == ["docker-compose"]:  # the first one, which knows all of it but the project's name
        text = re.sub(r"^name: .*$", "", text, flags=re.MULTILINE)
    (tmp_path / "compose.yaml").write_text(text)
    flags = ["--project-directory", str(DEPLOY), "-f", str(tmp_path / "compose.yaml"), "--profile", "metrics"]
    done = subprocess.run([*command, *flags, "config", "--quiet"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def mosquitto(tmp_path):
    """A real mosquitto with the configuration of compose.yaml, on a free port."""
    binary = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
    if binary is None or shutil.which("mosquitto_sub") is None:
        pytest.skip("mosquitto and its clients are not installed: compose.yaml is not acted out")
    port, data = free_port(), tmp_path / "data"
    data.mkdir()
    text = (DEPLOY / "mosquitto.conf").read_text()
    assert "\nlistener 1883\n" in text
    text = text.replace("listener 1883", f"listener {port} 127.0.0.1").replace("/mosquitto/data", str(data))
    (tmp_path / "mosquitto.conf").write_text(text + ("user root\n" if os.geteuid() == 0 else ""))
    with (tmp_path / "mosquitto.log").open("wb") as log:
        process = subprocess.Popen([binary, "-c", tmp_path / "mosquitto.conf"], stdout=log, stderr=log)
    yield port, tmp_path / "mosquitto.log"
    process.terminate()
    process.wait(10)
    assert (data / "mosquitto.db").is_file(), "sessions are kept"


@pytest.mark.slow
@pytest.mark.broker
def test_compose_acted_out_without_containers(mosquitto, tmp_path):
    """Broker, daemon, sender and both health checks, as compose.yaml and the Dockerfile have them."""
    port, log = mosquitto
    test = SERVICES["broker"]["healthcheck"]["test"]
    assert test[0] == "CMD"
    check = [word.replace("$$", "$") for word in test[1:]]
    wait_until(lambda: succeeds(*check, "-p", str(port)), "the broker")
    assert "Error" not in log.read_text()

    http = free_port()
    env = {**os.environ, **settings(), "MONITOR_MQTT__HOST": "127.0.0.1", "MONITOR_MQTT__PORT": str(port)}
    env |= {"MONITOR_HTTP__LISTEN": f"127.0.0.1:{http}", "MONITOR_ALARM_LOG__PATH": f"{tmp_path}/log.db"}
    env |= {
        f"MONITOR_{k}": f"ipc://{tmp_path}/{k[-5:]}" for k in ("ZEROMQ__LISTEN", "FEED__PUBLISH", "FEED__CONTROL")
    }
    (health,) = [i.words for i in IMAGE if i.word == "HEALTHCHECK"]
    health = [word.replace("127.0.0.1:9464", f"127.0.0.1:{http}") for word in [sys.executable, *health[1:]]]
    assert not succeeds(*health)
    daemon = subprocess.Popen([sys.executable, "-m", "monitor", "run"], env=env, stderr=subprocess.PIPE)
    sender = None
    try:
        wait_until(lambda: succeeds(*health), "a healthy daemon")
        command = [
            word.replace("mqtt://broker", f"mqtt://127.0.0.1:{port}") for word in SERVICES["sender"]["command"]
        ]
        sender = subprocess.Popen([sys.executable, "-m", "monitor", *command], stdout=subprocess.PIPE)

        def received() -> float:
            with urllib.request.urlopen(f"http://127.0.0.1:{http}/metrics", timeout=5) as page:
                text = page.read().decode()
            found = re.search(r'foretrace_samples_received_total\{stream="ecg/demo"\} (\S+)', text)
            return float(found[1]) if found else 0.0

        wait_until(lambda: received() > 0, "samples")
    finally:
        if sender:
            sender.terminate()
            said, _ = sender.communicate(timeout=10)
            assert json.loads(said)["samples"] > 0
        daemon.terminate()
        _, errors = daemon.communicate(timeout=10)
    assert daemon.returncode == 0
    assert all(json.loads(line)["level"] == "info" for line in errors.splitlines())
