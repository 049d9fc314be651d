"""What the signal exercises share: a well-behaved training loop, and figures over several seeds.

Each exercise keeps its document's own loop in sight; this one is the loop of the improved runs.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from monitor.core.errors import ConfigError
from training.exercises.result import Options

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class Recipe:
    """How an improved run is trained."""

    steps: int
    rate: float
    """The highest learning rate of the one-cycle schedule (Smith & Topin 2018): up, then down to nothing."""
    weight_decay: float = 1e-3
    clip: float = 1.0
    """Norm that gradients are cut to."""
    average: float = 0.99
    """The weights that are kept are a running mean: so much of the old and the rest of the new at each step."""


def train(model: M, loss: Callable[[M], Tensor], recipe: Recipe) -> M:
    """Minimise `loss`, which draws its own batch at each call; returns a model with the averaged weights."""
    mean = copy.deepcopy(model)
    optimiser = torch.optim.AdamW(model.parameters(), lr=recipe.rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.rate, total_steps=recipe.steps)
    model.train()
    for step in range(recipe.steps):
        optimiser.zero_grad()
        value = loss(model)
        value.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        optimiser.step()
        schedule.step()
        # At first the mean looks back less far, else it would remember the initial weights.
        keep = min(recipe.average, (step + 1) / (step + 10))
        with torch.no_grad():
            for slow, fast in zip(mean.parameters(), model.parameters(), strict=True):
                slow.lerp_(fast, 1 - keep)
    return mean.eval()


def begin(options: Options, name: str) -> range:
    """Check what was asked, settle torch, and give the seeds to run over."""
    for flag, path in (("--data", options.data), ("--test", options.test)):
        if path is not None:
            raise ConfigError(f"exercise {name}: it makes its own signal, got {flag} {path}; leave it out")
    seeds = options.all_seeds(name)
    torch.set_num_threads(1)  # such small networks only lose by more, and sums keep their order
    return seeds


def mean_of(values: Sequence[float]) -> float:
    """Mean over the seeds."""
    return float(np.mean(values))


def spread_of(values: Sequence[float]) -> str | None:
    """Lowest and highest over the seeds; None where there is only one."""
    return f"{min(values):.3g}-{max(values):.3g}" if len(values) > 1 else None
