"""The network with a memory of the exercise long-memory: an LSTM that is never reset, and how it is trained."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from training.baselines import Array
from training.exercises.learning import Recipe, train

HIDDEN, RANK, AHEAD = 32, 5, 40
CROPS, CROP, BURN_IN = 16, 500, 150
RATE = 4e-3

State = tuple[Tensor, Tensor]


class Carrier(nn.Module):
    """An LSTM that reads one value a step and is never reset: its memory is as long as it learns to make it.

    From every state it tells the last 40 values without their noise and the next 40, two periods of the fast wave,
    through five numbers: two sines need four, their mean the fifth.
    """

    def __init__(self) -> None:
        super().__init__()
        self.recurrence = nn.LSTM(1, HIDDEN, batch_first=True)
        self.bottleneck = nn.Linear(HIDDEN, RANK, bias=False)
        self.mean = nn.Linear(RANK, 2 * AHEAD)

    def forward(self, values: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """The 40 values up to each of `values` (batch, time, 1) and the 40 after, (batch, time, 80); the state."""
        states, state = self.recurrence(values, state)  # (batch, time, hidden)
        return self.mean(self.bottleneck(states)), state


def train_carrier(known: Array, steps: tuple[int, ...]) -> tuple[Carrier, float, float]:
    """First on the series, then on it as the network sees it, under fresh noise; its centre and scale too.

    Crops of 500 start anywhere, and the first 150 steps, in which the state fills, do not count: so long a crop
    is what rewards a long memory. A crop begins with the state that another one ended with, so that a state
    carried for thousands of steps is nothing new.
    """
    centre, scale = float(known.mean()), float(known.std())
    series = (known - centre) / scale
    carrier = train(Carrier(), _loss_on(series, 0.0), Recipe(steps[0], RATE))
    for again in steps[1:]:
        smooth = as_seen(carrier, series)  # (849,)
        noise = float((series[-len(smooth) :] - smooth).std())
        carrier = train(carrier, _loss_on(smooth, noise), Recipe(again, RATE))
    return carrier, centre, scale


def _loss_on(heard: Array, noise: float) -> Callable[[Carrier], Tensor]:
    """The squared error of all that is told around each value of fresh crops of `heard` (time,), `noise` added."""
    line = torch.from_numpy(heard.astype(np.float32))  # (time,)
    state: State | None = None

    def loss(model: Carrier) -> Tensor:
        nonlocal state
        crops = mixed(line)  # (crop, 540)
        values = (crops[:, :CROP] + noise * torch.randn(CROPS, CROP))[..., None]  # (crop, 500, 1)
        targets = crops.unfold(1, 2 * AHEAD, 1)[:, BURN_IN - AHEAD + 1 :]  # (crop, 350, 80)
        around, (h, c) = model(values, state)  # (crop, 500, 80)
        state = h.detach(), c.detach()
        off = (around[:, BURN_IN:] - targets).square()  # (crop, 350, 80)
        total: Tensor = (off[..., AHEAD].mean() + 2 * off.mean()) / 3  # the next value counts most
        return total

    return loss


def mixed(line: Tensor) -> Tensor:
    """Crops (crop, 540), each the sum of two of `line` (time,), weighted by the cosine and sine of a random angle.

    Whatever obeys a linear recursion, as waves of two given periods do, still does so when it is added up, turned
    upside down or read backwards: so the 960 values give new waves, of any phase to each other, without end. What
    is left to learn is what all of these share, the periods. Such weights leave the power of the noise as it is.
    """
    first, second = (_either_way(line) for _ in range(2))  # (crop, 540) each
    angle = 2 * np.pi * torch.rand(CROPS, 1)
    return torch.cos(angle) * first + torch.sin(angle) * second


def _either_way(line: Tensor) -> Tensor:
    """Crops (crop, 540) from anywhere in `line`, half of them read from their end."""
    starts = torch.randint(len(line) - CROP - AHEAD + 1, (CROPS, 1))
    some = line[starts + torch.arange(CROP + AHEAD)]
    return torch.where(torch.rand(CROPS, 1) < 0.5, some, some.flip(-1))


@torch.no_grad()
def as_seen(carrier: Carrier, series: Array) -> Array:
    """The values from the 112th on, each as the mean of all that was told of it, before it came and after."""
    around = carrier(torch.from_numpy(series.astype(np.float32))[None, :, None])[0][0].numpy()  # (time, 2 * AHEAD)
    told, count = np.zeros(len(series) + AHEAD), np.zeros(len(series) + AHEAD)
    first = BURN_IN - AHEAD + 1  # of the values that the first state that counts tells of
    for column in range(2 * AHEAD):
        place = slice(first + column, first + column + len(series) - BURN_IN)
        told[place] += around[BURN_IN:, column]
        count[place] += 1
    seen: Array = told[first : len(series)] / count[first : len(series)]
    return seen


@torch.no_grad()
def carried(carrier: Carrier, series: Array, centre: float, scale: float) -> Array:
    """What the network says of every value but the first, its state carried from the first on: (time - 1,)."""
    values = torch.from_numpy(((series - centre) / scale).astype(np.float32))[None, :, None]
    told: Tensor = carrier(values)[0][0, :-1, AHEAD]
    return told.numpy().astype(np.float64) * scale + centre


@torch.no_grad()
def forgetful(carrier: Carrier, series: Array, centre: float, scale: float, span: int, first: int) -> Array:
    """What it says of the values from `first` on, started anew before the last `span`: (time - first,)."""
    values = torch.from_numpy(((series - centre) / scale).astype(np.float32))
    windows = values.unfold(0, span, 1)[first - span : -1, :, None]  # (time - first, span, 1)
    told: Tensor = carrier(windows)[0][:, -1, AHEAD]
    return told.numpy().astype(np.float64) * scale + centre
