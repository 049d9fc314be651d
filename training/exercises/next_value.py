"""One value ahead: the smallest forecaster there is, in each cell, and its training loop, the best epoch kept."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from monitor.core.blocks import Floats
from monitor.core.card import Cell
from monitor.core.errors import ConfigError
from training.models import CELLS

Part = tuple[Tensor, Tensor]
"""Windows (n, time, channel) and the value after each (n, 1)."""


class NextValue(nn.Module):
    """A recurrence over the window, and a linear layer on its last step."""

    def __init__(self, cell: Cell, hidden: int, channels: int = 1, layers: int = 1) -> None:
        super().__init__()
        self.recurrence = CELLS[cell](channels, hidden, layers, batch_first=True)
        self.mean = nn.Linear(hidden, 1)

    def forward(self, window: Tensor) -> Tensor:
        """`window` (batch, time, channel) -> the next value (batch, 1)."""
        outputs, _ = self.recurrence(window)  # (batch, time, hidden), from a zero state
        following: Tensor = self.mean(outputs[:, -1])
        return following


@dataclass
class History:
    """How a training went."""

    train: list[float] = field(default_factory=list)
    """Mean loss of each epoch."""
    validation: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    """Norm of the gradient at each batch, before any clipping."""
    best_epoch: int = 0
    seconds: float = 0.0


def train(
    model: NextValue,
    parts: dict[str, Part],
    *,
    epochs: int,
    seed: int,
    rate: float = 1e-3,
    batch: int = 64,
    clip: float = float("inf"),
) -> History:
    """Adam on the mean squared error; the model ends with the weights of its best epoch on the validation part."""
    windows, targets = parts["train"]
    optimiser = torch.optim.Adam(model.parameters(), lr=rate)
    generator = torch.Generator().manual_seed(seed)  # of the order of the windows
    done, best, kept = History(), float("inf"), {}
    began = time.perf_counter()
    for epoch in range(1, epochs + 1):
        model.train()
        total = 0.0
        for rows in torch.split(torch.randperm(len(windows), generator=generator), batch):
            loss = functional.mse_loss(model(windows[rows]), targets[rows])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            done.norms.append(float(nn.utils.clip_grad_norm_(model.parameters(), clip)))
            optimiser.step()
            total += float(loss.detach()) * len(rows)
        done.train.append(total / len(windows))
        done.validation.append(error(model, parts["validation"]))
        if done.validation[-1] < best:
            best, done.best_epoch = done.validation[-1], epoch
            kept = {name: value.clone() for name, value in model.state_dict().items()}
    done.seconds = time.perf_counter() - began
    if not kept:
        raise ConfigError(f"the loss was never a number ({done.validation[0]}); are the values of a sane size?")
    model.load_state_dict(kept)
    return done


@torch.no_grad()
def predict(model: NextValue, windows: Tensor) -> Tensor:
    """What the model says comes after each of `windows` (n, time, channel): (n, 1)."""
    model.eval()
    return torch.cat([model(some) for some in torch.split(windows, 512)])


def error(model: NextValue, part: Part) -> float:
    """Mean squared error over a part."""
    return float(functional.mse_loss(predict(model, part[0]), part[1]))


def split_by_time(windows: Floats, targets: Floats, hop: int) -> dict[str, Part]:
    """The first 70 %, the next 15 % and the last 15 %; windows that reach into the part before are left out."""
    count = len(windows)
    apart = -(-(windows.shape[1] + 1) // hop)  # windows until one shares no sample with another, targets included
    bounds = {
        "train": (0, int(0.7 * count)),
        "validation": (int(0.7 * count) + apart, int(0.85 * count)),
        "test": (int(0.85 * count) + apart, count),
    }
    return _parts(
        windows, targets, {name: torch.arange(*bound) for name, bound in bounds.items() if bound[0] < bound[1]}
    )


def split_at_random(windows: Floats, targets: Floats, seed: int) -> dict[str, Part]:
    """70 %, 15 % and 15 % of the windows, drawn by lot: as in the course, and wrong for windows that overlap."""
    order = torch.randperm(len(windows), generator=torch.Generator().manual_seed(seed))
    first, second = int(0.7 * len(order)), int(0.85 * len(order))
    return _parts(
        windows, targets, {"train": order[:first], "validation": order[first:second], "test": order[second:]}
    )


def _parts(windows: Floats, targets: Floats, rows: dict[str, Tensor]) -> dict[str, Part]:
    x, y = torch.tensor(windows), torch.tensor(targets[:, 0, -1:])  # (n, time, channel), (n, 1)
    missing = [name for name in ("train", "validation", "test") if not len(rows.get(name, ()))]
    if missing:
        raise ConfigError(
            f"expected windows in each part, got none for {' and '.join(missing)} out of {len(windows)}; take a "
            "longer recording"
        )
    return {name: (x[some], y[some]) for name, some in rows.items()}
