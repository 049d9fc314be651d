"""The README's commands are run as they stand there, against a daemon started as it says."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from monitor.control import Client, GetStatus, Overview
from tests.conftest import wait_until

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
README = (ROOT / "README.md").read_text()
SAMPLES_README = (ROOT / "sample_streams" / "README.md").read_text()


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


COMMANDS = [line for text in (README, SAMPLES_README) for b in blocks("sh", text) for line in b.splitlines()]
DAEMON = "monitor run --config deploy/monitor.toml"
ELSEWHERE = {
    "make demo": "test_make_demo_in_a_pipe",
    "make test": "this very run",
    DAEMON: "the fixture below",
}
TRAINING = [line for line in COMMANDS if line.startswith("training ")]
PLAIN = [line for line in COMMANDS if line not in ELSEWHERE and line not in TRAINING]


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """The README's daemon, its addresses moved so that tests may run side by side."""
    folder = tmp_path_factory.mktemp("readme")
    own = {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "MONITOR_ZEROMQ__LISTEN": f"ipc://{folder}/samples",
        "MONITOR_ZEROMQ__LISTEN_RELIABLE": f"ipc://{folder}/reliable",
        "MONITOR_FEED__PUBLISH": f"ipc://{folder}/feed",
        "MONITOR_FEED__CONTROL": f"ipc://{folder}/control",
        "MONITOR_ALARM_LOG__PATH": f"{folder}/log.db",
    }
    environment = {**os.environ, **own}
    assert DAEMON in COMMANDS
    daemon = subprocess.Popen(DAEMON.split(), cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    wait_until(lambda: run("monitor alarms", environment).returncode == 0, "the README's daemon")
    yield environment
    daemon.terminate()
    assert daemon.wait(10) == 0


def run(command: str, environment: dict[str, str], seconds: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        shell=True,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def test_every_command_is_one_that_a_test_runs():
    assert COMMANDS[0] == "make demo"
    assert {line.split()[0] for line in PLAIN} == {"monitor"}
    assert set(ELSEWHERE) <= set(COMMANDS)


@pytest.mark.parametrize("command", PLAIN)
def test_a_command_of_the_readme_runs(command, environment):
    done = run(command, environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize(("which", "stream"), [(0, "sine/mine"), (1, "sine/sure")])
def test_the_ten_line_senders_are_heard(environment, which, stream):
    script = blocks("python")[which]
    for port, variable in (("5555", "MONITOR_ZEROMQ__LISTEN"), ("5558", "MONITOR_ZEROMQ__LISTEN_RELIABLE")):
        script = script.replace(f"tcp://127.0.0.1:{port}", environment[variable])
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30)

    async def ask():
        async with Client(environment["MONITOR_FEED__CONTROL"]) as client:
            return await client.ask(GetStatus(), Overview)

    def heard():
        states = {state.stream: state for state in asyncio.run(ask()).streams}
        return stream in states and states[stream].ledger.received == 1000

    wait_until(heard, "the sender's samples")


def test_the_json_example_is_a_block():
    from monitor.core.wire import decode_block

    (example,) = blocks("json")
    block = decode_block(example.encode(), "ecg/1")
    assert block.values.shape == (4, 1)
    assert (block.seq, block.rate_hz, block.channels) == (7200, 360, ("MLII",))


def test_make_demo_in_a_pipe(tmp_path):
    """On the environment that runs this test, taken as installed."""
    stamps = [part for name in (".demo", ".dev") for part in ("-o", f"{sys.prefix}/{name}")]
    done = subprocess.run(
        ["make", "--silent", "demo", f"VENV={sys.prefix}", "DEMO=--for 4", *stamps],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert '"missing": 0' in done.stdout.splitlines()[-1]


def test_make_test_runs_the_checks_and_the_tests():
    done = subprocess.run(["make", "--dry-run", "test"], cwd=ROOT, capture_output=True, text=True, check=True)
    for tool in ("ruff check", "mypy", "lint-imports", "pytest"):
        assert tool in done.stdout


@pytest.mark.parametrize("command", TRAINING)
def test_a_training_command_of_the_readme_is_understood(command, tmp_path, environment):
    """Trainings take minutes and need data: here only that every word of the command is one."""
    words = command.split()
    shown = run(f"training {words[1]} --help", environment).stdout
    for word in words[2:]:
        if word.startswith("-"):
            assert word in shown
        elif word.startswith("training/"):
            assert (ROOT / word).is_file()
