"""What one more stream takes: bytes that were asked for, and so the same on every machine."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from monitor.config import AlarmLog as Retention
from monitor.config import State
from monitor.core.blocks import NS, Beat, Block
from monitor.core.engine import Engine
from monitor.core.stream import Plan
from monitor.history import History
from monitor.inference import find_models, load_model, second_tiers
from monitor.keeper import Keeper
from monitor.sinks.alarmlog import AlarmLog

MODELS = ("ecg-beats", "ecg-forecast")


@pytest.fixture(scope="module")
def loaded():
    files = find_models(None)
    return {name: load_model(files[name]) for name in MODELS}


@pytest.fixture
def held():
    """Bytes that are held of what was asked for since the test began."""
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()


def engine_for(loaded, streams):
    return Engine(
        {name: model.card for name, model in loaded.items()},
        lambda _: Plan(models=MODELS),
        max_streams=streams,
        leapfrog=dict.fromkeys(MODELS, 0),
        seconds=second_tiers(loaded),
    )


def test_the_engines_arrays_hold_less_than_14_kib_of_a_stream_with_two_models(loaded, held):
    sizes = []
    for streams in (1000, 2000):
        before = held()
        engine = engine_for(loaded, streams)
        sizes.append(held() - before)
        del engine
    assert (sizes[1] - sizes[0]) / 1000 < 14 * 1024


def test_all_else_but_its_samples_takes_less_than_8_kib(loaded, held, tmp_path):
    """Books, names, a checkpoint's memory, and its newest beats, of which few are kept among many streams."""
    engine, history = engine_for(loaded, 1500), History(30.0)
    likely = np.random.default_rng(0).random((40, 4)).tolist()

    def come(first, end):
        for i in range(first, end):
            sent = Block(f"ecg/{i}", np.zeros((36, 1), np.float32), "run", 0, 0, 360.0, ("I",), "mV")
            block, _ = engine.push(sent, 0, 1)
            history.block(block)
            for nth, row in enumerate(likely):
                history.notice(Beat(f"ecg/{i}", nth * NS, "N", row[0], 0.8, 75.0, "ecg-beats@1", tuple(row)))
        while any(engine.ready(name, 1500) for name in MODELS):
            pass
        log.write([], keeper.states(engine.memory.learn(engine.memory.save())))

    with AlarmLog(tmp_path / "log.db") as log:
        keeper = Keeper(log, State(), Retention(), history)
        come(0, 500)
        before = held() - history.count_bytes()
        come(500, 1500)
        assert (held() - history.count_bytes() - before) / 1000 < 8 * 1024
