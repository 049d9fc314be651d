"""The quick ways give what the thorough ones give: decoding many blocks, and blocks that do what was expected."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.blocks import NS, Block
from monitor.core.bulk import decode
from monitor.core.engine import Engine
from monitor.core.errors import SchemaError
from monitor.core.pages import Page
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


def by_stream(found):
    """What is told of each stream, in order; pages block by block."""
    streams = {}
    for part in found:
        blocks = [part.block(row) for row in range(len(part))] if isinstance(part, Page) else [part]
        for one in blocks:
            streams.setdefault(one.stream, []).append(one)
    return {stream: told(some) for stream, some in streams.items()}


@settings(max_examples=150, deadline=None)
@given(
    heads=st.lists(
        st.one_of(st.fixed_dictionaries({}, optional=HEADS).map(msgspec.msgpack.encode), st.binary(max_size=30)),
        max_size=6,
    ),
    topic=st.sampled_from(["", "s"]),
)
def test_many_decoded_together_are_as_each_alone(heads, topic):
    messages = [(payload, topic) for payload in heads]
    alone = one_by_one(messages)
    assert told(decode(messages, {}, 100)) == told(alone)
    who = {(b.stream, b.run, b.rate_hz, b.channels, b.unit) for b in alone if isinstance(b, Block)}
    found = list(decode(messages, {one: i for i, one in enumerate(who)}, 100))
    known = [part for part in found if isinstance(part, Page)]
    blocks = sum(
        isinstance(one, Block) and one.seq is not None and names_its_stream(raw)
        for one, raw in zip(alone, heads, strict=True)
    )
    endless = sum(not isinstance(one, Block) and one.kind == "infinite" for one in alone)
    if not endless:  # which values may be on a page is for whoever looks at all of them at once
        assert by_stream(found) == by_stream(alone)
        assert sum(len(page) for page in known) == blocks


def names_its_stream(raw):
    try:
        head = msgspec.msgpack.decode(raw)
    except msgspec.DecodeError:
        return False
    return isinstance(head, dict) and bool(head.get("stream"))


def test_a_page_holds_every_stream_once_and_blocks_of_one_shape():
    def say(stream, seq, n, **changes):
        return encode_block(block(seq, n, stream=stream, **changes)), stream

    known = {(name, "r", RATE, (), ""): slot for slot, name in enumerate("abc")}
    messages = [
        say("a", 0, 10), say("b", 0, 10), say("c", 0, 7), say("a", 10, 10), say("b", 10, 5), say("d", 0, 5),
        say("b", 15, 5, run="new"), say("a", 20, 10), say("c", 7, 7),
    ]  # fmt: skip
    found = list(decode(messages, known, 100))
    assert by_stream(found) == by_stream(one_by_one(messages))
    pages = [part for part in found if isinstance(part, Page)]
    assert [(page.slots.tolist(), page.values.shape) for page in pages] == [
        ([0, 1], (2, 10, 1)), ([2], (1, 7, 1)),  # "a" comes again
        ([0], (1, 10, 1)), ([1], (1, 5, 1)),  # and "b" with something that is not known
        ([0], (1, 10, 1)), ([2], (1, 7, 1)),
    ]  # fmt: skip
    assert [part.stream for part in found if isinstance(part, Block)] == ["d", "b"]


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


@settings(max_examples=1500, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(FLAWS), st.sampled_from([0, 0, 0, -12, -3, 3, 40]), st.integers(1, 25)),
        max_size=12,
    ),
    reorder_s=st.sampled_from([0.0, 0.5]),
)
def test_blocks_as_expected_are_taken_alike_the_short_way_and_the_long(make_card, steps, reorder_s):
    """Whatever came before: gaps, repetitions, other runs and clocks. The short way says no, or does right."""
    plan = Plan(models=("m",), rate_hz=None, reorder_s=reorder_s)
    long, short = (Engine({"m": make_card("forecast")}, lambda _: plan, max_streams=3) for _ in range(2))
    seq = 0
    for flaw, shift, n in steps:
        at = max(seq + shift, 0)
        t0_ns = round(at * NS / RATE)
        changes = {**flaw, "t0_ns": t0_ns + 3 * NS} if flaw.get("t0_ns") == "late" else {"t0_ns": t0_ns, **flaw}
        # Of three streams one is flawed; the others go on.
        messages = [
            (encode_block(block(at, n, stream=name, **(changes if name == "b" else {"t0_ns": t0_ns}))), name)
            for name in "abc"
        ]
        assert pushed(short, messages, t0_ns, quick=True) == pushed(long, messages, t0_ns, quick=False)
        seq = max(seq, at + n)
    assert short.waiting() == long.waiting()
    assert repr(short.states()) == repr(long.states())  # of which some hold NaN
    batches = [engine.ready("m", 1000) for engine in (short, long)]
    if batches[0] is not None:
        assert windows_of(batches[0]) == windows_of(batches[1])


def pushed(engine, messages, now_ns, *, quick):
    """What came of each stream's block: samples as taken and events, or why not."""
    results = {}
    for part in decode(messages, engine.known if quick else {}, 100):
        blocks = [part]
        if isinstance(part, Page):
            taken, others = engine.follow(part, 7)
            results |= {taken.whos[row][0]: (told([taken.block(row)]), []) for row in range(len(taken))}
            blocks = [part.block(row) for row in others]
        for one in blocks:
            try:
                taken, events = engine.push(one, now_ns, 7)
                results[one.stream] = (told([taken] if taken else []), events)
            except SchemaError as error:
                results[one.stream] = str(error)
    return results


def windows_of(batch):
    """By stream and end, whatever the order."""
    rows = zip(
        batch.slots.tolist(), batch.segments.tolist(), batch.ends.tolist(), batch.t_ns.tolist(), strict=True
    )
    return sorted((*row, batch.windows[at].tobytes()) for at, row in enumerate(rows))


@pytest.mark.parametrize("value", [np.nan, np.inf, -3.4e38])
def test_values_that_are_missing_or_endless_leave_the_short_way(make_card, value):
    engine = Engine({"m": make_card("forecast")}, lambda _: Plan(models=("m",)), max_streams=2)
    first = [(encode_block(block(0, 10, stream=name)), name) for name in "ab"]
    pushed(engine, first, 0, quick=True)
    hole = block(10, stream="a", values=np.array([[1.0], [value], [3.0]], np.float32))
    (page,) = decode([(encode_block(hole), "a"), (encode_block(block(10, 3, stream="b")), "b")], engine.known, 100)
    taken, others = engine.follow(page, 7)
    assert [who[0] for who in taken.whos] == ["b"]
    assert [page.whos[row][0] for row in others] == ["a"]
