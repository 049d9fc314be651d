"""The two ways to forecast many steps, and what each takes.

Slide: forecast one step, append it to the window as if it had come, drop the oldest, ask again. The documents
that this project starts from do it so; here it is the reference. The model is asked as often as there are steps,
and the further it gets, the more of its window is its own words.

Direct: the head gives all steps at once, as it was trained to. That is what is served.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from monitor.core.blocks import Floats

Ask = Callable[[Floats], Floats]
"""Windows (batch, time, channel) -> forecasts (batch, horizon, channel)."""


def slide(ask: Ask, windows: Floats, steps: int) -> Floats:
    """The next `steps` values (batch, step, channel), each forecast from a window that holds those before it."""
    window = windows
    made: list[Floats] = []
    for _ in range(steps):
        step = ask(window)[:, :1]  # (batch, 1, channel)
        made.append(step)
        window = np.concatenate((window[:, 1:], step), axis=1)
    return np.concatenate(made, axis=1)


@dataclass(frozen=True)
class FormFigures:
    """How the two forms fare on the same windows."""

    windows: int
    horizon: int
    mse_direct: float
    mse_slide: float
    rms_apart: float
    """Root mean square of their difference, over the spread of the values forecast."""


def compare_forms(ask: Ask, windows: Floats, targets: Floats) -> FormFigures:
    """Both forms for `windows` (n, time, channel), of which `targets` (n, horizon, channel) came."""
    steps = targets.shape[1]
    direct = ask(windows)
    slid = slide(ask, windows, steps)
    return FormFigures(
        windows=len(windows),
        horizon=steps,
        mse_direct=float(np.square(direct - targets, dtype=np.float64).mean()),
        mse_slide=float(np.square(slid - targets, dtype=np.float64).mean()),
        rms_apart=float(np.sqrt(np.square(slid - direct, dtype=np.float64).mean()) / max(targets.std(), 1e-9)),
    )


def best_times(calls: Sequence[Callable[[], object]], rounds: int = 11, round_s: float = 0.02) -> list[float]:
    """Seconds that each call takes, the best of `rounds`.

    Rounds are interleaved, so that whatever else the machine does for a while meets all alike; within one a call
    is repeated until `round_s` is filled, so that the clock's own grain does not count.
    """
    repeats = []
    for call in calls:
        call()  # the first one allocates
        began = time.perf_counter()
        call()
        repeats.append(max(1, round(round_s / max(time.perf_counter() - began, 1e-7))))
    best = [float("inf")] * len(calls)
    for _ in range(rounds):
        for i, call in enumerate(calls):
            began = time.perf_counter()
            for _ in range(repeats[i]):
                call()
            best[i] = min(best[i], (time.perf_counter() - began) / repeats[i])
    return best
