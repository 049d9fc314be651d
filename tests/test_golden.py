"""Sample streams through the whole engine, compared with what was flagged before.

After a change that is meant to change it: `pytest tests/test_golden.py --update-golden`, and review the diff.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import msgspec
import pytest

from monitor.config import Config
from monitor.core.blocks import Alarm, Event
from monitor.core.engine import Engine
from monitor.inference import find_models, load_model
from monitor.recordings import read_recording
from monitor.senders import blocks_of, recording_values

STREAMS = Path(__file__).parents[1] / "sample_streams"
RECORDINGS = {"noisy-sine.csv": "sine/sample"}


def flagged(path, stream, block_samples, batch):
    config = Config()
    plan = config.plan_of(stream)
    models = {name: load_model(find_models(None)[name]) for name in plan.models}
    engine = Engine({name: model.card for name, model in models.items()}, lambda _: plan, max_streams=1)
    recording = read_recording(path)
    blocks = blocks_of(
        recording_values(recording, block_samples), stream=stream, rate_hz=recording.rate_hz,
        channels=recording.channels, unit=recording.unit, t0_ns=0,
    )  # fmt: skip
    found = {name: [] for name in models}
    for block in blocks:
        engine.push(block, 0, 0)
        for name, model in models.items():
            while (ready := engine.ready(name, batch)) is not None:
                notices = engine.conclude(ready, model.run(ready.windows)).notices
                found[name] += [n for _, n in notices if isinstance(n, Event | Alarm)]
    return [msgspec.to_builtins(notice) for name in sorted(found) for notice in found[name]]


@pytest.mark.parametrize("name", RECORDINGS)
@pytest.mark.parametrize(("block_samples", "batch"), [(20, 64), (1, 1), (997, 5)])
def test_a_sample_stream_is_flagged_as_before(name, block_samples, batch, request):
    got = flagged(STREAMS / name, RECORDINGS[name], block_samples, batch)
    expected_file = STREAMS / "expected" / f"{Path(name).stem}.jsonl"
    if request.config.getoption("--update-golden"):
        expected_file.parent.mkdir(exist_ok=True)
        expected_file.write_text("".join(json.dumps(row) + "\n" for row in got))
    expected = [json.loads(line) for line in expected_file.read_text().splitlines()]
    assert [without_scores(row) for row in got] == [without_scores(row) for row in expected]
    for a, b in zip(got, expected, strict=True):
        assert math.isclose(a["score"], b["score"], rel_tol=1e-3, abs_tol=1e-4)


def without_scores(row):
    return {key: value for key, value in row.items() if key not in ("score", "threshold")}
