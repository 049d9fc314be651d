"""A forecaster for a series of which nobody has told us anything: what to ask of it, from the series itself.

The rules are few, and were chosen on three series of the UCR archive and on what is known of none: a step of the
recurrence is as long as lets the 50 steps of a window hold about one and a half of the longest strong period; the
newest steps also reach the forecast directly; and what came is judged by its mean distance from the forecast over
half a window, so that a beat that is odd counts as much as one sample that is far off.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from monitor.core.errors import RecordingError
from monitor.recordings import Recording, read_recording
from training.preparation import dominant_frequencies, fill_missing

WINDOW, DIRECT_STEPS = 50, 10
STEPS_A_PERIOD = 30
MOST_SAMPLES_PER_STEP = 8
HORIZONS = (50, 24, 12)
SHARES = ((0.7, 0.1, 0.1, 0.1), (0.58, 0.14, 0.14, 0.14), (0.4, 0.2, 0.2, 0.2))
"""Of train, validation, calibration and test: the first that leaves enough in each."""
UPDATES = 700
"""Batches to train on, about."""
BATCH = 64
MOST_EPOCHS = 60


def base_of_series(path: str, rate_hz: float | None, first: int = 0) -> dict[str, Any]:
    """What `load_config` starts from for the recording at `path`, of which the first samples alone may be learned.

    Raises RecordingError for a recording that cannot be read, or is too short.
    """
    return series_config(read_recording(path, rate_hz), path, rate_hz, first)


def series_config(recording: Recording, path: str, rate_hz: float | None, first: int = 0) -> dict[str, Any]:
    """The same of a recording that has been read."""
    values = recording.values[: first or None]
    model, shares = _shape(values, recording.name)
    steps = shares[0] * len(values) / model["samples_per_step"] - WINDOW
    batches = max(math.ceil(min(steps, 20_000) / BATCH), 1)
    data = {"source": "recording", "path": path, "shares": list(shares), "first": first}
    if rate_hz is not None:
        data["rate_hz"] = rate_hz
    return {
        "name": f"{Path(path).stem}-forecast"[:60],
        "task": "forecast",
        "data": data,
        "model": model,
        "train": {"hop": 1, "batch": BATCH, "epochs": min(max(math.ceil(UPDATES / batches), 4), MOST_EPOCHS)},
    }


def _shape(values: np.ndarray, name: str) -> tuple[dict[str, Any], tuple[float, float, float, float]]:
    """The network, and how to split what there is: as fine as the smallest part has room for."""
    for shares in SHARES:
        least = int(shares[-1] * len(values))
        for horizon in HORIZONS:
            room = (least - horizon) // WINDOW
            if room >= 1:
                wanted = round(longest_period(values) / STEPS_A_PERIOD)
                fold = min(max(wanted, 1), MOST_SAMPLES_PER_STEP, room)
                shape = {
                    "window": WINDOW, "samples_per_step": fold, "hop": 1, "horizon": max(horizon, fold),
                    "direct": DIRECT_STEPS * fold, "score_steps": WINDOW // 2,
                }  # fmt: skip
                return shape, shares
    needed = math.ceil((WINDOW + HORIZONS[-1]) / SHARES[-1][-1])
    raise RecordingError(
        f"{name}: expected at least {needed} samples to learn from, got {len(values)}; take a longer recording"
    )


def longest_period(values: np.ndarray) -> float:
    """The longest of the three strongest periods of the first channel, in samples; 1 where there is none."""
    if not np.isfinite(values[:, 0]).any():
        return 1.0
    filled, _ = fill_missing(values[:, 0])
    found = [1 / frequency for frequency, _ in dominant_frequencies(filled, 1.0) if frequency > 0]
    return max(found, default=1.0)
