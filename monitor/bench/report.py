"""All measurements of one run, and the table of them."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import msgspec
import numpy as np
import onnxruntime

from monitor import __version__
from monitor.bench import kernels, rivals
from monitor.bench.fleet import Load
from monitor.bench.live import Outcome, cost_of, daemon, first_inference_ms, under_load
from monitor.bench.timing import best_times
from monitor.inference import find_models, load_model

Told = dict[str, Any]
Say = Callable[[str], None]


class Extent(NamedTuple):
    """How much to measure."""

    rounds: int
    leapfrog: tuple[int, ...]
    scaling: tuple[int, ...]
    sustained: tuple[int, ...]
    seconds: float
    speed: float
    """Times as fast as life."""
    rival_samples: int


FULL = Extent(
    9,
    (1, 16, 64, 256, 1000, 4000),
    (1, 10, 100, 1000, 4000),
    (250, 500, 1000, 1500, 2000, 3000, 4000),
    10.0,
    1.0,
    20_000,
)
QUICK = Extent(1, (1, 64), (1, 8), (8,), 1.0, 5.0, 300)

_LIVELY = 800
"""Streams at their own speed that make a daemon busy: with more of them each sends more slowly, with fewer
faster, so that what differs is how many streams there are, and not how busy the daemon is."""

_BLOCK = 10
"""Samples of a stream that come at once, where states are carried."""

_EVERY_SAMPLE_SPEED = 0.8
"""Of a thousand streams: a daemon that is busy, as what it is compared with is."""
_EVERY_SAMPLE: list[dict[str, Any]] = [{"name": "ecg/*", "models": ["bench-gru"]}]


async def measure(extent: Extent, say: Say) -> Told:
    """Everything, in about two minutes, or in seconds with QUICK."""
    told: Told = {"machine": machine(), "quick": extent is QUICK}
    say("onnxruntime against a matrix product")
    shares, by_batch = kernels.share_of_peak(extent.rounds)
    told["ort_vs_sgemm"] = shares
    told["ort_vs_sgemm_by_batch"] = {cell: {str(b): v for b, v in row.items()} for cell, row in by_batch.items()}
    say("leapfrog against windows")
    told |= _leapfrog(extent)
    direct, slid = kernels.direct_against_sliding(extent.rounds)
    told["forecast_vs_sliding"] = slid / direct
    told["forecast_us"] = {"direct": 1e6 * direct, "sliding": 1e6 * slid}
    say("a daemon, from its start to the first forecast")
    told["startup_ms"] = min([await first_inference_ms() for _ in range(1 if extent is QUICK else 3)])
    say("a daemon against onnxruntime, reading windows")
    told |= await _against_onnxruntime(extent)
    say("a daemon that asks a model at every sample, against what one would compare it with")
    told |= await _every_sample(extent)
    outcomes: dict[int, Outcome] = {}
    for streams in extent.scaling:
        say(f"a daemon with {streams} streams of ECG, in leapfrog")
        outcomes[streams] = await _ecg(streams, extent, speed=min(_LIVELY / streams, 8.0))
    told["scaling"] = {str(streams): cost_of(outcome) for streams, outcome in outcomes.items()}
    say("the same with few streams at their own speed")
    few = [streams for streams in extent.scaling if streams <= 100]
    told["scaling_at_own_speed"] = {
        str(streams): cost_of(await _ecg(streams, extent, extent.speed)) for streams in few
    }
    told["rss_by_streams_mib"] = {str(streams): outcome.rss_mib for streams, outcome in outcomes.items()}
    told |= await _sustained(extent, say)
    return told


def machine() -> Told:
    """What the figures were taken on; they are for comparing, not for quoting."""
    return {
        "foretrace": __version__,
        "python": platform.python_version(),
        "onnxruntime": onnxruntime.__version__,
        "numpy": np.__version__,
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
    }


def _leapfrog(extent: Extent) -> Told:
    told: Told = {}
    at = min(extent.leapfrog, key=lambda streams: abs(streams - 256))
    for name, hops in (("leapfrog_vs_window", _BLOCK), ("leapfrog_vs_window_one_by_one", 1)):
        times = {
            streams: kernels.leapfrog_against_window(streams, extent.rounds, hops=hops)
            for streams in extent.leapfrog
        }
        ratios = {streams: read / carried for streams, (carried, read) in times.items()}
        told |= {name: ratios[at], f"{name}_by_streams": {str(n): ratio for n, ratio in ratios.items()}}
        told[f"{name}_us"] = {str(n): {"carried": 1e6 * c, "window": 1e6 * w} for n, (c, w) in times.items()}
    return told


async def _against_onnxruntime(extent: Extent) -> Told:
    """The daemon's CPU seconds under windows of ECG at 360 Hz; bare onnxruntime is measured before and after."""
    streams = 8 if extent is QUICK else 200
    beats, forecast = (load_model(find_models(None)[name]) for name in ("ecg-beats", "ecg-forecast"))
    calls: list[Callable[[], object]] = []
    for model in (beats, forecast):
        shape = (256, model.card.window_samples, model.card.channels)
        windows = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        calls.append(partial(model.run, windows))
    before = best_times(calls, extent.rounds)
    async with daemon(mode="window") as running:
        outcome = await under_load(running, Load(streams=streams, seconds=extent.seconds, speed=4.0))
    after = best_times(calls, extent.rounds)
    each = [min(pair) / 256 for pair in zip(before, after, strict=True)]
    # Two hops of the beat model for each of the forecaster, which is asked at every second step.
    bare = outcome.windows * (2 * each[0] + each[1]) / 3
    return {
        "daemon_vs_ort": bare / outcome.cpu_s,
        "daemon_us_a_block": 1e6 * (outcome.cpu_s - bare) / (outcome.samples / 36),
        "daemon_in_window_mode": msgspec.to_builtins(outcome),
    }


async def _every_sample(extent: Extent) -> Told:
    streams = 8 if extent is QUICK else 1000
    async with daemon(kernels.NETWORKS, _EVERY_SAMPLE, mode="leapfrog", states=2) as running:
        load = Load(streams=streams, seconds=extent.seconds, speed=_EVERY_SAMPLE_SPEED, unit="")
        outcome = await under_load(running, load)
    ours = outcome.cpu_s / outcome.samples
    naive = rivals.naive_torch(2, max(extent.rival_samples // 40, 10))
    trees = rivals.half_space_trees(extent.rival_samples)
    return {
        "every_sample_us": 1e6 * ours,
        "speedup_vs_naive_torch": None if naive is None else naive / ours,
        "naive_torch_us": None if naive is None else 1e6 * naive,
        "speedup_vs_river_hst": None if trees is None else trees / ours,
        "river_hst_us": None if trees is None else 1e6 * trees,
    }


async def _ecg(streams: int, extent: Extent, speed: float) -> Outcome:
    async with daemon(mode="leapfrog") as running:
        return await under_load(running, Load(streams=streams, seconds=extent.seconds, speed=speed))


async def _sustained(extent: Extent, say: Say) -> Told:
    """As many streams as one daemon keeps up with: beats and forecast in leapfrog, at 360 Hz as they happen."""
    best: Outcome | None = None
    for streams in extent.sustained:
        say(f"whether a daemon sustains {streams} streams of ECG at 360 Hz")
        outcome = await _ecg(streams, extent, extent.speed)
        if not outcome.is_sustained:
            best = best or outcome
            break
        best = outcome
    if best is None:
        return {}
    return {
        "streams_sustained_360hz": best.streams if best.is_sustained else 0,
        "latency_ms": {"p50": best.latency_p50_ms, "p99": best.latency_p99_ms},
        "loop_lag_ms": {"p50": best.loop_lag_p50_ms, "p99": best.loop_lag_p99_ms},
        "rss_mib": best.rss_mib,
        "cpu_share": best.cpu_s / best.seconds,
        "streams_a_core": best.streams * best.seconds / best.cpu_s if best.cpu_s else None,
        "sustained": msgspec.to_builtins(best),
        "first_not_sustained": None if outcome.is_sustained else msgspec.to_builtins(outcome),
    }


AIMS: dict[str, tuple[str, str]] = {
    "ort_vs_sgemm.lstm": ("onnxruntime, LSTM: share of a matrix product's speed", ">= 0.60"),
    "ort_vs_sgemm.gru": ("onnxruntime, GRU", ">= 0.45"),
    "ort_vs_sgemm.rnn": ("onnxruntime, RNN", ">= 0.30"),
    "daemon_vs_ort": ("daemon, as a share of bare onnxruntime per CPU second", ">= 0.90"),
    "leapfrog_vs_window": ("leapfrog against window, 256 streams, ten samples at once, times", ">= 20"),
    "leapfrog_vs_window_one_by_one": ("the same sample by sample", ""),
    "forecast_vs_sliding": ("forecast of 50 against sliding, batch 64, times", ">= 25"),
    "speedup_vs_naive_torch": ("a model on every sample against a plain torch loop, times", ">= 100"),
    "speedup_vs_river_hst": ("against River's HalfSpaceTrees, times", ">= 20"),
    "streams_sustained_360hz": ("streams of ECG at 360 Hz, beats and forecast", ">= 2000"),
    "streams_a_core": ("as many as one core would take, by the CPU seconds of these", ""),
    "latency_ms.p50": ("from receipt to event, ms: half", ""),
    "latency_ms.p99": ("from receipt to event, ms: 99 %", "< 100"),
    "loop_lag_ms.p50": ("event loop late by, ms: half", ""),
    "loop_lag_ms.p99": ("event loop late by, ms: 99 %", ""),
    "startup_ms": ("from start to the first forecast, ms", "< 700"),
    "rss_mib": ("memory with those streams, MiB", "< 120 + 20 KiB each"),
}


def value_at(told: Told, path: str) -> float | None:
    """The number under `a.b`, None where there is none."""
    found: Any = told
    for key in path.split("."):
        found = found.get(key) if isinstance(found, dict) else None
    return None if found is None else float(found)


def table(told: Told) -> str:
    """What was measured beside what is aimed at."""
    rows = [("what", "measured", "aim")]
    for path, (name, aim) in AIMS.items():
        value = value_at(told, path)
        rows.append((name, "not installed" if value is None else f"{value:.3g}", aim))
    costs = told["scaling"]
    rows += [(f"CPU ms for 1000 samples, {n} streams", f"{1000 * cost:.3g}", "") for n, cost in costs.items()]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])
