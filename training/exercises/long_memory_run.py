"""The carried LSTM of the exercise long-memory as a run folder, and the signal going on to watch it on.

The monitor starts each window from an empty state. So what is served is the same network over windows of 200:
what it loses by that, the table of the exercise says.
"""

from __future__ import annotations

from pathlib import Path

import torch

from monitor.core.card import Source
from training.baselines import Array
from training.config import FitConfig, ModelShape, RecordingData, Schedule
from training.exercises.carrier import AHEAD, BURN_IN, CROPS, HIDDEN, RANK, RATE, Carrier
from training.exercises.keeping import digest_of, keep_model, write_stream
from training.exercises.result import Options

WINDOW = 200
STREAM = "long-memory.csv"


def keep_carrier(
    carrier: Carrier,
    scaling: tuple[float, float],
    endless: Array,
    learned: int,
    rate_hz: float,
    seed: int,
    options: Options,
    *,
    steps: int,
    seconds: float,
) -> Path:
    """The network under `scaling` (offset, scale) as a forecaster of the next 40 values.

    Its first `learned` values of `endless` it was trained on; its interval is set on what comes later, and its
    figures are of what comes last.
    """
    stream = options.out / STREAM
    write_stream(stream, endless, rate_hz)
    apart = 2 * learned / len(endless)
    rest = (1 - apart) / 2
    config = FitConfig(
        name="long-memory",
        task="forecast",
        seed=seed,
        data=RecordingData(path=str(stream), shares=(apart / 2, apart / 2, rest, rest)),
        model=ModelShape(cell="lstm", hidden=HIDDEN, rank=RANK, window=WINDOW, hop=1, horizon=AHEAD),
        train=Schedule(epochs=steps, batch=CROPS, hop=1, first_step=BURN_IN, learning_rate=RATE),
    )
    weights = {name: value for name, value in carrier.state_dict().items() if not name.startswith("mean")}
    weights |= {f"mean.{part}": carrier.state_dict()[f"mean.{part}"][AHEAD:] for part in ("weight", "bias")}
    weights |= {
        f"scaling.{name}": torch.tensor([value]) for name, value in zip(("offset", "scale"), scaling, strict=True)
    }
    told = Source(
        "exercise long-memory", "", digest_of(endless[:learned]), f"the first {learned} values of {STREAM}"
    )
    return keep_model(config, weights, told, options.out, steps=steps, seconds=seconds)
