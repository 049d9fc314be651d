"""The quick ways give what the thorough ones give: decoding many blocks, and blocks that do what was expected."""

from __future__ import annotations

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.blocks import NS, Block
from monitor.core.bulk import Decoder
from monitor.core.engine import Engine
from monitor.core.errors import SchemaError
from monitor.core.senml import decode_senml, is_senml
from monitor.core.stream import Plan
from monitor.core.wire import decode_block, encode_block

RATE = 50.0


def block(at=0, n=10, **changes):
    values = np.arange(n, dtype=np.float32)[:, None]
    return Block(**{"stream": "s", "values": values, "run": "r", "seq": at, "rate_hz": RATE, **changes})


def one_by_one(messages, max_samples=100):
    found = []
    for payload, stream in messages:
        try:
            if is_senml(payload):
                found += decode_senml(payload, stream, max_samples=max_samples)
            else:
                found.append(decode_block(payload, stream, max_samples=max_samples))
        except SchemaError as error:
            found.append(error)
    return found


def told(found):
    """Comparable: blocks by their contents, errors by what they say."""
    return [
        (one.kind, str(one)) if isinstance(one, SchemaError)
        else (*(getattr(one, f) for f in one.__struct_fields__ if f != "values"), one.values.tobytes())
        for one in found
    ]  # fmt: skip


HEADS = {
    "stream": st.sampled_from(["s", "a/b", "", "a b", 7, "x" * 130]),
    "run": st.sampled_from(["r", "r" * 65, 3]),
    "seq": st.sampled_from([0, 5, -1, 2**62, None, 1.5]),
    "t0_ns": st.sampled_from([0, NS, -1, 2**63, None]),
    "rate_hz": st.sampled_from([50, 0, -1.0, 1e6, None, "fast"]),
    "channels": st.sampled_from([[], ["I"], ["I", "II"], ["I"] * 65, "I"]),
    "unit": st.sampled_from(["mV", "u" * 33]),
    "values": st.one_of(
        st.binary(max_size=40),
        st.lists(st.floats(width=32), max_size=110).map(lambda v: np.array(v, "<f4").tobytes()),
    ),
}


@settings(max_examples=150, deadline=None)
@given(
    heads=st.lists(
        st.one_of(st.fixed_dictionaries({}, optional=HEADS).map(msgspec.msgpack.encode), st.binary(max_size=30)),
        max_size=6,
    ),
    topic=st.sampled_from(["", "s"]),
)
def test_many_decoded_together_are_as_each_alone(heads, topic):
    decoder = Decoder()
    messages = [(payload, topic) for payload in heads]
    for _ in range(2):  # the second time it knows their names
        found, is_whole = decoder.decode(messages, max_samples=100)
        assert told(found) == told(one_by_one(messages))
        blocks = [one for one in found if isinstance(one, Block)]
        if is_whole:
            assert all(np.isfinite(one.values).all() for one in blocks)


def test_what_is_whole_is_known_to_be():
    decoder = Decoder()
    good = [(encode_block(block(seq)), "s") for seq in range(0, 50, 10)]
    decoder.decode(good, max_samples=100)
    assert decoder.decode(good, max_samples=100)[1]
    hole = block(50, values=np.array([[1.0], [np.nan]], np.float32))
    found, is_whole = decoder.decode([*good, (encode_block(hole), "s")], max_samples=100)
    assert not is_whole
    assert len(found) == 6
    as_json = b'{"values": [1, 2]}'
    assert not decoder.decode([*good, (as_json, "s")], max_samples=100)[1]


FLAWS = (
    {},
    {"t0_ns": None},
    {"t0_ns": "late"},
    {"run": "other"},
    {"seq": None},
    {"channels": ("I",)},
    {"channels": ("II",)},
    {"unit": "mV"},
    {"unit": "V"},
    {"rate_hz": None},
    {"rate_hz": 25.0},
)


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(FLAWS), st.sampled_from([0, 0, 0, -12, -3, 3, 40]), st.integers(1, 25)),
        max_size=12,
    ),
    reorder_s=st.sampled_from([0.0, 0.5]),
)
def test_a_block_as_expected_is_taken_alike_the_short_way_and_the_long(make_card, steps, reorder_s):
    """Whatever came before: gaps, repetitions, other runs and clocks. The short way says no, or does right."""
    plan = Plan(models=("m",), rate_hz=None, reorder_s=reorder_s)
    long, short = (Engine({"m": make_card("forecast")}, lambda _: plan, max_streams=1) for _ in range(2))
    seq = 0
    for flaw, shift, n in steps:
        at = max(seq + shift, 0)
        t0_ns = round(at * NS / RATE)
        changes = {**flaw, "t0_ns": t0_ns + 3 * NS} if flaw.get("t0_ns") == "late" else {"t0_ns": t0_ns, **flaw}
        one = block(at, n, **changes)
        results = []
        for engine, quick in ((long, False), (short, True)):
            try:
                taken = engine.follow(one, 7) if quick else None
                results.append((taken, []) if taken is not None else engine.push(one, t0_ns, 7))
            except SchemaError as error:
                results.append(str(error))
        if isinstance(results[0], str):
            assert results[1] == results[0]
        else:
            (taken, events), (same, others) = results
            assert told([taken] if taken else []) == told([same] if same else [])
            assert events == others
        seq = at + n
    assert long.states() == short.states() or str(long.states()) == str(short.states())  # NaN is not equal to NaN
    while (ready := long.ready("m", 5)) is not None:
        other = short.ready("m", 5)
        for name in ("slots", "segments", "ends", "t_ns", "marks", "windows"):
            np.testing.assert_array_equal(getattr(ready, name), getattr(other, name))
    assert short.ready("m", 5) is None
