"""What a process loads: the daemon stays light, and --help is quick because nothing is loaded for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"torch", "training", "textual", "onnx", "scipy", "matplotlib", "wfdb", "pandas", "sleepecg", "nats"}


def loaded_by(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("statement", "but_not"),
    [
        ("import monitor.process, monitor.senders, monitor.demo", HEAVY),
        ("import monitor.process", HEAVY | {"aiomqtt", "paho", "email"}),
        ("import monitor.cli", HEAVY | {"numpy", "onnxruntime", "zmq", "aiomqtt"}),
        ("import monitor.core.engine", HEAVY | {"onnxruntime", "zmq", "aiomqtt", "asyncio", "logging", "socket"}),
        ("import training.cli", {"torch", "onnx", "scipy", "wfdb"}),
    ],
)
def test_a_process_loads_no_more_than_it_needs(statement, but_not):
    assert not loaded_by(statement) & but_not


def test_samples_do_not_load_what_numpy_has_for_masked_arrays():
    """It takes more than a megabyte, and the event loop's time when the first samples come."""
    code = """
import sys
import numpy as np
from monitor.core.blocks import Block
from monitor.core.engine import Engine
from monitor.core.stream import Plan
from monitor.inference import find_models, load_model, second_tiers

models = {name: load_model(find_models(None)[name]) for name in ("ecg-beats", "ecg-forecast")}
engine = Engine({name: model.card for name, model in models.items()}, lambda _: Plan(models=tuple(models)),
                leapfrog=dict.fromkeys(models, 0), seconds=second_tiers(models))
values = np.random.default_rng(0).standard_normal((360, 1)).astype(np.float32)
for seq in range(0, 3600, 360):
    engine.push(Block("ecg/1", values, "run", seq, seq * 10**9 // 360, 360.0, ("I",), "mV"), 0, 1)
    for name, model in models.items():
        batches = list(iter(lambda: engine.ready(name, 64), None))
        told = [one for one in engine.conclusions(engine.infer_all(batches, model))] if batches else []
assert told and engine.states()
print("numpy.ma" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


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


@pytest.mark.skipif(
    not Path("/proc/self/smaps").exists(), reason="says what is asked for huge pages on Linux only"
)
def test_arrays_with_room_for_many_streams_are_not_asked_for_in_huge_pages():
    """The first stream would take two megabytes of each."""
    code = """
import monitor.__main__, numpy, pathlib
array = numpy.zeros(2**26, numpy.uint8)
inside = array.ctypes.data + 2**25
for line in pathlib.Path("/proc/self/smaps").read_text().splitlines():
    first, _, rest = line.partition(" ")
    if "-" in first:
        start, end = (int(bound, 16) for bound in first.split("-"))
    elif first == "VmFlags:" and start <= inside < end:
        print(rest)
"""
    env = {k: v for k, v in os.environ.items() if k != "NUMPY_MADVISE_HUGEPAGE"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert done.stdout, "the array lies somewhere"
    assert "hg" not in done.stdout.split()
