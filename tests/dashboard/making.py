"""Messages for tests, with only what a test cares about spelled out."""

from __future__ import annotations

import math

import numpy as np

from monitor.core.blocks import NS, Alarm, Beat, Block, Event, Forecast, Kind, Score, State
from monitor.core.wire import LedgerCounts, Status, StreamState

T0 = 1_000_000 * NS  # a data time far from any wall clock


def at(seconds: float) -> int:
    return T0 + round(seconds * NS)


def block(
    values, t_s: float | None = 0.0, *, stream="s", rate_hz=100.0, seq=None, run="r", channels=(), unit="mV"
):
    array = np.asarray(values, np.float32)
    array = array[:, None] if array.ndim == 1 else array
    return Block(stream, array, run, seq, None if t_s is None else at(t_s), rate_hz, channels, unit)


def event(from_s: float, to_s: float, *, stream="s", kind=Kind.CLASS, label="V", score=0.9):
    return Event(stream, kind, label, at(from_s), at(from_s), at(to_s), score, 0.5, "m@1")


def alarm(id: str, raised_s: float = 0.0, *, priority="medium", state=State.ACTIVE, stream="s", **more):  # noqa: A002
    given = {"kind": Kind.CLASS, "label": "V", "score": 0.9, "threshold": 0.5, "changed_ns": at(raised_s)} | more
    return Alarm(id=id, stream=stream, priority=priority, state=state, raised_ns=at(raised_s), **given)


def forecast(made_s: float, mean, *, stream="s", rate_hz=100.0, half=0.1):
    array = np.asarray(mean, np.float32)
    array = array[:, None] if array.ndim == 1 else array
    return Forecast(stream, "m@1", at(made_s), rate_hz, array, array - half, array + half)


def beat(t_s: float, label="N", *, stream="s", rate_bpm=60.0):
    return Beat(stream, at(t_s), label, 0.9, 1.0, rate_bpm, "m@1")


def score(t_s: float, value: float, threshold=1.0, *, stream="s", kind=Kind.DEVIATION, label="forecast"):
    return Score(stream, kind, label, at(t_s), value, threshold)


def state(stream="s", *, newest_s=0.0, rate_hz=100.0, channels=("",), **more):
    given = {"unit": "mV", "models": ("m@1",), "warming": False, "ledger": LedgerCounts(received=10)} | more
    return StreamState(stream=stream, rate_hz=rate_hz, channels=channels, newest_ns=at(newest_s), **given)


def status(state="online", *, started_ns=1, latency_ms=math.nan):
    return Status("d", "0", state, started_ns, 2, latency_p50_ms=latency_ms)
