from __future__ import annotations

import itertools

import numpy as np
import pytest

from monitor.core.errors import ConfigError
from monitor.recordings import Recording
from monitor.senders import blocks_of, recording_values

RECORDING = Recording(
    "r", 10.0, ("I",), "mV", np.arange(25, dtype=np.float32)[:, None], np.zeros(0, np.int64), (), 0
)


def joined(pieces):
    return np.concatenate(list(pieces))[:, 0].tolist()


def test_a_recording_is_cut_from_where_it_shall_begin():
    assert joined(recording_values(RECORDING, 4)) == list(range(25))
    assert joined(recording_values(RECORDING, 4, start_s=1.2)) == list(range(12, 25))


def test_a_loop_begins_again_at_the_beginning():
    pieces = itertools.islice(recording_values(RECORDING, 7, start_s=2.0, loop=True), 6)
    assert joined(pieces) == [*range(20, 25), *range(25), *range(7)]


def test_a_start_behind_the_end_is_refused_at_once():
    with pytest.raises(ConfigError, match=r"r is 2\.5 s long, got 3"):
        recording_values(RECORDING, 4, start_s=3)


def test_blocks_are_numbered_and_timed_and_end_where_they_shall():
    pieces = recording_values(RECORDING, 4, loop=True)
    blocks = list(blocks_of(pieces, stream="s", rate_hz=10.0, channels=("I",), unit="mV", t0_ns=5, samples=30))
    assert [b.seq for b in blocks] == [0, 4, 8, 12, 16, 20, 24, 25, 29]
    assert blocks[-1].seq + len(blocks[-1].values) == 30
    assert [b.t0_ns for b in blocks] == [5 + b.seq * 10**8 for b in blocks]
    assert len({b.run for b in blocks}) == 1
