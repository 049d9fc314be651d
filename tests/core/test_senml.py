"""SenML packs: the RFC's own examples, and what equally spaced samples make of them."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.core.bulk import decode
from monitor.core.errors import SchemaError
from monitor.core.senml import decode_senml, is_senml
from monitor.core.wire import decode_block, encode_block


def pack(*records: dict) -> bytes:
    return json.dumps(records).encode()


def test_a_single_data_point():
    """RFC 8428, 5.1.1."""
    (block,) = decode_senml(b'[{"n":"urn:dev:ow:10e2073a01080063","u":"Cel","v":23.1}]')
    assert block.stream == "urn-dev-ow-10e2073a01080063"
    assert (block.unit, block.seq, block.t0_ns, block.rate_hz) == ("Cel", None, None, None)
    assert block.values.tolist() == [[np.float32(23.1)]]


MULTIPLE = b"""[
  {"bn":"urn:dev:ow:10e2073a0108006:","bt":1.276020076001e+09, "bu":"A","bver":5, "n":"voltage","u":"V","v":120.1},
  {"n":"current","t":-5,"v":1.2}, {"n":"current","t":-4,"v":1.3}, {"n":"current","t":-3,"v":1.4},
  {"n":"current","t":-2,"v":1.5}, {"n":"current","t":-1,"v":1.6}, {"n":"current","v":1.7} ]"""


def test_multiple_data_points_are_a_stream_for_each_name():
    """RFC 8428, 5.1.2."""
    voltage, current = decode_senml(MULTIPLE, "lab")
    assert (voltage.stream, voltage.unit, voltage.rate_hz) == ("lab/voltage", "V", None)
    assert (current.stream, current.unit, current.rate_hz) == ("lab/current", "A", 1.0)
    assert current.t0_ns == pytest.approx(1_276_020_071_001_000_000, abs=1000)
    assert voltage.t0_ns == pytest.approx(1_276_020_076_001_000_000, abs=1000)
    assert current.values[:, 0].tolist() == pytest.approx([1.2, 1.3, 1.4, 1.5, 1.6, 1.7])
    assert {block.stream for block in decode_senml(MULTIPLE)} == {
        "urn-dev-ow-10e2073a0108006-voltage",
        "urn-dev-ow-10e2073a0108006-current",
    }


def test_what_is_no_number_is_passed_over():
    """RFC 8428, 5.1.5."""
    records = pack(
        {"bn": "urn:dev:ow:10e2073a01080063:", "n": "temp", "u": "Cel", "v": 23.1},
        {"n": "label", "vs": "Machine Room"},
        {"n": "open", "vb": False},
        {"n": "nfv-reader", "vd": "aGkgCg"},
        {"n": "energy", "s": 3.0},
    )
    (block,) = decode_senml(records, "room")
    assert block.stream == "room"


def test_a_base_time_outlives_a_base_name():
    """RFC 8428, 5.1.6."""
    records = pack(
        {"bn": "2001:db8::2/", "bt": 1.320078429e09, "n": "temperature", "u": "Cel", "v": 25.2},
        {"n": "humidity", "u": "%RH", "v": 30},
        {"bn": "2001:db8::1/", "n": "temperature", "u": "Cel", "v": 12.3},
        {"n": "humidity", "u": "%RH", "v": 67},
    )
    blocks = decode_senml(records)
    assert [block.stream for block in blocks][::3] == ["2001-db8--2/temperature", "2001-db8--1/humidity"]
    assert {block.t0_ns for block in blocks} == {1_320_078_429_000_000_000}
    with pytest.raises(SchemaError, match="several of its names"):
        decode_senml(records, "house")


def test_base_values_are_added_and_base_fields_may_stand_alone():
    (block,) = decode_senml(
        pack({"bn": "a"}, {"bv": 20, "bt": 1.7e9, "v": 1}, {"t": 1, "v": 2}, {"bv": 0, "t": 2, "v": 3})
    )
    assert block.values[:, 0].tolist() == [21, 22, 3]


@given(
    rate=st.sampled_from([1 / 60, 0.1, 1.0, 12.5, 50.0, 62.5, 125.0, 128.0, 250.0, 256.0, 360.0, 500.0, 1000.0]),
    count=st.integers(2, 100),
    start=st.integers(1_500_000_000, 2_000_000_000),
    digits=st.sampled_from([6, 9]),
    split=st.booleans(),
)
def test_times_to_a_microsecond_tell_the_rate(rate, count, start, digits, split):
    at = [round(start + i / rate, digits) for i in range(count)]
    base = {"bt": start} if split else {}
    records = [{"n": "x", "v": i, "t": t - start if split else t} for i, t in enumerate(at)]
    (block,) = decode_senml(pack({"bn": "s/", **base}, *records[::-1]))
    assert block.rate_hz == pytest.approx(rate, rel=1e-12)
    assert block.values[:, 0].tolist() == list(range(count))
    assert block.t0_ns == pytest.approx(start * 10**9, abs=1000)


def test_a_unit_may_be_told_once():
    (block,) = decode_senml(pack({"n": "x", "u": "mV", "v": 1}, {"n": "x", "t": 1, "v": 2}))
    assert block.unit == "mV"


def test_coarse_times_leave_the_rate_to_the_configuration():
    at = [round(1.7e9 + i / 360, 3) for i in range(36)]
    (block,) = decode_senml(pack(*({"n": "x", "t": t, "v": 0} for t in at)))
    assert block.rate_hz is None
    assert len(block.values) == 36


def test_relative_times_are_of_now():
    (block,) = decode_senml(pack(*({"n": "x", "t": t, "v": t} for t in (-2, -1, 0))))
    assert (block.t0_ns, block.rate_hz) == (None, 1.0)


REFUSED = {
    "no array": b'{"n":"x","v":1}',
    "not JSON": b"[{",
    "wrong type": pack({"n": 5, "v": 1}),
    "no name": pack({"v": 1}),
    "a name that is none": pack({"n": "-x", "v": 1}),
    "too many levels": pack({"n": "a/b/c/d", "v": 1}),
    "nothing to read": pack(),
    "no numbers": pack({"n": "x", "vs": "hot"}),
    "two at one time": pack({"n": "x", "v": 1}, {"n": "x", "v": 2}),
    "not equally spaced": pack(*({"n": "x", "t": t, "v": 1} for t in (0, 1, 2, 7))),
    "two units": pack({"n": "x", "u": "V", "v": 1}, {"n": "x", "u": "A", "t": 1, "v": 2}),
    "now and then": pack({"n": "x", "t": 0, "v": 1}, {"n": "x", "t": 1.7e9, "v": 2}),
    "later version": pack({"bver": 11, "n": "x", "v": 1}),
    "must be understood": pack({"n": "x", "v": 1, "ct_": "60"}),
    "a value that float32 has not": pack({"n": "x", "v": 1e39}),
    "a time beyond time": pack({"bt": 1e308, "n": "x", "t": 1e308, "v": 1}),
    "the end of time": pack({"n": "x", "t": 1e18, "v": 1}),
    "a unit without end": pack({"n": "x", "u": "V" * 40, "v": 1}),
    "faster than anything": pack(*({"n": "x", "t": t * 1e-9, "v": 1} for t in range(3))),
}


@pytest.mark.parametrize("payload", REFUSED.values(), ids=REFUSED)
def test_what_is_refused(payload):
    with pytest.raises(SchemaError) as refused:
        decode_senml(payload)
    assert str(refused.value).startswith(("stream 'x': ", "stream '': ", "expected a stream name"))


def test_a_pack_that_is_too_long_is_refused():
    with pytest.raises(SchemaError, match="1 to 3"):
        decode_senml(pack(*({"n": "x", "t": t, "v": 0} for t in range(4))), max_samples=3)


@given(st.binary(max_size=200), st.sampled_from(["", "room"]))
def test_any_bytes_are_a_pack_or_refused(data, stream):
    try:
        blocks = decode_senml(b"[" + data, stream)
    except SchemaError:
        return
    assert blocks


def test_it_is_told_apart_from_blocks():
    assert is_senml(b' \n[{"n":"x","v":1}]')
    assert not is_senml(b'{"values":[1]}')
    assert not is_senml(b"")


def test_a_delivery_may_hold_both():
    (block,) = decode_senml(pack({"n": "x", "v": 1}))
    messages = [(pack({"n": "a", "v": 1}, {"n": "b", "v": 2}), "room"), (encode_block(block), ""), (b"[", "room")]
    found = list(decode(messages, {}, 100))
    assert [one.stream for one in found] == ["room/a", "room/b", "x", "room"]
    assert isinstance(found[-1], SchemaError)
    assert math.isclose(found[1].values[0, 0], 2)
    assert decode_block(encode_block(found[0])).stream == "room/a"
