"""SenML in JSON (RFC 8428) to blocks: what many devices speak already.

A pack is an array of records, resolved as section 4 of the RFC says: base name, time, unit and value hold from
their record on, and a time below 2**28 s is relative to now. What is ours is how records become blocks:

- The records of one name are one stream of one channel. Where the topic names a stream, a pack of one name is that
  stream's, and one of several names has a stream below it for each: `room` and the names `temp`, `hum` give
  `room/temp` and `room/hum`. Else the name is the stream's, with ":" and "." as "-".
- They must be equally spaced. Times that are so to a microsecond tell the rate; coarser ones do not, and neither
  does a single record: the rate is then that of the stream's configuration.
- Only numbers ("v") are samples; strings, booleans, data and sums are passed over.
- SenML has no sequence numbers. What is missing between packs shows in their times alone, and packs without
  absolute times continue where the last one ended.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from monitor.core.blocks import NS, Block, is_stream_name
from monitor.core.errors import SchemaError
from monitor.core.wire import MAX_RATE_HZ, MAX_SEQ, MAX_UNIT, check_values, too_large

VERSION = 10
ABSOLUTE_S = 2.0**28
"""Times from here on count from 1970, those below from now (section 4.5.3)."""
RESOLUTION_S = 1e-6
"""As exact as times in JSON usually are written; a double could tell a quarter of that."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9:./_-]*")
_MOST_PARTS = 1000
"""A rate is told as a whole number of samples in at most so many seconds: 128, 62.5, 1/60."""


class _Record(msgspec.Struct, frozen=True):
    """The fields of section 4.3 that count here; others are ignored, as section 4.4 asks."""

    bn: str | None = None
    bt: float | None = None
    bu: str | None = None
    bv: float | None = None
    bver: float | None = None
    n: str = ""
    u: str | None = None
    v: float | None = None
    t: float = 0.0


class _Sample(NamedTuple):
    """A resolved record."""

    name: str
    own: str
    """The part of the name that the base name does not give."""
    unit: str
    t_s: float
    value: float


_decode = msgspec.json.Decoder(list[_Record]).decode
_decode_keys = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode


def is_senml(payload: bytes) -> bool:
    """Whether it can only be SenML: an array, where a block is a map."""
    return payload[:64].lstrip(b" \t\r\n")[:1] == b"["


def decode_senml(payload: bytes, stream: str = "", *, max_samples: int = 65_536) -> list[Block]:
    """The blocks in a SenML pack, one for each name; `stream` is what its topic names, where it does.

    Values are (time, 1). Raises SchemaError, and nothing else, for anything that is not a pack of at most
    `max_samples` numbers that are equally spaced.
    """
    too_large(payload, stream, max_samples)
    try:
        records = _decode(payload)
        keys = _decode_keys(payload) if b'_"' in payload else []
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _refusal(
            stream, f"expected a SenML pack, got {len(payload)} bytes that are none: {error}"
        ) from error
    for key in {key for record in keys for key in record if key.endswith("_")}:
        raise _refusal(stream, f"this SenML pack must not be read without knowing {key[:20]!r}", "version")
    samples = list(_resolved(records, stream))
    if not 1 <= len(samples) <= max_samples:
        raise _refusal(stream, f"expected 1 to {max_samples} records with numbers, got {len(samples)}", "length")
    by_name: dict[str, list[_Sample]] = {}
    for sample in samples:
        by_name.setdefault(sample.name, []).append(sample)
    blocks = [_block(_stream_of(some[0], stream, len(by_name)), some) for some in by_name.values()]
    if len({block.stream for block in blocks}) < len(blocks):
        raise _refusal(stream, f"several of its names would be stream {blocks[0].stream!r}", "name")
    return blocks


def _resolved(records: Iterable[_Record], stream: str) -> Iterable[_Sample]:
    """Section 4.6, but for times relative to now, of which the caller knows more."""
    name, unit, time_s, value = "", "", 0.0, 0.0
    good: set[str] = set()
    for record in records:
        name = name if record.bn is None else record.bn
        unit = unit if record.bu is None else record.bu
        time_s = time_s if record.bt is None else record.bt
        value = value if record.bv is None else record.bv
        if record.bver is not None and record.bver > VERSION:
            raise _refusal(stream, f"expected SenML version {VERSION} or lower, got {record.bver:g}", "version")
        if record.v is None:
            continue
        full = name + record.n
        if full not in good and not _NAME.fullmatch(full) and (full or not stream):
            raise _refusal(stream, f"expected a SenML name (bn and n), got {full[:60]!r}", "name")
        own = unit if record.u is None else record.u
        if len(own) > MAX_UNIT:
            raise _refusal(stream, f"unit: expected at most {MAX_UNIT} characters, got {own[:60]!r}", "unit")
        good.add(full)
        yield _Sample(full, record.n or full, own, time_s + record.t, value + record.v)


def _stream_of(sample: _Sample, topic: str, names: int) -> str:
    def plain(name: str) -> str:
        return re.sub(r"[:.]", "-", name)

    below = f"{topic}/{plain(sample.own).strip('/')}" if names > 1 else topic
    name = below if topic else plain(sample.name)
    if not is_stream_name(name):
        raise _refusal(
            topic, f"expected a stream name of one to three levels of [A-Za-z0-9_-], got {name[:60]!r}", "name"
        )
    return name


def _block(stream: str, samples: Sequence[_Sample]) -> Block:
    units = {sample.unit for sample in samples} - {""}  # a record without one leaves it to the context
    if len(units) > 1:
        raise _refusal(stream, f"expected one unit for one name, got {sorted(units)[:3]}", "unit")
    at = np.array([sample.t_s for sample in samples])
    order = at.argsort(kind="stable")
    at = at[order]
    with np.errstate(over="ignore"):
        values = np.array([sample.value for sample in samples])[order].astype(np.float32)[:, None]  # (time, 1)
    check_values(values, stream)
    is_absolute = at >= ABSOLUTE_S
    if not np.isfinite(at).all() or is_absolute.any() != is_absolute.all() or at[-1] * NS >= MAX_SEQ:
        raise _refusal(
            stream, f"expected times from 1970 on or from now on, got {at[0]:g} to {at[-1]:g} s", "time"
        )
    t0_ns = round(float(at[0]) * NS) if is_absolute.all() else None
    return Block(stream, values, "", None, t0_ns, _rate(stream, at), (), units.pop() if units else "")


def _rate(stream: str, at: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float | None:
    """Samples a second, where times tell it; raises SchemaError when they are not equally spaced."""
    if len(at) == 1:
        return None
    span = float(at[-1] - at[0])
    step = span / (len(at) - 1)
    off = np.abs(at - (at[0] + step * np.arange(len(at)))).max()
    if not off < step / 2 or step * MAX_RATE_HZ < 1:
        raise _refusal(
            stream,
            f"expected equally spaced times, got {len(at)} in {span:g} s of which one is {off:g} s off",
            "time",
        )
    if off > 2 * RESOLUTION_S:
        return None  # spaced as well as the sender could say it, which is too coarse to count on
    slack = 2 * RESOLUTION_S / span
    for seconds in range(1, _MOST_PARTS + 1):
        rate = round(seconds / step) / seconds
        if abs(rate * step - 1) <= slack:
            return rate
    return 1 / step


def _refusal(stream: str, message: str, kind: str = "malformed") -> SchemaError:
    return SchemaError(f"stream {stream!r}: {message}", stream=stream, kind=kind)
