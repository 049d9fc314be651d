"""What the monitor publishes, to bytes and back: events, forecasts, scores, states, in MessagePack.

Decoding gives what was published or raises SchemaError, whatever the bytes.
"""

from __future__ import annotations

import math
from typing import TypeVar, cast

import msgspec
import numpy as np

from monitor.core.blocks import Alarm, Beat, Event, Forecast, Note, Score
from monitor.core.errors import SchemaError

T = TypeVar("T")

_encode = msgspec.msgpack.Encoder().encode


class LedgerCounts(msgspec.Struct, frozen=True):
    """What became of a stream's samples: `received + missing` is the sender's last index + 1, run by run."""

    received: int = 0
    missing: int = 0
    before_first: int = 0
    """How many of the missing were sent before the first block that came."""
    duplicated: int = 0
    late: int = 0
    """How many of the missing came after all, too late to be used."""
    refused: int = 0
    """Blocks, not samples: what is refused has no trustworthy length."""
    invalid: int = 0
    """Received samples without a value (NaN)."""
    runs: int = 0
    gaps: int = 0


class StreamState(msgspec.Struct, frozen=True):
    """How one stream is doing, published on `<stream>/state` about once a second."""

    stream: str
    rate_hz: float
    channels: tuple[str, ...]
    unit: str
    models: tuple[str, ...]
    newest_ns: int
    """Data time of the newest sample."""
    warming: bool
    """Whether some model has not yet seen a whole window since the last gap."""
    ledger: LedgerCounts
    windows: int = 0
    forecasts: int = 0
    skipped: int = 0
    """Hops left out because the machine could not keep up."""
    events: int = 0
    heart_rate_bpm: float = math.nan
    skill: float = math.nan
    """1 - (mean squared forecast error) / (that of persistence), over the last minutes."""
    alarms: int = 0
    """Alarms that are not over."""
    silent_s: float = 0.0
    """Since its newest sample came, by the monitor's clock, as of its last look; 0 where it has not looked."""


class Status(msgspec.Struct, frozen=True):
    """How the daemon is doing, published on `monitor/status`."""

    name: str
    version: str
    state: str
    """"online" or "offline"."""
    started_ns: int
    now_ns: int
    streams: int = 0
    windows: int = 0
    events: int = 0
    refused: int = 0
    latency_p50_ms: float = math.nan
    """From the receipt of the block that completed a window to its events."""
    latency_p99_ms: float = math.nan
    models: tuple[str, ...] = ()
    loop_lag_p50_ms: float = math.nan
    """How much later than asked for the event loop wakes a task."""
    loop_lag_p99_ms: float = math.nan
    skipped: int = 0
    """Hops left out because the machine could not keep up."""
    skipped_share: float = 0.0
    """Of the hops of the last second."""
    silence_left_s: float = 0.0
    """Until the alarms in `silenced` call again."""
    silenced: tuple[str, ...] = ()
    recorded: tuple[str, ...] = ()
    """Patterns of the streams that are being recorded."""


class _ForecastWire(msgspec.Struct, frozen=True):
    stream: str
    model: str
    made_ns: int
    rate_hz: float
    shape: tuple[int, int]
    mean: bytes
    lower: bytes
    upper: bytes


def encode_forecast(forecast: Forecast) -> bytes:
    """A forecast as MessagePack, its three arrays as raw little-endian float32 (horizon, channel)."""
    steps, channels = forecast.mean.shape
    arrays = (np.ascontiguousarray(a, "<f4").tobytes() for a in (forecast.mean, forecast.lower, forecast.upper))
    return _encode(
        _ForecastWire(
            forecast.stream, forecast.model, forecast.made_ns, forecast.rate_hz, (steps, channels), *arrays
        ),
    )


def decode_forecast(payload: bytes) -> Forecast:
    """The forecast in `payload`; raises SchemaError."""
    wire = _published(payload, _ForecastWire)
    try:
        mean, lower, upper = (
            np.frombuffer(raw, "<f4").reshape(wire.shape) for raw in (wire.mean, wire.lower, wire.upper)
        )
    except ValueError as error:
        raise SchemaError(f"forecast of {wire.stream!r}: expected arrays of shape {wire.shape}") from error
    return Forecast(wire.stream, wire.model, wire.made_ns, wire.rate_hz, mean, lower, upper)


def encode(message: Event | Alarm | Note | Beat | Score | StreamState | Status | list[Score]) -> bytes:
    """Anything else that is published, as MessagePack."""
    return _encode(message)


def decode_event(payload: bytes) -> Event | Alarm | Note:
    """An event, an alarm that changed, or what somebody said of one; raises SchemaError."""
    return cast("Event | Alarm | Note", _published(payload, cast("type[object]", Event | Alarm | Note)))


def decode_beat(payload: bytes) -> Beat:
    """A beat; raises SchemaError."""
    return _published(payload, Beat)


def decode_scores(payload: bytes) -> list[Score]:
    """The scores of one or more hops; raises SchemaError."""
    return _published(payload, list[Score])


def decode_state(payload: bytes) -> StreamState:
    """The state of a stream; raises SchemaError."""
    return _published(payload, StreamState)


def decode_status(payload: bytes) -> Status:
    """The status of the daemon; raises SchemaError."""
    return _published(payload, Status)


def _published(payload: bytes, kind: type[T]) -> T:
    try:
        return msgspec.msgpack.decode(payload, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SchemaError(
            f"expected a published {kind}, got {len(payload)} bytes that are not one: {error}"
        ) from error
