"""Whether a false-alarm budget is kept, and what it costs in what is found and how late.

Quiet signals run through the monitor's own judge (monitor.core.judging) or its whole engine; an alarm is one that
the daemon would raise. Alarms raised over alarms allowed is all that counts, from the first second on: the minutes
of warm-up, in which none is raised, are part of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.core.batches import Batch
from monitor.core.blocks import NS, Alarm, Floats, Ints, Kind, State
from monitor.core.card import Card
from monitor.core.errors import ConfigError
from monitor.core.judging import ForecastJudge
from monitor.core.rules import Rule
from monitor.inference import find_models, load_model
from monitor.recordings import read_recording
from training.baselines import fit_autoregression
from training.dynamic_threshold import BATCH, flag, smooth
from training.quiet_ecgs import kept_on_ecgs, quiet_records
from training.quiet_signals import BURST_HOPS, HOP_S, KINDS, Follower, QuietSignals, stand_in

Doubles = NDArray[np.float64]
Bools = NDArray[np.bool_]
Say = Callable[[str], None]

BUDGETS = (0.1, 1.0, 6.0)
FIXED = (2.0, 2.5, 3.0, 4.0)
"""Levels to compare with, in usual sizes: 4 is a daemon's without a budget, 2 happens to suit these signals."""
BURSTS_PER_HOUR = 0.25
FOUND_S = 5.0
"""An alarm so long after a burst begins has found it."""
SERIES = ("machine_temperature_system_failure", "nyc_taxi")
"""Of the Numenta Anomaly Benchmark: months of two or twelve values an hour, which no larger budget suits."""
ECG_MODEL = "ecg-forecast"
LEARNED = 0.15
"""Of a series, for the autoregression."""


@dataclass(frozen=True)
class Watch:
    """What a judge has raised: alarms (n, 2) as (stream, hop)."""

    raised: Ints
    hops: int


class Watcher:
    """A judge of forecasts whose streams have budgets, or a fixed level where `level` is given."""

    def __init__(self, card: Card, per_hour: Sequence[float], level: float | None = None) -> None:
        rules = [] if level is None else [Rule(kind=Kind.DEVIATION, raise_level=level, clear_level=level / 2)]
        self._judge = ForecastJudge(card, rules, len(per_hour), str)
        for slot, allowed in enumerate(per_hour):
            self._judge.budgets.allow(slot, allowed or None)
        self._card, self._slots, self._hop = card, np.arange(len(per_hour)), 0
        self._raised: list[tuple[int, int]] = []

    def step(self, came: Floats, outputs: dict[str, Floats]) -> None:
        """The hop `came` (stream, time, channel), and what is forecast after it."""
        n, hop = len(self._slots), self._card.hop_samples
        self._hop += 1
        ends = np.full(n, self._hop * hop)
        t_ns = np.full(n, round(self._hop * hop / self._card.rate_hz * NS))
        one = np.ones(n, np.int64)
        found = self._judge.step(Batch("", self._slots, one, ends, t_ns, one, came), outputs).notices
        self._raised += [
            (row, self._hop)
            for row, notice in found
            if isinstance(notice, Alarm) and notice.state is State.ACTIVE and notice.times == 1
        ]

    def told(self) -> Watch:
        """What was raised so far."""
        return Watch(np.array(self._raised, np.int64).reshape(-1, 2), self._hop)


def kept_on(kind: str, streams: int, hours: float, seed: int) -> dict[str, Any]:
    """How the budgets are kept on simulated signals of one kind."""
    n = streams * len(BUDGETS)
    signals, follower = QuietSignals(kind, streams, seed), Follower(streams)
    watcher = Watcher(stand_in("follower"), np.repeat(BUDGETS, streams).tolist())
    outputs = _tiled(follower.forecast(np.zeros((streams, 1))), len(BUDGETS))
    for _ in range(round(hours * 3600 / HOP_S)):
        values, _ = signals.next()
        came = np.tile(values.astype(np.float32), (len(BUDGETS), 1)).reshape(n, -1, 1)
        outputs = _tiled(follower.forecast(values), len(BUDGETS))
        watcher.step(came, outputs)
    raised = watcher.told().raised
    counts = np.bincount(raised[:, 0] // streams, minlength=len(BUDGETS))
    return _kept(kind, KINDS[kind], hours * streams, dict(zip(BUDGETS, counts.tolist(), strict=True)))


def _tiled(outputs: Mapping[str, Floats], times: int) -> dict[str, Floats]:
    return {name: np.tile(values, (times, 1, 1)) for name, values in outputs.items()}


def _kept(name: str, what: str, hours: float, counts: Mapping[float, int]) -> dict[str, Any]:
    """A row: the alarms raised, how many were allowed, and their ratio."""
    budgets = [
        {"per_hour": one, "allowed": round(one * hours, 2), "raised": count, "ratio": count / (one * hours)}
        for one, count in counts.items()
    ]
    return {"signal": name, "what": what, "hours": round(hours, 2), "budgets": budgets}


def kept_on_series(path: Path, budgets: Sequence[float]) -> dict[str, Any]:
    """The same on a recorded series of one channel, with an autoregression learned from its beginning."""
    record = read_recording(path)
    values = record.values[:, 0].astype(np.float64)
    values = np.where(np.isnan(values), np.nanmean(values), values)
    learned = max(round(LEARNED * len(values)), 100)
    model = fit_autoregression(values[:learned], 20)
    stretches = np.lib.stride_tricks.sliding_window_view(values, 20)
    expected = model.forecast(stretches)[:, 0]  # of the value after each stretch
    half = 1.645 * float(np.std(values[20:learned] - expected[: learned - 20]))
    watcher = Watcher(stand_in("ar", 1, 1, record.rate_hz, 1), list(budgets))
    n = len(budgets)
    for value, ahead in zip(values[19:], expected, strict=True):
        mean = np.full((n, 1, 1), ahead, np.float32)
        outputs = {"forecast": mean, "lower": mean - half, "upper": mean + half}
        watcher.step(np.full((n, 1, 1), value, np.float32), outputs)
    counts = np.bincount(watcher.told().raised[:, 0], minlength=n)
    hours = len(expected) / record.rate_hz / 3600
    what = f"a value every {1 / record.rate_hz / 60:g} minutes, AR(20)"
    return _kept(path.stem, what, hours, dict(zip(budgets, counts.tolist(), strict=True)))


def found_by(streams: int, hours: float, seed: int) -> list[dict[str, Any]]:
    """What is found of bursts in drifting signals, how late, for how many false alarms: budgets and others."""
    signals, follower = QuietSignals("drifting", streams, seed, BURSTS_PER_HOUR), Follower(streams)
    budgets = Watcher(stand_in("follower"), np.repeat(BUDGETS, streams).tolist())
    fixed = {level: Watcher(stand_in("follower"), [0.0] * streams, level) for level in FIXED}
    hops = round(hours * 3600 / HOP_S)
    bursts: list[tuple[int, int]] = []
    errors = np.zeros((streams, hops), np.float32)
    outputs = follower.forecast(np.zeros((streams, 1)))
    for hop in range(hops):
        values, begins = signals.next()
        bursts += [(stream, hop + 1) for stream in np.flatnonzero(begins).tolist()]
        errors[:, hop] = np.abs(values - outputs["forecast"][:, :, 0]).max(axis=1)
        outputs = follower.forecast(values)
        came = values.astype(np.float32)[:, :, None]
        budgets.step(np.tile(came, (len(BUDGETS), 1, 1)), _tiled(outputs, len(BUDGETS)))
        for watcher in fixed.values():
            watcher.step(came, outputs)
    rows = []
    told = budgets.told().raised
    for i, per_hour in enumerate(BUDGETS):
        mine = told[(told[:, 0] // streams) == i] - np.array([i * streams, 0])
        rows.append(_found(f"budget {per_hour:g} an hour", mine, bursts, hours * streams))
    for level, watcher in fixed.items():
        rows.append(_found(f"fixed, {level:g} times the usual", watcher.told().raised, bursts, hours * streams))
    for name, span in (("dynamic threshold, as published", None), ("dynamic threshold, not smoothed", 1)):
        alarms = []
        for stream in range(streams):
            one = errors[stream].astype(np.float64)
            flagged = flag(smooth(one) if span is None else one)
            onsets = np.flatnonzero(flagged & ~np.concatenate(([False], flagged[:-1])))
            alarms += [(stream, int(onset) + 1) for onset in onsets]
        decided = lambda hop: -(-hop // BATCH) * BATCH  # noqa: E731 when its batch is over
        raised = np.array(alarms, np.int64).reshape(-1, 2)
        rows.append(_found(name, raised, bursts, hours * streams, decided))
    return rows


def _found(
    name: str,
    raised: Ints,
    bursts: Sequence[tuple[int, int]],
    hours: float,
    decided: Callable[[int], int] = int,
) -> dict[str, Any]:
    """Recall, median delay and false alarms of alarms (n, 2) as (stream, hop)."""
    within = round(FOUND_S / HOP_S) + BURST_HOPS
    by_stream: dict[int, list[int]] = {}
    for stream, hop in raised.tolist():
        by_stream.setdefault(stream, []).append(hop)
    delays, used = [], set()
    for stream, begin in bursts:
        hit = next((hop for hop in by_stream.get(stream, ()) if begin <= hop < begin + within), None)
        if hit is not None:
            used.add((stream, hit))
            delays.append((decided(hit) - begin + 1) * HOP_S)
    false = len({(s, h) for s, h in raised.tolist()} - used)
    return {
        "method": name,
        "bursts": len(bursts),
        "recall": 100 * len(delays) / max(len(bursts), 1),
        "delay_s": float(np.median(delays)) if delays else None,
        "false_per_hour": false / hours,
    }


def evaluate_budgets(
    data: Path | None, say: Say, *, streams: int = 50, hours: float = 16.0, seed: int = 0, jobs: int = 1
) -> dict[str, Any]:
    """All of it; `data` holds `mitdb/` and `nab/`, what is not there is left out and said."""
    if data is not None and not data.is_dir():
        raise ConfigError(f"--data: {data}: expected a folder with mitdb/ or nab/ in it, got none")
    kept: list[dict[str, Any]] = []
    with ProcessPoolExecutor(jobs) as pool:
        simulated = pool.map(partial(kept_on, streams=streams, hours=hours, seed=seed), KINDS)
        searched = pool.submit(found_by, 2 * streams, hours / 2, seed + 1)
        for row in simulated:
            say(f"{row['signal']}: " + ", ".join(f"{b['per_hour']:g}: {b['ratio']:.2f}" for b in row["budgets"]))
            kept.append(row)
        found = searched.result()
    folder = None if data is None else data / "mitdb"
    if folder is not None and folder.is_dir():
        say("quiet records")
        kept.append(kept_on_ecgs(quiet_records(folder), load_model(find_models(None)[ECG_MODEL]), BUDGETS))
    else:
        say("no recordings of ECGs: --data DIR with DIR/mitdb")
    for name in SERIES:
        path = None if data is None else data / "nab" / f"{name}.csv"
        if path is not None and path.is_file():
            say(name)
            kept.append(kept_on_series(path, BUDGETS[:1]))
    return {"streams": streams, "hours": hours, "seed": seed, "kept": kept, "found": found}
