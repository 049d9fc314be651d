"""Sample streams through the whole engine, compared with what was flagged before.

After a change that is meant to change it: `pytest tests/test_golden.py --update-golden`, and review the diff.
"""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest

from monitor import cli
from monitor.configfile import load_config
from monitor.core.blocks import Alarm, Event
from monitor.core.engine import Engine
from monitor.core.expected import differences, in_order, parse, row_of, text_of
from monitor.faults import without_gaps
from monitor.inference import find_models, load_model, second_tiers
from monitor.recordings import read_recording
from monitor.senders import blocks_of, recording_values

STREAMS = Path(__file__).parents[1] / "sample_streams"
RECORDINGS = {
    "noisy-sine.csv": "sine/sample",
    "long-dependency.csv": "long/sample",
    "vital-sign.csv": "vital/sample",
    "stale-sensor.csv": "vital/stale",
    "ecg-rhythms.csv": "ecg/rhythms",
    "ecg-faults.csv": "ecg/faults",
}
TOLERANCE = 1e-3  # another processor adds up in another order
COMMANDS = [
    shlex.split(line)[1:]
    for line in (STREAMS / "README.md").read_text().splitlines()
    if line.startswith("monitor simulate")
]


def flagged(path, stream, block_samples, batch):
    config, _ = load_config(STREAMS / "monitor.toml", {})
    plan = config.plan_of(stream)
    models = {name: load_model(find_models(None)[name]) for name in plan.models}
    cards = {name: model.card for name, model in models.items()}
    engine = Engine(cards, lambda _: plan, max_streams=1, seconds=second_tiers(models))
    recording = read_recording(path)
    blocks = blocks_of(
        recording_values(recording, block_samples), stream=stream, rate_hz=recording.rate_hz,
        channels=recording.channels, unit=recording.unit, t0_ns=0,
    )  # fmt: skip
    found = []
    for block in without_gaps(blocks):  # as `monitor replay` does
        found += engine.push(block, 0, 0)[1]
        for name, model in models.items():
            while (ready := engine.ready(name, batch)) is not None:
                found += [n for _, n in engine.conclude(*engine.infer(ready, model)).notices]
        found += engine.signals()
    return in_order(row_of(notice, 0) for notice in found if isinstance(notice, Event | Alarm))


@pytest.mark.parametrize("name", RECORDINGS)
@pytest.mark.parametrize(("block_samples", "batch"), [(20, 64), (1, 1), (997, 5)])
def test_a_sample_stream_is_flagged_as_before(name, block_samples, batch, request):
    got = flagged(STREAMS / name, RECORDINGS[name], block_samples, batch)
    expected_file = STREAMS / "expected" / f"{Path(name).stem}.jsonl"
    if request.config.getoption("--update-golden"):
        expected_file.parent.mkdir(exist_ok=True)
        expected_file.write_text(text_of(got))
    assert differences(got, parse(expected_file.read_text(), str(expected_file)), TOLERANCE) == []


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: Path(command[-1]).stem)
def test_the_readme_says_how_each_was_made(command, tmp_path):
    *arguments, csv = command
    assert cli.run([*arguments, str(tmp_path / "again.csv")]) == 0
    made, kept = read_recording(tmp_path / "again.csv"), read_recording(STREAMS.parent / csv)
    np.testing.assert_allclose(made.values, kept.values, atol=2e-4)
    assert made.label_samples.tolist() == kept.label_samples.tolist()
    assert (made.label_symbols, made.remarks) == (kept.label_symbols, kept.remarks)


def test_every_sample_stream_has_a_row_and_a_command():
    names = {path.name for path in STREAMS.glob("*.csv")}
    rows = [line.split("`")[1] for line in (STREAMS / "README.md").read_text().splitlines() if line[:3] == "| `"]
    assert set(rows) == {Path(command[-1]).name for command in COMMANDS} == names
    assert set(RECORDINGS) <= names
