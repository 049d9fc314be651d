"""What warnings of limits are worth: how many crossings were foreseen, how early, and how many warnings came true.

Streams run through the whole engine with a range for their values. A crossing begins where the median of five
values leaves the range after a minute inside (twelve values, where they are rarer); a warning is an alarm of the
kind "limit-ahead". It is right when a crossing begins while it lasts, or within the horizon after it was raised; a
crossing is foreseen when such a warning came before. Beside that stands how often a warning at any time at all
would be right.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from monitor.core.blocks import NS, Alarm, Block, Floats, Kind, State
from monitor.core.card import Card
from monitor.core.engine import Engine
from monitor.core.stream import Plan
from monitor.core.vitals import VitalSign
from monitor.inference import load_model
from monitor.recordings import read_recording
from training.quiet_signals import stand_in

Doubles = NDArray[np.float64]
Say = Callable[[str], None]

LIMIT = 90.0
SECONDS = 1800
WINDOW = HORIZON = 50
LEARNED_HOURS = 8
SERIES_LEARNED = 0.15
SERIES = ("machine_temperature_system_failure", "nyc_taxi")
OUTER = 1.0
"""Percentiles of the learned part that a recorded series' range leaves out at each end."""


class Forecaster(Protocol):
    """What the engine asks."""

    def run(self, windows: Floats) -> dict[str, Floats]:
        """See monitor.inference.Model.run."""
        ...


class Line:
    """Goes on along the least-squares line of the window."""

    def __init__(self, window: int = WINDOW, horizon: int = HORIZON) -> None:
        t = np.arange(window) - (window - 1) / 2
        self._weights = t / np.square(t).sum()
        self._ahead = np.arange(1, horizon + 1) + (window - 1) / 2

    def run(self, windows: Floats) -> dict[str, Floats]:
        """See Forecaster.run."""
        values = windows[:, :, 0].astype(np.float64)
        slope = values @ self._weights
        path = values.mean(axis=1)[:, None] + slope[:, None] * self._ahead
        mean = path[:, :, None].astype(np.float32)
        return {"forecast": mean, "lower": mean - 1, "upper": mean + 1}


@dataclass(frozen=True)
class Series:
    """Values (time,) of one stream, and how often they come."""

    values: Doubles
    rate_hz: float


def drifts(count: int, seed: int) -> list[Series]:
    """Half an hour of oxygen saturation each: half sink below 90, a quarter sink and recover, a quarter stay."""
    found = []
    for i in range(count):
        random = np.random.default_rng([seed, i])
        at_s, slope = random.uniform(300, 900), -random.uniform(0.5, 2.0)
        sinks = i % 2 == 0
        signal = VitalSign(
            seed=1000 * seed + i, drift_at_s=at_s if sinks else np.inf, drift_per_minute=slope, limit=LIMIT
        )
        values = signal.next(SECONDS)[0][:, 0].astype(np.float64)
        if i % 4 == 1:  # back again before the limit
            t = np.arange(SECONDS) - at_s
            depth = random.uniform(3.0, 5.0)
            down_s = depth / -slope * 60
            values -= depth * np.clip(np.minimum(t / down_s, 2 - t / down_s), 0, 1)
        found.append(Series(values, 1.0))
    return found


def crossings(series: Series, low: float, high: float) -> list[int]:
    """Samples at which a crossing begins."""
    values = np.concatenate([series.values[:1].repeat(4), series.values])
    middle = np.median(np.lib.stride_tricks.sliding_window_view(values, 5), axis=1)
    out = (middle < low) | (middle > high)
    apart = max(round(60 * series.rate_hz), 12)
    found: list[int] = []
    last = -apart
    for at in np.flatnonzero(out).tolist():
        if at - last > apart:
            found.append(at)
        last = at
    return found


def warned(
    all_series: Sequence[Series], card: Card, model: Forecaster, low: float, high: float
) -> list[list[tuple[int, int]]]:
    """For each series the samples from and to which each warning lasted."""
    plan = Plan(models=(card.name,), limits={"*": (low, high)}, quality=False)
    engine = Engine({card.name: card}, lambda _: plan, max_streams=len(all_series), max_waiting=2**40)
    found: list[list[tuple[int, int]]] = [[] for _ in all_series]
    longest = max(len(one.values) for one in all_series)
    for start in range(0, longest, 100):
        for i, one in enumerate(all_series):
            values = one.values[start : start + 100, None].astype(np.float32)
            if len(values):
                t0_ns = round(start / one.rate_hz * NS)
                engine.push(Block(f"s/{i}", values, "", start, t0_ns, one.rate_hz), 0, 0)
        while (batch := engine.ready(card.name, 256)) is not None:
            for _, alarm in engine.conclude(batch, model.run(batch.windows)).notices:
                if isinstance(alarm, Alarm) and alarm.kind is Kind.LIMIT_AHEAD:
                    i = int(alarm.stream.removeprefix("s/"))
                    at = round(alarm.changed_ns / NS * all_series[i].rate_hz)
                    if alarm.state is State.CLEARED:
                        found[i][-1] = (found[i][-1][0], at)
                    elif alarm.times == 1:
                        found[i].append((at, len(all_series[i].values)))
    return found


def judge(
    name: str, forecaster: str, all_series: Sequence[Series], told: Sequence[list[tuple[int, int]]],
    low: float, high: float, horizon: int,
) -> dict[str, Any]:  # fmt: skip
    """Recall, precision and lead of warnings; `horizon` in samples."""
    leads, count, right = [], 0, 0
    spans = [max(end - at, horizon) for raised in told for at, end in raised]
    usual = round(float(np.median(spans))) if spans else horizon
    chance: list[NDArray[np.bool_]] = []
    for series, raised in zip(all_series, told, strict=True):
        begins = crossings(series, low, high)
        count += len(begins)
        reach = [(at, max(end, at + horizon)) for at, end in raised]
        right += sum(any(at <= begin <= end for begin in begins) for at, end in reach)
        near = np.zeros(len(series.values), np.bool_)
        for begin in begins:
            near[max(begin - usual, 0) : begin + 1] = True
        chance.append(near)
        for begin in begins:
            before = [at for at, end in reach if at <= begin <= end]
            leads += [(begin - before[0]) / series.rate_hz] if before else []
    return {
        "signal": name,
        "forecaster": forecaster,
        "hours": sum(len(one.values) / one.rate_hz for one in all_series) / 3600,
        "crossings": count,
        "warnings": len(spans),
        "recall": 100 * len(leads) / count if count else None,
        "precision": 100 * right / len(spans) if spans else None,
        "chance": 100 * float(np.concatenate(chance).mean()),
        "lead_s": float(np.median(leads)) if leads else None,
        "horizon_s": horizon / all_series[0].rate_hz,
    }


def learned(path: Path, rate_hz: float, first: int, folder: Path, seed: int) -> Any:
    """A network, learned as `training fit --recording` does, from the first samples of a recording (0: all)."""
    from training.config import load_config
    from training.export import export
    from training.fit import fit
    from training.series import base_of_series

    base = base_of_series(str(path), rate_hz, first)
    run = fit(load_config(None, [f"seed={seed}"], base), None, folder, quiet=True)
    return load_model(export(run, None, lambda _: None))


def evaluate_warnings(data: Path | None, say: Say, *, streams: int = 100, seed: int = 0) -> list[dict[str, Any]]:
    """On simulated drifts, and on the series of `data`/nab where there are any."""
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        say("warnings on simulated drifts")
        values = np.concatenate([one.values for one in drifts(2 * LEARNED_HOURS, seed + 7)])
        table = folder / "drifts.csv"
        table.write_text("SpO2\n" + "\n".join(f"{value:.1f}" for value in values) + "\n")
        model = learned(table, 1.0, 0, folder, seed)
        tests = drifts(streams, seed + 1)
        rows += _both("drifts", tests, model, LIMIT, np.inf)
        for name in SERIES:
            path = None if data is None else data / "nab" / f"{name}.csv"
            if path is None or not path.is_file():
                continue
            say(f"warnings on {name}")
            record = read_recording(path)
            first = round(SERIES_LEARNED * len(record.values))
            series = record.values[:, 0].astype(np.float64)
            low, high = np.nanpercentile(series[:first], [OUTER, 100 - OUTER])
            model = learned(path, record.rate_hz, first, folder, seed)
            rows += _both(name, [Series(series[first:], record.rate_hz)], model, float(low), float(high))
    return rows


def _both(name: str, tests: Sequence[Series], model: Any, low: float, high: float) -> list[dict[str, Any]]:
    """By the network, and by the line through a window of as long."""
    card = model.card
    window, horizon = card.window_samples, card.horizon * card.samples_per_step
    rows = [judge(name, card.cell.upper(), tests, warned(tests, card, model, low, high), low, high, horizon)]
    hop = card.hop_samples
    line = stand_in("line", window, hop, card.rate_hz, horizon)
    told = warned(tests, line, Line(window, horizon), low, high)
    return [*rows, judge(name, "straight line", tests, told, low, high, horizon)]
