"""How good a signal is, from its samples alone: what is missing, flat, at its rails, or noise."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from monitor.core.blocks import NS
from monitor.dashboard.trace import Trace

LOOK_S = 4.0
LEAST_SAMPLES = 20
FLAT_SHARE = 0.5
RAIL_SHARE = 0.06
NOISY, VERY_NOISY = 0.75, 1.1
BEST = 4


class Quality(NamedTuple):
    """Nothing (0) to fine (4), and what is wrong."""

    level: int
    fault: str = ""


def quality(trace: Trace | None, channel: int) -> Quality | None:
    """Of the last seconds of a channel; None while too little is known."""
    if trace is None or channel >= trace.channels:
        return None
    _, values = trace.between(trace.newest_ns - round(LOOK_S * NS), trace.newest_ns)
    signal = values[:, channel].astype(np.float64)
    if len(signal) < LEAST_SAMPLES:
        return None
    return _judged(signal)


def _judged(signal: NDArray[np.float64]) -> Quality:
    known = signal[np.isfinite(signal)]
    missing = 1 - len(known) / len(signal)
    if missing > 0.5 or len(known) < LEAST_SAMPLES:
        return Quality(0, "missing")
    steps = np.diff(known)
    low, high = known.min(), known.max()
    rails = max(_longest_run(known == rail) / len(known) for rail in (low, high))
    roughness = float(np.std(np.diff(steps)) / (np.std(known) * np.sqrt(6) + 1e-12))  # white noise gives 1
    is_flat = high - low <= 1e-9 * max(abs(high), abs(low), 1e-9)
    verdicts = (
        (is_flat or _longest_run(steps == 0) > FLAT_SHARE * len(known), Quality(0, "flat line")),
        (rails > RAIL_SHARE, Quality(1, "saturated")),
        (missing > 0.02, Quality(2, f"{missing:.0%} missing")),
        (roughness > VERY_NOISY, Quality(1, "noise")),
        (roughness > NOISY, Quality(2, "noisy")),
        (missing > 0, Quality(BEST - 1)),
    )
    return next((verdict for holds, verdict in verdicts if holds), Quality(BEST))


def _longest_run(holds: NDArray[np.bool_]) -> int:
    """Length of the longest stretch that holds."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], holds.astype(np.int8), [0]))))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def bars(level: int, *, blocks: bool) -> str:
    """A level as a little staircase."""
    steps = "▂▄▆█" if blocks else "1234"
    return "".join(step if i < level else ("·" if blocks else ".") for i, step in enumerate(steps))
