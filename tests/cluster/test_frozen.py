"""An engine that is frozen and thawed goes on as if nothing had happened, to the bit."""

from __future__ import annotations

import random

import msgspec
import pytest

from monitor.cluster.frozen import freeze, thaw
from monitor.cluster.shard import Shard, build_engine
from monitor.core.errors import SchemaError
from monitor.reload import load_models
from tests.cluster.signals import config_of, entries, rounded, told

STREAMS = ["ecg/1", "sine/1", "ecg/2"]


@pytest.fixture(scope="module", params=["window", "leapfrog"])
def maker(request):
    config = config_of(inference={"mode": request.param})
    models = load_models(config)
    pristine = build_engine(config, models)
    return lambda: Shard(config, models, pristine)


def lived(maker, messages, steps, moved=frozenset()):
    """What a shard says that is given messages in such steps, and moves before those in `moved`; its states."""
    shard, at, outcomes = maker(), 0, []
    for number, step in enumerate(steps):
        if number in moved:
            data, position = shard.freeze(), shard.position
            shard = maker()
            assert shard.thaw(data, position)
        outcomes.append(shard.take(messages[at : at + step]))
        at += step
    return told(outcomes), shard.states()


def test_a_shard_that_moves_now_and_then_says_what_one_that_stays_says(maker):
    """Moved at random points, with deliveries cut at random, and with gaps: to the bit."""
    messages, rng = entries(STREAMS, 40.0, drop={200, 201, 333}), random.Random(1)
    steps = [rng.randrange(1, 60) for _ in range(100)]
    moved = {number for number in range(100) if rng.random() < 0.3}
    stays, states = lived(maker, messages, steps)
    assert {"V", "spike", "gap", "N"} <= {row["label"] for row in stays}
    moves, states_then = lived(maker, messages, steps, moved)
    assert repr(moves) == repr(stays)
    assert repr(states_then) == repr(states)
    at_once, _ = lived(maker, messages, [len(messages)])
    assert rounded(at_once) == rounded(moves)  # batches of other sizes round otherwise, in the seventh digit


def test_messages_that_were_taken_before_are_left_out(maker):
    messages, shard = entries(["sine/1"], 20.0), maker()
    shard.take(messages)
    again = shard.take(messages)
    assert (again.samples, again.notices) == (0, [])
    assert shard.states()[0].ledger.duplicated == 0


def test_what_was_frozen_by_other_models_gives_its_books(maker):
    messages, shard = entries(["sine/1"], 21.0), maker()
    shard.take(messages[:100])
    frozen = msgspec.msgpack.decode(shard.freeze())
    for spoiled in ({**frozen, "version": "other"}, {**frozen, "engine": b"x"}):
        other = maker()
        assert not other.thaw(msgspec.msgpack.encode(spoiled), shard.position)
        other.take(messages)
        (state,) = other.states()
        assert (state.ledger.received, state.ledger.missing) == (1050, 0)
    with pytest.raises(SchemaError):
        maker().thaw(b"nothing of the kind", 0)


@pytest.mark.parametrize(
    "node",
    [
        ["object", "os:system", {}],
        ["object", "monitor.core.windows:np.memmap", {}],
        ["enum", "builtins:exec", "x"],
        ["array", "|O", [1], None, b"12345678"],
        ["again", 7],
        ["unheard of"],
        ["object", "monitor.core.engine:Engine", {"lanes": ["dict", [["x", ["own"]]]]}],
    ],
)
def test_nothing_but_the_core_is_ever_made(maker, node):
    import zlib

    with pytest.raises(SchemaError):
        thaw(zlib.compress(msgspec.msgpack.encode(node)), maker().engine)


def test_what_cannot_be_written_is_named_with_its_place(maker):
    shard = maker()
    shard.engine.lanes["sine-spikes"].extra = random.Random()
    with pytest.raises(TypeError, match=r"engine.lanes\['sine-spikes'\].extra: a Random"):
        freeze(shard.engine, maker().engine)
