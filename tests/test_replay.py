"""`monitor simulate`, `replay` and `record` against a daemon: do replays agree to the bit, and are books kept?"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from monitor import cli
from monitor.recordings import read_recording
from tests.conftest import wait_until
from tests.processes import Process

STREAMS = Path(__file__).parents[1] / "sample_streams"
SINE = str(STREAMS / "noisy-sine.csv")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    process = Process(tmp_path_factory.mktemp("daemon"), file=STREAMS / "monitor.toml").start()
    yield process
    process.stop()


def ask(daemon, *arguments):
    ends = {"--to": daemon.samples, "--feed": f"ipc://{daemon.folder}/feed", "--control": daemon.control}
    if arguments[0] == "simulate":
        ends = {"--to": daemon.samples}
    given = [part for key, value in ends.items() if key not in arguments for part in (key, value)]
    return cli.run([*map(str, arguments), *given])


def test_a_replay_is_the_same_to_the_bit_at_any_speed_block_size_and_way_in(daemon, tmp_path, capsys):
    events = tmp_path / "events.jsonl"
    assert ask(daemon, "replay", SINE, "--stream", "sine/a", "--speed", 0, "--events", events) == 0
    assert len(events.read_text().splitlines()) > 100
    for how in (
        ("--speed", 60, "--block", 1),
        ("--speed", 0, "--block", 997, "--to", daemon.reliable),
        ("--speed", 0, "--own-times"),
    ):
        assert ask(daemon, "replay", SINE, "--stream", "sine/a", *how, "--verify", events) == 0
    capsys.readouterr()
    assert (
        ask(daemon, "replay", SINE, "--stream", "sine/a", "--speed", 0, "--gap", "30+2", "--verify", events) == 1
    )
    said = capsys.readouterr()
    assert "not expected: 30.000 s event signal:gap" in said.err
    assert json.loads(said.out)["dropped"] == 100


@pytest.mark.parametrize(("name", "stream"), [("noisy-sine", "sine/g"), ("ecg-faults", "ecg/g")])
def test_the_golden_events_are_what_a_daemon_says(daemon, name, stream):
    expected, recording = STREAMS / "expected" / f"{name}.jsonl", STREAMS / f"{name}.csv"
    how = ("--stream", stream, "--speed", 0, "--tolerance", "1e-3")
    assert ask(daemon, "replay", recording, *how, "--verify", expected) == 0


def test_a_stream_that_is_refused_is_not_waited_for(daemon, capsys):
    expected = STREAMS / "expected" / "noisy-sine.jsonl"
    assert ask(daemon, "replay", SINE, "--stream", "nobody/1", "--speed", 0, "--verify", expected) == 1
    assert "the daemon refused what was sent" in capsys.readouterr().err


def test_a_fleet_with_faults_is_accounted_for(daemon, capsys):
    how = ("--fleet", 12, "--for", 20, "--speed", 0, "--drop", 0.1, "--duplicate", 0.1, "--block", 25)
    assert ask(daemon, "replay", SINE, "--stream", "long/fleet", *how) == 0
    sent = json.loads(capsys.readouterr().out)
    assert sent["streams"] == 12
    assert sent["dropped"] > 0 < sent["duplicated"]

    def books():
        states = asyncio.run(daemon.states())
        streams = [state for name, state in states.items() if name.startswith("long/fleet-")]
        return streams, sum(s.ledger.received + s.ledger.missing for s in streams)

    wait_until(lambda: books()[1] == sent["samples"], "the fleet")
    streams, _ = books()
    assert len(streams) == 12
    assert sum(s.ledger.duplicated for s in streams) == sent["duplicated"]


def test_labels_are_written_with_the_times_they_were_sent_under(daemon, tmp_path):
    recording = read_recording(SINE)
    labels = tmp_path / "labels.jsonl"
    how = ("--stream", "long/labels", "--speed", 0, "--loop", "--from", 100, "--for", 140, "--labels", labels)
    assert ask(daemon, "replay", SINE, *how) == 0
    rows = [json.loads(line) for line in labels.read_text().splitlines()]
    at = np.array([row["t_ns"] for row in rows])
    expected = [(i - 5000) for i in recording.label_samples if i >= 5000]
    expected += [i + 1000 for i in recording.label_samples]
    assert np.rint((at - at[0]) / 2e7).tolist() == [i - expected[0] for i in expected]
    assert {row["label"] for row in rows} == {"spike"}


def test_what_is_recorded_is_what_was_sent(daemon, tmp_path):
    control = ["--feed", f"ipc://{daemon.folder}/feed", "--control", daemon.control]
    command = [sys.executable, "-m", "monitor", "record", "vital/rec*", "--out", str(tmp_path), "--format", "csv"]
    # Fast, but not so fast that the daemon's history has forgotten the beginning when the recorder hears of it.
    how = ("--stream", "vital/rec", "--speed", 12, "--gap", "10+2", "--block", 10, "--for", 50)
    with subprocess.Popen([*command, *control], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as recording:
        try:
            assert recording.stderr.readline().startswith(b"recording into")
            assert ask(daemon, "replay", SINE, *how) == 0
            # It holds back the newest seconds, so that more must have been sent than is asked for below.
            wait_until(
                lambda: any(path.read_bytes().count(b"\n") > 2160 for path in tmp_path.glob("*.csv")), "rows"
            )
            recording.terminate()
            said = json.loads(recording.communicate(timeout=20)[0])
        finally:
            recording.kill()
    assert said["streams"] == 1
    got = read_recording(said["files"][0])
    sent = read_recording(SINE)
    sent.values[500:600] = np.nan
    np.testing.assert_array_equal(got.values[:2400], sent.values[:2400])


def test_a_setting_that_a_signal_does_not_have_is_refused(capsys):
    assert cli.run(["simulate", "ecg", "--spikes", "3"]) == 2
    assert "ecg has no spikes_per_minute" in capsys.readouterr().err
    assert cli.run(["simulate", "ecg", "--episode", "sleep@1+2"]) == 2
    assert "expected KIND@START+LENGTH" in capsys.readouterr().err
    assert cli.run(["simulate", "ecg", "--bpm", "70@then"]) == 2
    assert "expected beats a minute" in capsys.readouterr().err
    assert cli.run(["simulate", "ecg", "--to-csv", "x.csv"]) == 2
    assert cli.run(["replay", SINE, "--fleet", "3", "--verify", "x"]) == 2
    assert cli.run(["replay", SINE, "--verify", "no/such/file"]) == 2
    assert cli.run(["replay", SINE, "--gap", "now"]) == 2


def test_a_gap_that_was_recorded_is_a_gap_when_it_is_replayed(daemon, tmp_path):
    """Three seconds in the middle that no file has values for: missing in the books, and told as a gap."""
    values = read_recording(SINE).values[:1000].copy()
    values[400:550] = np.nan
    rows = "\n".join("" if np.isnan(v) else f"{v:.4f}" for v in values[:, 0])
    (tmp_path / "gap.csv").write_text(f"x\n{rows}\n")
    given = ("--rate", 50, "--stream", "sine/gap", "--speed", 0, "--to", daemon.reliable)
    assert ask(daemon, "replay", tmp_path / "gap.csv", *given) == 0
    wait_until(lambda: "sine/gap" in daemon.ledgers() and daemon.ledgers()["sine/gap"].received == 850, "the rest")
    ledger = daemon.ledgers()["sine/gap"]
    assert (ledger.missing, ledger.invalid, ledger.gaps) == (150, 0, 1)
