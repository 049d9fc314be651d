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
    score_steps: int = 0
    """forecast: what came is judged by its mean distance from the forecast over so many steps, which finds what is
    odd for a while; 0 takes the largest distance in each hop, which finds what is sudden."""
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


class SecondShape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The second tier of a beat model, and how it is trained: the `[second]` of its file (training/tiers.py)."""

    cell: Cell = "gru"
    hidden: int = 32
    window: int = 32
    """Beats in a window."""
    candidate_level: float = 0.12
    """The first tier's probability from which something may be a beat."""
    class_weights: tuple[float, ...] = (1.0, 3.0, 1.5, 1.5, 1.0)
    """Of each class, and of no beat."""
    epochs: int = 5
    batch: int = 192
    hop: int = 16
    """Beats from one training window to the next."""
    learning_rate: float = 4e-3
    weight_decay: float = 2e-2
    dropout: float = 0.2
    noise: float = 0.6
    """What is added to each number that it reads, in spreads of that number over the training data."""
    hidden_groups: dict[str, float] = {}
    """How often a whole window of beats is shown without one of monitor.core.rhythm.GROUPS, by name: their mean in
    its place."""
    noisy_weight: float = 0.5
    """How often the copies with noise are drawn, in the share of the others."""
