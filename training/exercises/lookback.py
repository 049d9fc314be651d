"""What the two sine exercises share: the noisy sine, what comes after it, and a forecaster that looks back.

The forecaster sees the last so many values and tells the next; to go further, each of its answers is fed back into
the window.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import nn

from monitor.core.signals import STEP_RAD, NoisySine
from training.baselines import Array
from training.exercises.next_value import NextValue

WINDOW, HORIZON = 20, 50
SAMPLES, NOISE = 1000, 0.1
HISTORY = 100  # what the longest baseline looks back


@dataclass(frozen=True)
class Task:
    """The document's series, and what comes after it at many origins, the first right behind the series."""

    series: Array
    """(1000,)"""
    histories: Array
    """(origin, 100), noisy"""
    futures: Array
    """(origin, 50), the sine without noise"""
    came: Array
    """(origin,), the next value with its noise"""
    origins: Array
    """(origin,), index of the first value that is to be told"""


def make_task(seed: int, later: int) -> Task:
    """The series of `seed`; the `later` origins have windows of 20 that hold no value trained on."""
    origins = np.concatenate([[SAMPLES], SAMPLES + WINDOW + np.arange(later)])
    noisy = NoisySine(seed=seed, noise=NOISE).next(int(origins[-1]) + 1)[0][:, 0].astype(np.float64)  # (time,)
    futures = np.sin(STEP_RAD * (origins[:, None] + np.arange(HORIZON)))
    histories = sliding_window_view(noisy, HISTORY)[origins - HISTORY]
    return Task(noisy[:SAMPLES], histories, futures, noisy[origins], origins.astype(np.float64))


def train_as_published(
    model: NextValue, series: Array, lookback: int, epochs: int, say: Callable[[str], None]
) -> list[float]:
    """Full batches, mean squared error of the next value, Adam at 1e-3; returns the loss of every epoch."""
    stretches = torch.from_numpy(sliding_window_view(series, lookback + 1).astype(np.float32))  # (n, lookback + 1)
    windows, targets = stretches[:, :lookback, None], stretches[:, lookback:]  # (n, lookback, 1) and (n, 1)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for epoch in range(1, epochs + 1):
        loss = nn.functional.mse_loss(model(windows), targets)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(loss.item())
        if epoch % 10 == 0:
            say(f"lookback {lookback}: Epoch [{epoch}/{epochs}], Loss: {loss.item():.4f}")
    model.eval()
    return losses


@torch.no_grad()
def run_on(model: NextValue, histories: Array, lookback: int) -> Array:
    """50 predictions, each fed back into the sliding window, from every history: (origin, 50)."""
    window = torch.from_numpy(histories[:, -lookback:].astype(np.float32))[:, :, None]  # (origin, lookback, 1)
    told = []
    for _ in range(HORIZON):
        value = model(window)  # (origin, 1)
        window = torch.cat([window[:, 1:], value[:, None]], dim=1)
        told.append(value)
    return torch.cat(told, dim=1).numpy().astype(np.float64)
