"""The best network of the fair spikes task as a run folder, and a stream with spikes to watch it on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from monitor.core.card import Cell, Source
from training.baselines import Array
from training.config import FitConfig, ModelShape, RecordingData, Schedule
from training.exercises.keeping import keep_model, write_stream
from training.exercises.result import Options
from training.exercises.spike_detectors import LENGTHS, SAMPLES, STEP_RAD

RATE_HZ = 50.0
STREAM = "fair-spikes.csv"


def endless(random: np.random.Generator, samples: int) -> tuple[Array, list[int]]:
    """The fair task as a stream (time,), its noise new every ten seconds, and where its spikes begin."""
    levels = np.repeat(random.uniform(0.1, 0.3, -(-samples // 500)), 500)[:samples]
    values = np.sin(random.uniform(0, 2 * np.pi) + STEP_RAD * np.arange(samples))
    values += levels * random.standard_normal(samples)
    starts: list[int] = []
    at = 0
    while (at := at + int(random.integers(100, 400))) < samples - LENGTHS[-1]:
        length = int(random.integers(LENGTHS[0], LENGTHS[-1] + 1))
        values[at : at + length] += random.uniform(0.5, 3) * random.choice((-1.0, 1.0))
        starts.append(at)
    return values, starts


def keep_finder(
    weights: Mapping[str, torch.Tensor],
    shape: ModelShape,
    seed: int,
    options: Options,
    *,
    steps: int,
    batch: int,
    seconds: float,
) -> Path:
    """The network of `weights`; its threshold is set on the middle of the stream, its figures are of the end."""
    values, starts = endless(np.random.default_rng([seed, 50]), round(RATE_HZ * 60 * (4 if options.quick else 40)))
    stream = options.out / STREAM
    write_stream(stream, values, RATE_HZ, starts)
    config = FitConfig(
        name="fair-spikes",
        task="classify",
        seed=seed,
        data=RecordingData(path=str(stream), shares=(0.1, 0.1, 0.4, 0.4)),
        model=shape,
        train=Schedule(epochs=steps, batch=batch, first_step=SAMPLES, false_alarms_per_hour=10.0),
    )
    kept = {name: value for name, value in weights.items() if name.startswith("recurrence")}
    kept |= {f"kind.{name}": value for name, value in weights.items() if name.startswith("both")}
    # The second row told in training where the spike is.
    kept |= {f"kind.evidence.{part}": weights[f"evidence.{part}"][:1] for part in ("weight", "bias")}
    told = Source("exercise spikes, the fair task", "", "", f"{steps * batch} simulated windows, each seen once")
    return keep_model(config, kept, told, options.out, steps=steps, seconds=seconds)


def shape_of(cell: Cell, *, layers: int, hidden: int, frame: int, frame_hop: int) -> ModelShape:
    """The network in the words of a configuration: it reads both ways, and adds up odds over its steps."""
    return ModelShape(
        cell=cell,
        layers=layers,
        hidden=hidden,
        window=SAMPLES,
        hop=5,
        classes=("quiet", "spike"),
        pool="odds",
        bidirectional=True,
        frame=frame,
        frame_hop=frame_hop,
    )
