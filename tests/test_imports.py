"""What a process loads: the daemon stays light, and --help is quick because nothing is loaded for it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

HEAVY = {"torch", "training", "textual", "onnx", "scipy", "matplotlib", "wfdb", "pandas", "sleepecg", "nats"}


def loaded_by(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("statement", "but_not"),
    [
        ("import monitor.daemon, monitor.senders, monitor.demo", HEAVY),
        ("import monitor.cli", HEAVY | {"numpy", "onnxruntime", "zmq", "aiomqtt"}),
        ("import monitor.core.engine", HEAVY | {"onnxruntime", "zmq", "aiomqtt", "asyncio", "logging", "socket"}),
        ("import training.cli", {"torch", "onnx", "scipy", "wfdb"}),
    ],
)
def test_a_process_loads_no_more_than_it_needs(statement, but_not):
    assert not loaded_by(statement) & but_not


@pytest.mark.parametrize(
    ("missing", "program", "words", "extra"),
    [
        ("torch", "training", ["fit", "--signal", "noisy-sine"], "train"),
        ("torch", "training", ["exercise", "sine-rnn", "--quick"], "train"),
        ("nats", "monitor", ["worker"], "cluster"),
        ("nats", "monitor", ["cluster", "serve"], "cluster"),
    ],
)
def test_where_an_extra_is_missing_it_is_named(missing, program, words, extra, tmp_path):
    code = (
        f"import sys; sys.modules[{missing!r}] = None; sys.argv = {[program, *words]!r};"
        f"from {program}.__main__ import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path, timeout=60
    )
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert f"pip install 'foretrace[{extra}]'" in line


def test_onnxruntime_is_told_not_to_report_its_use(tmp_path):
    """With its telemetry on it writes a session file into the temporary folder as soon as it is imported."""
    environment = {k: v for k, v in os.environ.items() if k not in ("ORT_DISABLE_TELEMETRY", "CI")}
    subprocess.run(
        [sys.executable, "-c", "import monitor.inference"],
        check=True,
        env={**environment, "TMPDIR": str(tmp_path)},
    )
    assert list(tmp_path.iterdir()) == []
