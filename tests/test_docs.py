"""What docs/ says: every command is run, every example is heard or compiled, every link leads somewhere."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys

import pytest

from monitor.control import Client, GetStatus, Overview
from monitor.core.wire import decode_block
from tests.conftest import free_port, start_broker, wait_until
from tests.documents import (
    ROOT,
    blocks,
    check_training_command,
    commands,
    daemon,
    links,
    run,
    surroundings,
    workplace,
)

pytestmark = pytest.mark.slow

DOCUMENTS = {path.stem: path.read_text() for path in sorted((ROOT / "docs").glob("*.md"))}
SENDERS = DOCUMENTS["senders"]
READMES = ("README.md", "deploy/README.md", "sample_streams/README.md", "tests/README.md", "tests/bench/README.md")
ELSEWHERE = ("brokers", "cluster")
"""Documents with tests of their own."""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder that looks like the checkout."""
    return workplace(tmp_path_factory.mktemp("docs"))


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """A daemon and a broker for all documents."""
    folder = tmp_path_factory.mktemp("daemon")
    broker = start_broker(folder, free_port())
    environment = surroundings(folder, MQTT__HOST="127.0.0.1", MQTT__PORT=str(broker.port))
    try:
        with daemon(environment):
            yield environment
    finally:
        broker.process.kill()
        broker.process.wait()


def received(environment: dict[str, str], stream: str) -> int:
    """Samples of a stream that the daemon has."""

    async def ask():
        async with Client(environment["MONITOR_FEED__CONTROL"]) as client:
            return await client.ask(GetStatus(), Overview)

    counts = {state.stream: state.ledger.received for state in asyncio.run(ask()).streams}
    return counts.get(stream, 0)


def lines_of(name: str, program: str) -> list[str]:
    """Commands of a document that begin with `program`."""
    found = [line for line in commands(DOCUMENTS[name]) if line.startswith(program)]
    assert found
    return found


def test_every_command_is_one_that_a_test_runs():
    known = {"operators": {"monitor"}, "trainers": {"training", "monitor", "mkdir"}}
    known["senders"] = {"mosquitto_pub", "mosquitto_sub", "gcc", "./block"}
    for name, text in DOCUMENTS.items():
        if name not in ELSEWHERE:
            assert {line.split()[0] for line in commands(text)} <= known.get(name, set()), name


@pytest.mark.parametrize("name", [*(f"docs/{name}.md" for name in DOCUMENTS), *READMES])
def test_links_lead_somewhere(name):
    path = ROOT / name
    for link in links(path.read_text()):
        assert (path.parent / link).exists(), link


@pytest.mark.parametrize("name", ["operators"])
def test_the_commands_of_a_document_run_in_their_order(name, place, environment):
    for stream in ("ecg/208", "ecg/drill"):
        run(f"monitor simulate ecg --stream {stream} --for 1 --speed 0", environment, place)
    for command in commands(DOCUMENTS[name]):
        done = run(command, environment, place)
        assert done.returncode == 0, f"{command}: {done.stderr}"


@pytest.mark.parametrize("command", [line for line in commands(DOCUMENTS["trainers"]) if line[:9] == "training "])
def test_a_training_command_is_understood(command):
    check_training_command(command)


def test_from_a_signal_to_a_model_that_the_monitor_takes(place, environment):
    """The chain of trainers.md, shortened."""
    starts = (
        "training fit --signal",
        "mkdir",
        "training export RUN --out models/",
        "monitor models",
        "monitor check",
    )
    fit, make, export, models, check = (lines_of("trainers", start)[0] for start in starts)
    little = "--epochs 1 --no-report --set model.hidden=8 --set train.epoch_windows=500"
    less = "--set 'data.minutes={train=2.0, validation=1.0, calibration=2.0, test=1.0}'"
    short = fit.replace("--epochs 5", f"{little} {less}")
    done = run(short, environment, place)
    assert done.returncode == 0, done.stderr
    for command in (make, export.replace("RUN", done.stdout.strip()), models, check):
        done = run(command, environment, place)
        assert done.returncode == 0, f"{command}: {done.stderr}"
    assert "noisy-sine-forecast" in run(models, environment, place).stdout


@pytest.mark.parametrize("stream", ["sine/mine", "sine/sure"])  # that of LSL: sources/test_lsl.py
def test_the_senders_in_python_are_heard(environment, stream):
    (script,) = (code for code in blocks("python", SENDERS) if stream in code)
    for port, variable in (("5555", "MONITOR_ZEROMQ__LISTEN"), ("5558", "MONITOR_ZEROMQ__LISTEN_RELIABLE")):
        script = script.replace(f"tcp://127.0.0.1:{port}", environment[variable])
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30)
    wait_until(lambda: received(environment, stream) == 1000, "the sender's samples")


def test_the_json_example_is_a_block():
    (example,) = blocks("json", SENDERS)
    block = decode_block(example.encode(), "ecg/1")
    assert block.values.shape == (4, 1)
    assert (block.seq, block.rate_hz, block.channels) == (7200, 360, ("MLII",))


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
def test_the_sender_in_c_writes_a_block(place, environment):
    (code,) = blocks("c", SENDERS)
    (place / "block.c").write_text(code)
    (compile_it,) = lines_of("senders", "gcc")
    done = run(f"{compile_it} -Werror -std=c99 -fsanitize=address,undefined", environment, place)
    assert done.returncode == 0, done.stderr
    block = decode_block(subprocess.run([place / "block"], capture_output=True, check=True, timeout=30).stdout)
    assert (block.stream, block.run, block.seq, block.rate_hz) == ("sine/board", "boot-17", 7200, 50.0)
    assert block.values[:, 0].tolist() == pytest.approx([0.1 * i for i in range(10)])


@pytest.mark.broker
@pytest.mark.skipif(shutil.which("mosquitto_pub") is None, reason="mosquitto's clients are not installed")
def test_the_shell_lines_are_heard(place, environment):
    where = f"-p {environment['MONITOR_MQTT__PORT']}"
    for line in lines_of("senders", "mosquitto_pub"):
        done = run(f"{line} {where}", environment, place)
        assert done.returncode == 0, done.stderr
    wait_until(lambda: received(environment, "sine/shell") == 3, "the shell's samples")
    wait_until(lambda: received(environment, "sine/sensor") == 1, "the sensor's number")
    wait_until(lambda: received(environment, "sine/senml") == 2, "the samples in SenML")
    (line,) = lines_of("senders", "mosquitto_sub")
    assert run(f"{line} {where}", environment, place).stdout
    if shutil.which("gcc"):
        (place / "block.c").write_text(blocks("c", SENDERS)[0])
        for line in (*lines_of("senders", "gcc"), *lines_of("senders", "./block")):
            done = run(f"{line} {where}" if "mosquitto" in line else line, environment, place)
            assert done.returncode == 0, done.stderr
        wait_until(lambda: received(environment, "sine/board") == 10, "the board's samples")


async def test_the_source_in_contributors_is_one():
    (code,) = blocks("python", DOCUMENTS["contributors"])
    names: dict[str, object] = {}
    exec(code, names)
    reader = asyncio.StreamReader()
    reader.feed_data(b'{"values": [1, 2]}\n{"values": [3]}\n')
    reader.feed_eof()
    source = names["LinesSource"](reader, "sine/1")
    got = [decode_block(m.payload, m.stream) async for d in source.deliveries() for m in d.messages]
    assert [len(block.values) for block in got] == [2, 1]
    assert {member for member in dir(source) if member[0] != "_"} == {"name", "deliveries", "close"}


def test_what_contributors_names_is_there():
    text = DOCUMENTS["contributors"]
    for path in re.findall(r"`((?:monitor|training|tests)/[\w/.]+)`", text):
        assert (ROOT / path).exists(), path
    source = {name: (ROOT / name).read_text() for name in re.findall(r"`(monitor/core/\w+\.py)`", text)}
    for word, path in (("Kind", "blocks"), ("Track", "rules"), ("judge_for", "judging"), ("OUTPUTS", "card")):
        assert re.search(rf"(class|def) {word}\b|^{word}\b", source[f"monitor/core/{path}.py"], re.MULTILINE)
