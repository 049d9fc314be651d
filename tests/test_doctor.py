"""`monitor doctor` on machines with something wrong, one thing at a time."""

from __future__ import annotations

import fcntl
import json
import os
import re
import socket
import struct
import subprocess
import sys
import termios
import tomllib

import pytest

from monitor import checkup
from monitor.config import Config, Mqtt
from monitor.configfile import load_config
from monitor.inference import find_models
from tests.conftest import free_port
from tests.documents import ROOT, daemon, surroundings

DOCTOR = [sys.executable, "-m", "monitor", "doctor"]


@pytest.fixture
def environment(tmp_path):
    return surroundings(tmp_path)


def ask(command, environment):
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def examine(environment, *flags, expect=0, **changes):
    """What the doctor finds, by what was looked at."""
    changed = {**environment, **{f"MONITOR_{key}": value for key, value in changes.items()}}
    done = ask([*DOCTOR, "--json", *flags], changed)
    assert done.returncode == expect, done.stdout + done.stderr
    return {finding["what"]: finding for finding in json.loads(done.stdout)}


def test_a_machine_that_is_fine(environment):
    found = examine(environment)
    assert {"python", "packages", "terminal", "models", "daemon", "disk", "open files", "clock"} <= set(found)
    assert {"zeromq.listen", "zeromq.listen_reliable", "feed.publish", "feed.control"} <= set(found)
    assert "known answers hold" in found["models"]["found"]
    assert all(finding["do"] for finding in found.values() if finding["verdict"] != "fine")


def test_every_extra_is_looked_at_and_has_a_purpose():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(project["optional-dependencies"]) <= set(checkup.PURPOSES)
    found = {finding.what for finding in checkup.packages()}
    installed = {what.removeprefix("extra ") for what in found if what.startswith("extra ")}
    assert {"dashboard", "demo", "train"} <= installed <= set(checkup.PURPOSES)


def test_for_people_it_says_what_to_do(environment):
    done = ask(DOCTOR, {**environment, "COLUMNS": "70"})
    assert "-> `monitor run` starts one" in done.stdout
    (packages,) = re.findall(r"packages .*?\n(?=fine|note|bad)", done.stdout, re.DOTALL)
    assert packages.count("\n") > 1, "long lines are broken"
    assert max(map(len, packages.splitlines())) <= 70


def test_a_port_that_is_taken(environment):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        found = examine(environment, expect=1, ZEROMQ__LISTEN=address)
    assert found["zeromq.listen"]["verdict"] == "bad"
    assert "--set zeromq.listen=" in found["zeromq.listen"]["do"]


def test_a_socket_whose_path_is_too_long(tmp_path):
    config = load_config(None, {}, [("feed.control", f"ipc://{tmp_path}/{'x' * 120}")])[0]
    (finding,) = (finding for finding in checkup.sockets(config) if finding.what == "feed.control")
    assert finding.verdict == "bad"
    assert "107 bytes" in finding.found


def test_a_running_daemon_is_found_and_left_alone(environment):
    with daemon(environment):
        found = examine(environment)
        assert found["daemon"]["verdict"] == "fine"
        assert "feed.publish" not in found
        assert examine(environment)["daemon"]["verdict"] == "fine"  # still


def test_a_model_that_was_changed(tmp_path):
    content = bytearray(find_models(None)["sine-spikes"].read_bytes())
    content[-40] ^= 0xFF
    (tmp_path / "mine.onnx").write_bytes(content)
    bad, fine = checkup.models(load_config(None, {}, [("models", str(tmp_path))])[0])
    assert (bad.what, bad.verdict) == ("model mine", "bad")
    assert "sine-spikes" in fine.found


def test_a_model_that_nobody_has(tmp_path):
    settings = tmp_path / "m.toml"
    settings.write_text('[[streams]]\nname = "a"\nmodels = ["nowhere"]\n')
    *_, finding = checkup.models(load_config(settings, {})[0])
    assert finding.verdict == "bad"
    assert "nowhere" in finding.found


def test_a_folder_that_is_not_there(tmp_path):
    (finding,) = checkup.disk(load_config(None, {}, [("alarm_log.path", str(tmp_path / "no" / "log.db"))])[0])
    assert finding.verdict == "bad"
    assert "alarm_log.path" in finding.do


@pytest.mark.broker
async def test_a_broker_that_is_there_and_one_that_is_not(broker):
    assert (await checkup.broker(Mqtt(host="127.0.0.1", port=broker.port), "m")).verdict == "fine"
    finding = await checkup.broker(Mqtt(host="127.0.0.1", port=free_port()), "m")
    assert finding.verdict == "bad"
    assert "mqtt.host" in finding.do


def test_a_wrong_configuration_is_wrong_usage(environment):
    done = ask([*DOCTOR, "--set", "zeromq.port=1"], environment)
    assert done.returncode == 2
    assert "zeromq" in done.stderr


@pytest.mark.parametrize(
    ("size", "changes", "verdict", "said"),
    [
        ((100, 30), {"TERM": "xterm-256color"}, "fine", "100x30, 256 colours"),
        ((60, 20), {"TERM": "xterm-256color"}, "note", "80x24 or larger"),
        ((100, 30), {"TERM": "vt220", "NO_COLOR": "1"}, "note", "no colour"),
        ((100, 30), {"TERM": "xterm", "COLORTERM": "truecolor", "PYTHONIOENCODING": "ascii"}, "note", "UTF-8"),
    ],
)
def test_a_terminal(size, changes, verdict, said):
    code = (
        "import os, sys; from monitor.checkup import terminal; (f,) = terminal(os.environ);"
        "sys.stderr.write('|'.join((f.verdict, f.found, f.do)))"
    )
    kept = {"PATH": os.environ["PATH"], "PYTHONUTF8": "1", **changes}
    master, slave = os.openpty()
    try:
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", size[1], size[0], 0, 0))
        command = [sys.executable, "-c", code]
        streams = {"stdin": slave, "stdout": slave, "stderr": subprocess.PIPE}
        done = subprocess.run(command, env=kept, text=True, check=False, **streams)
    finally:
        os.close(master)
        os.close(slave)
    assert done.stderr.startswith(verdict), done.stderr
    assert said in done.stderr


def test_a_package_that_cannot_be_loaded_is_bad_and_the_rest_is_left_out(monkeypatch):
    monkeypatch.setitem(checkup.NEEDED, "onnxruntime", "no_such_module")
    found = checkup.examine(Config(), {}, None)
    assert found[-1].what == "terminal"
    (packages,) = (finding for finding in found if finding.what == "packages")
    assert packages.verdict == "bad"
    assert "no_such_module" in packages.found


def test_the_clock(monkeypatch):
    monkeypatch.setattr(checkup.time, "gmtime", lambda: __import__("datetime").datetime(1970, 1, 1).utctimetuple())
    (finding,) = checkup.clock()
    assert finding.verdict == "bad"
    for kept, verdict in ((True, "fine"), (False, "note"), (None, "fine")):
        monkeypatch.undo()
        monkeypatch.setattr(checkup, "_is_kept_right", lambda kept=kept: kept)
        (finding,) = checkup.clock()
        assert finding.verdict == verdict
