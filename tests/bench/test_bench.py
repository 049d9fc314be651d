"""`monitor bench --quick`: that everything is measured, and that what is told can be; not how fast it is."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pytest

from monitor.bench import kernels
from monitor.bench.fleet import heartbeat
from monitor.bench.report import AIMS, table, value_at
from monitor.bench.timing import best_times, cpu_seconds, rss_mib

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    file = tmp_path_factory.mktemp("bench") / "figures.json"
    command = [sys.executable, "-m", "monitor", "bench", "--quick", "--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "streams of ECG at 360 Hz" in done.stdout
    return json.loads(file.read_text())


@pytest.mark.slow
def test_every_figure_is_there(told):
    optional = {"speedup_vs_naive_torch", "speedup_vs_river_hst"}
    for path in AIMS:
        value = value_at(told, path)
        if path not in optional or value is not None:
            assert value is not None, path
            assert math.isfinite(value), path
            assert value >= 0, path
    assert set(told["scaling"]) == {"1", "8"}
    assert told["quick"]
    assert table(told).count("\n") == len(AIMS) + 3


@pytest.mark.slow
def test_what_was_sent_was_received(told):
    for outcome in (told["sustained"], told["daemon_in_window_mode"]):
        assert outcome["missing"] == 0
        assert outcome["windows"] > 0
        assert outcome["samples"] > 0


def test_the_networks_are_what_they_are_said_to_be():
    for cell in kernels.CELLS:
        card = kernels.network(f"bench-{cell}").card
        assert (card.cell, card.hidden, card.window, card.hop, card.samples_per_step) == (cell, 64, 50, 1, 1)
        assert card.stepping is not None
    assert kernels.network("bench-forecast").card.horizon == 50
    gates = {
        cell: kernels.flop_of_window(kernels.network(f"bench-{cell}")) / 2 / 50 / 64 / 65 for cell in kernels.CELLS
    }
    assert gates == {"lstm": 4, "gru": 3, "rnn": 1}


def test_the_invented_heart_beats():
    values = heartbeat(360.0)
    peaks = np.flatnonzero((values[1:-1] > 0.8) & (values[1:-1] >= values[:-2]) & (values[1:-1] > values[2:]))
    beats = 1 + np.count_nonzero(np.diff(peaks) > 100)
    assert beats == 70


def test_both_ways_of_the_kernels_are_timed():
    carried, read = kernels.leapfrog_against_window(3, 1)
    direct, slid = kernels.direct_against_sliding(1, batch=2)
    assert min(carried, read, direct, slid) > 0


def test_calls_take_turns():
    order = []
    times = best_times([lambda: order.append("a"), lambda: order.append("b")], rounds=2, round_s=0.0)
    assert len(times) == 2
    assert order == ["a", "a", "b", "b", "a", "b", "a", "b"]


def test_a_process_has_used_time_and_memory():
    import os

    assert cpu_seconds(os.getpid()) > 0
    assert rss_mib(os.getpid()) > 1


def test_a_loop_that_asks_torch_is_timed_where_there_is_torch():
    pytest.importorskip("torch")
    from monitor.bench.rivals import half_space_trees, naive_torch

    assert naive_torch(1, 3) > 0
    trees = half_space_trees(20)
    assert trees is None or trees > 0


def test_without_rivals_there_is_a_word_in_their_place(told):
    without = told | {"speedup_vs_naive_torch": None, "speedup_vs_river_hst": None}
    assert table(without).count("not installed") == 2
