"""The command line as a user meets it: what is printed where, and the exit codes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
import zmq

from monitor.cli import VERBS
from monitor.control import Client, GetStatus, Overview
from tests.conftest import wait_until
from tests.terminals import on_a_terminal

ROOT = Path(__file__).parents[1]


def monitor(*arguments, cwd=None, **environment):
    return subprocess.run(
        [sys.executable, "-m", "monitor", *map(str, arguments)],
        capture_output=True, text=True, cwd=cwd, timeout=60, check=False, env={**os.environ, **environment},
    )  # fmt: skip


@pytest.fixture
def daemon(tmp_path):
    """A daemon process on the sample configuration, with sockets and log of its own."""
    flags = [f"zeromq.listen=ipc://{tmp_path}/s", f"feed.publish=ipc://{tmp_path}/f"]
    flags += [f"feed.control=ipc://{tmp_path}/c", f"alarm_log.path={tmp_path}/log.db"]
    with (tmp_path / "err").open("w") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "monitor", "run", "--config", ROOT / "deploy/monitor.toml",
             *(part for flag in flags for part in ("--set", flag))],
            stderr=err, cwd=tmp_path,
        )  # fmt: skip
    process.log = tmp_path / "err"
    process.at = f"ipc://{tmp_path}"
    wait_until(lambda: "listening" in process.log.read_text(), "the daemon")
    yield process
    if process.poll() is None:
        process.terminate()
        process.wait(10)


def test_every_verb_has_help():
    listed = monitor("--help")
    assert listed.returncode == 0
    for verb, (_, line) in VERBS.items():
        assert f"{verb} " in listed.stdout
        assert line.split(":")[0][:30] in " ".join(listed.stdout.split())
        assert "Usage: monitor " + verb in monitor(verb, "--help").stdout


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["dance"], 2, "No such command"),
        (["run", "--config", "none.toml"], 2, "none.toml: cannot be read"),
        (
            ["run", "--set", "mqtt.port=0"],
            2,
            "mqtt.port: expected a whole number, at least 1, got 0 (from flag mqtt.port=0)",
        ),
        (["check", "--set", "nonsense"], 2, "expected KEY=VALUE"),
        (["check", "--set", "zeromq.lisen=a"], 2, "zeromq.lisen: no such key; did you mean listen?"),
        (["alarms", "--control", "ipc:///nowhere/at/all"], 3, "no daemon answered"),
        (["reload", "--control", "ipc:///nowhere/at/all"], 3, "within 3 s"),
        (["replay", "none", "--to", "tcp://127.0.0.1:1"], 2, "none"),
        (["replay", "toy", "--to", "udp://x"], 2, "expected tcp://"),
        (["replay", "toy", "--from", "400"], 2, "toy is 300 s long, got 400"),
        (["simulate", "--stream", "a b"], 2, "expected one to three levels"),
        (["simulate", "--to", "mqtt://127.0.0.1:1"], 3, "does not answer"),
        (["simulate", "--to-csv", "none/x.csv"], 2, "none is not a folder that one may write into"),
        (
            ["replay", "toy", "--events", "none/x.jsonl", "--to", "tcp://127.0.0.1:1"],
            2,
            "--events': none/x.jsonl:",
        ),
        (["bench", "--json", "none/x.json"], 2, "'--json': none/x.json:"),
        (["models", "inspect", "none.onnx"], 2, "none.onnx: cannot be read"),
    ],
)
def test_what_is_wrong_is_one_clear_line_and_an_exit_code(arguments, code, says, tmp_path):
    done = monitor(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [["monitor", "alarms"], ["monitor", "cluster"], ["training"]])
def test_help_says_the_whole_of_what_a_command_is_for(words):
    done = subprocess.run(
        [sys.executable, "-m", *words, "--help"], capture_output=True, text=True, cwd=ROOT, timeout=60, check=False
    )
    assert done.returncode == 0
    assert "..." not in done.stdout.partition("Commands:")[2]


@pytest.mark.parametrize("program", ["monitor", "training"])
def test_ctrl_c_while_it_starts_is_no_traceback(program):
    code = f"""
import builtins, sys
real = builtins.__import__
def interrupted(name, *more):
    if name == "click":
        raise KeyboardInterrupt
    return real(name, *more)
builtins.__import__, sys.argv = interrupted, ["{program}", "--help"]
from {program}.__main__ import main
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_a_file_that_cannot_be_used_is_a_line_and_a_fault_of_ours_is_not(monkeypatch, capsys):
    import monitor.cli

    def fail(*_, **__):
        raise errors.pop()

    monkeypatch.setattr(monitor.cli.cli, "main", fail)
    errors = [OSError("ours"), FileNotFoundError(2, "No such file or directory", "x.csv")]
    assert monitor.cli.run([]) == 1
    assert capsys.readouterr().err == "monitor: x.csv: No such file or directory\n"
    with pytest.raises(OSError, match="ours"):
        monitor.cli.run([])


def test_what_a_task_of_the_daemon_meets_is_one_clear_line_too(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        http = f"127.0.0.1:{taken.getsockname()[1]}"
        flags = [f"http.listen={http}", f"zeromq.listen=ipc://{tmp_path}/s"]
        flags += [f"feed.publish=ipc://{tmp_path}/f", f"feed.control=ipc://{tmp_path}/c"]
        done = monitor("run", *(part for flag in flags for part in ("--set", flag)), cwd=tmp_path)
    assert done.returncode == 2
    assert f"monitor: http.listen: cannot listen on '{http}'" in done.stderr
    assert "Traceback" not in done.stderr


def test_check_loads_the_models_and_opens_no_socket(daemon):
    done = monitor("check", "--set", f"zeromq.listen={daemon.at}/s")  # in use, and that is no matter
    assert done.returncode == 0
    assert done.stdout.count("known answer holds") == 4


def test_config_prints_what_counts_and_why():
    done = monitor("config", "--origin", "--set", "name=x", MONITOR_MQTT__HOST="broker")
    assert 'name = "x"    # flag name=x' in done.stdout
    assert 'mqtt.host = "broker"    # environment MONITOR_MQTT__HOST' in done.stdout
    assert "mqtt.port = 1883    # default" in done.stdout
    assert json.loads(monitor("config", "--json").stdout)["mqtt"]["port"] == 1883


def test_models_are_listed_and_explained(tmp_path):
    (tmp_path / "broken.onnx").write_text("x")
    rows = json.loads(monitor("models", "--models", tmp_path, "--json").stdout)
    assert {row["name"] for row in rows if "error" not in row} == {
        "ecg-beats",
        "ecg-beats-2",
        "ecg-forecast",
        "ecg-spikes",
        "sine-forecast",
        "sine-spikes",
    }
    assert "not an ONNX file" in next(row["error"] for row in rows if row["name"] == "broken")
    assert "refused" in monitor("models", "--models", tmp_path).stdout
    shown = monitor("models", "inspect", "ecg-beats").stdout
    assert "beats" in shown
    assert "known answer      holds" in shown
    assert len(shown) < 10_000, "what is for machines is not shown"


def test_alarms_are_listed_acknowledged_and_tell_by_exit_code(daemon, tmp_path):
    control = ["--control", f"{daemon.at}/c"]
    assert monitor("alarms", *control, "--active").returncode == 0
    sent = monitor("simulate", "--spikes", 60, "--seed", 3, "--for", 30, "--speed", 0, "--to", f"{daemon.at}/s")
    report = json.loads(sent.stdout)
    assert (report["stream"], report["samples"]) == ("sine/1", 1500)
    wait_until(lambda: len(json.loads(monitor("alarms", *control, "--json").stdout)) > 3, "alarms")
    rows = json.loads(monitor("alarms", *control, "--json").stdout)
    assert {"spike"} <= {row["label"] for row in rows}
    assert rows[0]["id"] in monitor("alarms", *control).stdout
    active = monitor("alarms", *control, "--active", "--json")
    assert active.returncode == (4 if json.loads(active.stdout) else 0)
    assert monitor("alarms", *control, "acknowledge", "all").returncode == 0
    assert monitor("alarms", *control, "acknowledge", "nobody").returncode == 2


def test_a_score_is_listed_where_there_is_one(capsys):
    from monitor.core.blocks import Alarm, Kind, State
    from monitor.verbs.client import _print

    for kind, score in ((Kind.CLASS, 0.97), (Kind.SIGNAL, 1.0)):
        _print([Alarm("id", "a", kind, "x", "high", State.ACTIVE, 3, 4, score, 0.5)], json_=False)
    lines = capsys.readouterr().out.splitlines()
    assert "active  0.97 >= 0.5" in lines[0]
    assert lines[1].endswith("signal:x  active")


def test_a_csv_of_ones_own_is_replayed(daemon, tmp_path):
    lines = ["time,sine"] + [f"{i / 50},{np.sin(i / 10):.4f}" for i in range(200)]
    (tmp_path / "mine.csv").write_text("\n".join(lines))
    done = monitor(
        "replay", tmp_path / "mine.csv", "--stream", "sine/mine", "--speed", 0, "--to", f"{daemon.at}/s"
    )
    assert json.loads(done.stdout)["samples"] == 200


def test_sigterm_ends_it_well_and_a_second_daemon_is_kept_away(daemon, tmp_path):
    second = monitor("run", "--set", f"alarm_log.path={tmp_path}/log.db")
    assert second.returncode == 2
    assert f"process {daemon.pid}" in second.stderr
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(60) == 0
    assert not list(tmp_path.glob("*.lock"))
    assert daemon.log.read_text().rstrip().endswith("stopped")


def test_memory_with_the_shipped_models_stays_below_200_mib(daemon):
    monitor("simulate", "--for", 60, "--speed", 0, "--to", f"{daemon.at}/s")
    status = Path(f"/proc/{daemon.pid}/status")
    if not status.exists():
        pytest.skip("needs /proc to read a process's memory")
    peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    assert int(peak.split()[1]) < 200 * 1024


def test_it_stays_up_whatever_comes_and_goes(daemon, tmp_path):
    """A sender killed and started again, a malformed block, a dashboard that attaches and leaves."""
    to = ["--to", f"{daemon.at}/s"]
    command = [sys.executable, "-m", "monitor", "simulate", "--speed", "5", *to]
    for runs in (1, 2):
        sender = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        wait_until(lambda runs=runs: ledger_of(daemon).get("runs") == runs, f"run {runs} to arrive")
        sender.kill()
        sender.wait()
    with zmq.Context() as context, context.socket(zmq.XPUB) as stranger:
        stranger.linger = 0
        stranger.connect(f"{daemon.at}/s")
        stranger.recv()
        stranger.send_multipart([b"signals/sine/1/samples", b"\x00 not a block"])
        wait_until(lambda: ledger_of(daemon).get("refused") == 1, "the refusal")
    with on_a_terminal("watch", "--feed", f"{daemon.at}/f", "--control", f"{daemon.at}/c") as terminal:
        terminal.read_until(b"sine/1")
        terminal.type(b"q")
        assert terminal.ended() == 0
    sent = json.loads(monitor("simulate", "--for", 10, "--speed", 0, *to).stdout)
    wait_until(lambda: ledger_of(daemon).get("runs") == 3, "the third run")
    wait_until(lambda: ledger_of(daemon)["received"] >= sent["samples"], "its samples")
    assert daemon.poll() is None
    assert "Traceback" not in daemon.log.read_text()


def ledger_of(daemon, stream="sine/1") -> dict[str, int]:
    async def ask():
        async with Client(f"{daemon.at}/c") as client:
            return await client.ask(GetStatus(), Overview)

    states = asyncio.run(ask()).streams
    return next((msgspec.to_builtins(s.ledger) for s in states if s.stream == stream), {})
