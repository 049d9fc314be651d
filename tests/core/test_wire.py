from __future__ import annotations

import contextlib
import json
import math

import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from monitor.core.blocks import Alarm, Block, Event, Forecast, Kind, State
from monitor.core.errors import SchemaError
from monitor.core.published import (
    decode_event,
    decode_forecast,
    decode_state,
    decode_status,
    encode,
    encode_forecast,
)
from monitor.core.wire import decode_block, encode_block

NAMES = st.from_regex(r"[A-Za-z0-9_-]{1,20}(/[A-Za-z0-9_-]{1,20}){0,2}", fullmatch=True)
FLOATS = st.floats(-(2.0**49), 2.0**49, width=32) | st.just(np.nan)


@given(
    name=NAMES,
    values=hnp.arrays(np.float32, st.tuples(st.integers(1, 40), st.integers(1, 3)), elements=FLOATS),
    run=st.text(max_size=16),
    seq=st.none() | st.integers(0, 2**61),
    t0_ns=st.none() | st.integers(0, 2**61),
    rate_hz=st.none() | st.floats(0.01, 10_000),
)
def test_a_block_survives_the_wire(name, values, run, seq, t0_ns, rate_hz):
    channels = tuple("abc"[: values.shape[1]])
    block = Block(name, values, run, seq, t0_ns, rate_hz, channels, "mV")
    back = decode_block(encode_block(block), name)
    np.testing.assert_array_equal(back.values, values)
    assert back.values.dtype == np.float32
    for field in ("stream", "run", "seq", "t0_ns", "rate_hz", "channels", "unit"):
        assert getattr(back, field) == getattr(block, field)


def test_json_needs_only_values_where_the_topic_names_the_stream():
    block = decode_block(b'{"values": [1, 2.5, null]}', "ecg/1")
    assert (block.stream, block.seq, block.t0_ns, block.rate_hz) == ("ecg/1", None, None, None)
    assert block.values.shape == (3, 1)
    assert math.isnan(block.values[2, 0])


@pytest.mark.parametrize(
    ("text", "value"), [(b"21.5", 21.5), (b" -3\n", -3), (b'{"values": 1e3}', 1000), (b"0", 0)]
)
def test_a_number_alone_is_one_sample(text, value):
    block = decode_block(text, "hall/temperature")
    assert (block.stream, block.values.tolist(), block.seq, block.rate_hz) == (
        "hall/temperature", [[value]], None, None
    )  # fmt: skip


def test_json_with_several_channels():
    text = json.dumps({"stream": "a", "values": [[1, 2], [3, None]], "channels": ["I", "II"], "rate_hz": 250})
    block = decode_block(text.encode())
    assert block.values.shape == (2, 2)
    assert block.rate_hz == 250


@given(st.binary(max_size=200) | st.binary(max_size=100).map(lambda tail: b"{" + tail))
@example(b"")
@example(b"\x81\xa6values")
@example(b'{"values": [1], "stream": "a/b/c/d"}')
@example(b'{"values": [1e999], "stream": "a"}')
@example(b'{"values": [[1],[1,2]], "stream": "a"}')
@example(b'{"values": [1,[1]], "stream": "a"}')
@example(b'{"values": [], "stream": "a"}')
@example(b'{"values": [[]], "stream": "a"}')
@example(b'{"values": [1], "stream": "a", "seq": -1}')
@example(b'{"values": [1], "stream": "a", "rate_hz": 0}')
@example(b"[" * 5000)
@example(b"{}\x00")
def test_any_bytes_are_a_block_or_a_schema_error(payload):
    try:
        block = decode_block(payload)
    except SchemaError:
        return
    assert block.values.ndim == 2
    assert not np.isinf(block.values).any()


MAP = st.dictionaries(
    st.sampled_from(["stream", "run", "seq", "t0_ns", "rate_hz", "channels", "unit", "values", "x"]),
    st.none() | st.booleans() | st.integers(-5, 2**63 - 1) | st.floats() | st.text(max_size=8)
    | st.binary(max_size=20) | st.lists(st.text(max_size=3) | st.floats() | st.none(), max_size=5),
)  # fmt: skip


@given(MAP)
def test_any_map_is_a_block_or_a_schema_error(fields):
    with contextlib.suppress(SchemaError):
        decode_block(msgspec.msgpack.encode(fields), "s")


@pytest.mark.parametrize(
    ("payload", "kind", "says"),
    [
        (encode_block(Block("a", np.zeros((2, 1), np.float32)))[:-3], "malformed", "not one"),
        (b'{"values": [1], "stream": "a b"}', "name", "got 'a b'"),
        (b'{"values": [1], "stream": "other"}', "name", "other"),
        (b'{"values": [1], "channels": ["I", "II"]}', "channels", "2 channels"),
        (b'{"values": [1], "rate_hz": 1e9}', "rate_hz", "100000"),
        (b'{"values": [1e39]}', "infinite", "up to 1e\\+15.*got inf"),
        (b'{"values": [0, -3.4e38]}', "infinite", "got 3.4e\\+38"),
        (b'{"values": []}', "length", "got 0"),
        (b'{"values": "abc"}', "values", "a list of numbers.*got.*abc"),
        (b'{"values": [0.1, "0.2"]}', "values", "a list of numbers"),
        (b'{"value": 0.1, "time": 5}', "values", "got one with value, time"),
        (b'{"values": [1], "rate_hz": "50"}', "rate_hz", "rate_hz: expected a number"),
        (b'{"values": [1], "run": 7}', "run", "run: expected text"),
        (b'{"values": [0.1, NaN]}', "nan", "write null for what is missing"),
        (b'{"values": [-Infinity]}', "nan", "write null for what is missing"),
        (b"{'values': [1]}", "malformed", "expected JSON such as .*got"),
        (b"temperature=21.5", "text", "expected a number, JSON such as .*got 'temperature=21.5'"),
        (b"unavailable", "text", "got 'unavailable'"),
        (b"", "empty", "got an empty message"),
        (b" \n", "empty", "got an empty message"),
        (b"\x01" * 100, "malformed", "100 bytes that are not one"),
    ],
)
def test_a_refusal_says_what_was_expected_and_what_came(payload, kind, says):
    with pytest.raises(SchemaError, match=says) as caught:
        decode_block(payload, "" if kind == "name" and b" b" in payload else "a")
    assert caught.value.kind == kind


def test_a_block_longer_than_allowed_is_refused_before_it_is_read():
    big = encode_block(Block("a", np.zeros((101, 1), np.float32)))
    with pytest.raises(SchemaError, match="1 to 100 samples, got 101"):
        decode_block(big, max_samples=100)
    with pytest.raises(SchemaError, match="larger than any block"):
        decode_block(b"x" * 1_000_000, "a", max_samples=100)


def test_what_is_published_comes_back():
    arrays = [np.random.default_rng(i).normal(size=(5, 2)).astype(np.float32) for i in range(3)]
    forecast = Forecast("a/b", "m@1", 17, 72.0, *arrays)
    back = decode_forecast(encode_forecast(forecast))
    np.testing.assert_array_equal(back.lower, forecast.lower)
    assert (back.stream, back.made_ns, back.rate_hz) == ("a/b", 17, 72.0)
    event = Event("a", Kind.CLASS, "V", 3, 1, 5, 0.9, 0.5, "m@1")
    alarm = Alarm("id", "a", Kind.CLASS, "V", "high", State.ACTIVE, 3, 4, 0.9, 0.5)
    assert decode_event(encode(event)) == event
    assert decode_event(encode(alarm)) == alarm


@given(st.binary(max_size=100))
def test_published_bytes_are_a_message_or_a_schema_error(payload):
    for decode in (decode_event, decode_forecast, decode_state, decode_status):
        try:
            decode(payload)
        except SchemaError:
            continue
