"""The network that a configuration asks for: the `[model]` of its file."""

from __future__ import annotations

from typing import Literal

import msgspec

from monitor.core.card import Cell


class ModelShape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The network, and what it is asked."""

    cell: Cell = "gru"
    layers: int = 1
    hidden: int = 32
    rank: int = 0
    """forecast: width of a bottleneck before the forecast; 0 for none. A smooth signal needs little."""
    direct: int = 0
    """forecast: newest samples that also reach the forecast past the recurrence, linearly."""
    rate_hz: float = 0.0
    """Samples a second the model works at; 0 for the data's own."""
    window: int = 50
    samples_per_step: int = 1
    hop: int = 5
    horizon: int = 0
    coverage: float = 0.9
    """forecast: share of values the interval shall hold."""
    scaling: Literal["fixed", "window", "running"] = "fixed"
    """How the graph scales its input: by figures of the training data, by mean and spread of the window's first
    `train.first_step` steps, or by those of the window up to each step. A model that scales by the window's first
    steps cannot leapfrog: it would have to know them before they come."""
    scale_floor: float = 1e-3
    """window and running scaling: the smallest spread it divides by, in the stream's unit."""
    classes: tuple[str, ...] = ()
    """classify and beats: the first is the quiet one, which is never flagged."""
    delay: int = 0
    """beats: steps between a beat and the window's end that tells of it."""
    label_steps: int = 0
    """classify: the label speaks of the last so many steps."""
    pool: Literal["last", "odds"] = "last"
    """classify: who answers: the last step, or every step, whose odds for each class are added up. The second asks
    for the whole window at once: `train.first_step` = `model.window`, and neither leapfrog nor stateful."""
    bidirectional: bool = False
    """pool = "odds": a second recurrence reads the window from its end to its start."""
    frame: int = 0
    """pool = "odds": a step sees so many samples, `frame_hop` on from where the one before began; 0 for none of
    that. `samples_per_step` stays 1."""
    frame_hop: int = 1
    embedding: int = 16
    """symbols: length of the learned vector that stands for each."""
    initialisation: Literal["xavier", "orthogonal", "torch"] = "xavier"
    """orthogonal: of the recurrent matrices; torch: as the library does unasked."""
