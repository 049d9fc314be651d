"""Messages for tests, with only what a test cares about spelled out."""

from __future__ import annotations

import math

import numpy as np

from monitor.core.blocks import NS, Alarm, Beat, Block, Event, Forecast, Kind, Score, State
from monitor.core.published import LedgerCounts, Status, StreamState
from monitor.dashboard.raster import Cells
from monitor.dashboard.state import Board
from monitor.dashboard.timing import Timing

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


def board_with(*messages, now_s: float = 0.0) -> Board:
    board = Board()
    for message in messages:
        board.fold(message, now_s)
    return board


def sine_board(seconds: float = 20.0, stream: str = "s", rate_hz: float = 100.0, *, now_s: float = 0.0) -> Board:
    board = Board()
    board.fold(status(), now_s)
    add_sine(board, stream, seconds, rate_hz, now_s)
    return board


def add_sine(
    board: Board, stream: str, seconds: float, rate_hz: float = 100.0, now_s: float = 0.0, channels: int = 1
):
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    values = np.repeat(np.sin(2 * math.pi * t)[:, None], channels, axis=1)
    board.fold(
        state(stream, newest_s=t[-1], rate_hz=rate_hz, channels=tuple(f"c{i}" for i in range(channels))), now_s
    )
    board.fold(block(values, 0.0, stream=stream, rate_hz=rate_hz), now_s)


def text_of(cells: Cells) -> list[str]:
    return ["".join(text for text, _, _ in row) for row in cells.runs(list(range(len(cells.glyph))))]


def timing(
    head_s: float, *, columns: int = 120, window_s: float = 4.0, ahead_s: float = 1.0, sweeps: bool = False
):
    return Timing.of(columns, window_s, ahead_s, at(head_s), sweeps=sweeps)
