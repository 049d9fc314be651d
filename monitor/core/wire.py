"""Bytes to blocks, and back; what the monitor publishes is in published.py.

Two encodings of a block, told apart by the first byte:

- binary: a MessagePack map {stream, run, seq, t0_ns, rate_hz, channels, unit, values}, `values` being raw
  little-endian float32, row by row (time, channel); every key but `stream` and `values` may be left out;
- JSON: an object with the same keys, `values` a list of numbers (one channel) or of lists (several), null for
  a missing value; `stream` may be left out where the topic names it. A number alone, as `values` or as the whole
  message, is one sample.

`decode_block` gives a block or raises SchemaError, whatever the bytes. Lengths are checked before anything is
allocated from them.
"""

from __future__ import annotations

import msgspec
import numpy as np

from monitor.core.blocks import Block, Floats, is_stream_name
from monitor.core.errors import SchemaError
from monitor.core.refusals import not_a_block

MAX_CHANNELS = 64
MAX_RATE_HZ = 100_000.0
MAX_SEQ = 2**62
MAX_VALUE = 1e15
"""Of a sample, in whatever unit. What no instrument measures is a mark for a value that is missing, and filters
would hear of it for a minute."""
MAX_RUN = 64
MAX_UNIT = 32


class _Head(msgspec.Struct, frozen=True):
    """What both encodings share; unknown keys are ignored, so that senders may add their own."""

    stream: str = ""
    run: str = ""
    seq: int | None = None
    t0_ns: int | None = None
    rate_hz: float | None = None
    channels: tuple[str, ...] = ()
    unit: str = ""


class Binary(_Head, frozen=True):
    """A block in MessagePack, its values not yet looked at."""

    values: bytes = b""


class _Json(_Head, frozen=True, kw_only=True):
    values: float | list[float | list[float | None] | None]


decode_binary = msgspec.msgpack.Decoder(Binary).decode
_decode_json = msgspec.json.Decoder(_Json | float).decode
_BEGINS_JSON = b"{ \t\r\n-0123456789"
_encode = msgspec.msgpack.Encoder().encode


def encode_block(block: Block) -> bytes:
    """The binary encoding of `block`; channels without names are numbered, for their number must be known."""
    width = block.values.shape[1]
    channels = block.channels or (tuple(str(i + 1) for i in range(width)) if width > 1 else ())
    return _encode(
        Binary(
            block.stream, block.run, block.seq, block.t0_ns, block.rate_hz, channels, block.unit,
            np.ascontiguousarray(block.values, "<f4").tobytes(),
        ),
    )  # fmt: skip


def decode_block(payload: bytes, stream: str = "", *, max_samples: int = 65_536) -> Block:
    """The block in `payload`; `stream` is the name its topic carries, where there is one.

    Raises SchemaError, and nothing else, for anything that is not a block of at most `max_samples` samples.
    """
    too_large(payload, stream, max_samples)
    is_json = payload[:1] in _BEGINS_JSON if payload else False
    try:
        head: Binary | _Json | float = _decode_json(payload) if is_json else decode_binary(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise not_a_block(payload, stream, error) from error
    if isinstance(head, float):
        head = _Json(values=head)
    name = head.stream or stream
    if stream and name != stream:
        raise SchemaError(
            f"stream {stream!r}: the block says it is of stream {name!r}", stream=stream, kind="name"
        )
    _check_head(head, name)
    values = _json_values(head, name) if isinstance(head, _Json) else _binary_values(head, name)
    if not 1 <= len(values) <= max_samples:
        raise SchemaError(
            f"stream {name!r}: expected 1 to {max_samples} samples, got {len(values)}",
            stream=name,
            kind="length",
        )
    check_values(values, name)
    return Block(
        name, values, head.run, head.seq, head.t0_ns, head.rate_hz, head.channels, head.unit,
    )  # fmt: skip


def check_values(values: Floats, name: str) -> None:
    """Raises SchemaError where one is infinite, or larger than any; a value that is missing is NaN."""
    sizes = np.abs(values)
    if (sizes > MAX_VALUE).any():
        raise SchemaError(
            f"stream {name!r}: expected values up to {MAX_VALUE:g}, null or NaN where one is missing, "
            f"got {np.nanmax(sizes):g}",
            stream=name,
            kind="infinite",
        )


def too_large(payload: bytes, stream: str, max_samples: int) -> None:
    """Raises SchemaError for a message that no block of `max_samples` samples would fill."""
    if len(payload) > 64 * MAX_CHANNELS + 32 * max_samples:
        raise SchemaError(
            f"stream {stream!r}: a message of {len(payload)} bytes is larger than any block of "
            f"{max_samples} samples",
            stream=stream,
            kind="too large",
        )


def _check_head(head: _Head, name: str) -> None:
    if not is_stream_name(name):
        shown = name[:60]
        raise SchemaError(
            f"expected a stream name of one to three levels of [A-Za-z0-9_-], got {shown!r}",
            stream=shown,
            kind="name",
        )
    rate = head.rate_hz
    checks = (
        ("seq", head.seq, head.seq is None or 0 <= head.seq < MAX_SEQ, "0 or more"),
        ("t0_ns", head.t0_ns, head.t0_ns is None or 0 <= head.t0_ns < MAX_SEQ, "ns since 1970"),
        ("rate_hz", rate, rate is None or 0 < rate <= MAX_RATE_HZ, f"above 0, at most {MAX_RATE_HZ:g}"),
        ("channels", len(head.channels), len(head.channels) <= MAX_CHANNELS, f"at most {MAX_CHANNELS}"),
        ("run", head.run[:60], len(head.run) <= MAX_RUN, f"at most {MAX_RUN} characters"),
        ("unit", head.unit[:60], len(head.unit) <= MAX_UNIT, f"at most {MAX_UNIT} characters"),
    )
    for key, got, holds, expected in checks:
        if not holds:
            raise SchemaError(f"stream {name!r}: {key}: expected {expected}, got {got!r}", stream=name, kind=key)


def _binary_values(head: Binary, name: str) -> Floats:
    width = 4 * max(len(head.channels), 1)
    if len(head.values) % width:
        raise SchemaError(
            f"stream {name!r}: values: expected a multiple of {width} bytes (float32 x channels), "
            f"got {len(head.values)}",
            stream=name,
            kind="truncated",
        )
    return np.frombuffer(head.values, "<f4").reshape(-1, width // 4)


def _json_values(head: _Json, name: str) -> Floats:
    try:
        values = np.atleast_1d(np.array(head.values, np.float64))  # None becomes NaN
    except (ValueError, TypeError, OverflowError) as error:
        raise SchemaError(
            f"stream {name!r}: values: expected numbers, or rows of equal length",
            stream=name,
            kind="values",
        ) from error
    width = max(len(head.channels), 1)
    if values.ndim == 1 and width == 1:
        values = values[:, None]
    if (
        values.ndim != 2
        or not 1 <= values.shape[1] <= MAX_CHANNELS
        or (head.channels and values.shape[1] != width)
    ):
        raise SchemaError(
            f"stream {name!r}: expected {width} channels, got values of shape {values.shape}",
            stream=name,
            kind="channels",
        )
    with np.errstate(over="ignore"):
        return values.astype(np.float32)
