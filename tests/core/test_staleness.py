"""How long streams have been silent: by the clock of who looks, in their states."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from monitor.core.blocks import NS, Block
from monitor.core.engine import Engine
from monitor.core.published import LedgerCounts, StreamState, decode_state, encode
from monitor.core.staleness import Staleness
from monitor.core.stream import Plan

RATE = 50.0


def send(engine, stream, seq):
    """A second of one stream, looked at."""
    values = np.random.default_rng(seq).standard_normal((50, 1)).astype(np.float32)
    engine.push(Block(stream, values, "r", seq, round(seq * NS / RATE), RATE), 0, 0)
    engine.signals()


def silences(engine):
    return {state.stream: state.silent_s for state in engine.states()}


@pytest.mark.parametrize("plan", [Plan(), Plan(stale_s=0.0), Plan(quality=False)])
def test_states_tell_how_long_each_stream_has_been_silent(plan):
    engine = Engine({}, lambda _: plan, max_streams=4)
    assert engine.states() == []
    send(engine, "a", 0)
    send(engine, "b", 0)
    assert silences(engine) == {"a": 0.0, "b": 0.0}  # nobody has looked
    engine.watch(100.0)
    assert silences(engine) == {"a": 0.0, "b": 0.0}
    send(engine, "b", 50)
    engine.watch(101.0)
    send(engine, "c", 0)
    engine.watch(107.5)
    assert silences(engine) == {"a": 7.5, "b": 6.5, "c": 0.0}
    assert [state.silent_s for state in engine.some_states(1, 2)] == [6.5]
    send(engine, "b", 100)
    assert silences(engine) == {"a": 7.5, "b": 0.0, "c": 0.0}  # it is back, before the next look


def test_who_never_looks_knows_of_no_silence():
    counts = np.array([0, 3])
    staleness = Staleness(2)
    assert staleness.silent_s(counts).tolist() == [0.0, 0.0]
    staleness.look(counts, np.zeros(2), 5.0)
    staleness.look(counts, np.zeros(2), 9.0)
    assert staleness.silent_s(counts).tolist() == [0.0, 4.0]  # of the first no sample has come yet


def test_a_state_that_says_nothing_of_silence_is_read():
    state = StreamState("s", RATE, (), "", (), 1, warming=False, ledger=LedgerCounts(), silent_s=2.5)
    assert decode_state(encode(state)).silent_s == 2.5
    fields = msgspec.msgpack.decode(encode(state))
    del fields["silent_s"]
    assert decode_state(msgspec.msgpack.encode(fields)).silent_s == 0.0
