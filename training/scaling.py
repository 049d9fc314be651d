"""What stands between a stream's unit and the numbers a network works with."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Scaling(nn.Module):
    """(x - offset) / scale: by fixed figures of the training data, or by mean and spread of the window itself.

    window: of the window only the first `samples` count, which every step that is asked has seen: so that training
    may ask at many steps of one window, and none of them learns from figures that hold its own future.
    running: each step is scaled by what the window held up to its end. That needs no look ahead, so it can be
    carried from step to step (leapfrog). Before there is much to go by, the spread leans on that of the training
    data (`scale`), as if PRIOR_STEPS steps of that had been seen.
    """

    PRIOR_STEPS = 8

    offset: Tensor
    scale: Tensor
    floor: Tensor

    def __init__(self, channels: int, kind: str, samples: int, fold: int, floor: float) -> None:
        super().__init__()
        self.kind, self.samples, self.fold = kind, samples, fold
        self.prior = float(self.PRIOR_STEPS * fold)
        self.register_buffer("offset", torch.zeros(channels))
        self.register_buffer("scale", torch.ones(channels))
        self.register_buffer("floor", torch.tensor(floor))

    def forward(self, window: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The scaled window, and the offset and scale that lead back to the stream's unit.

        These two are (channel,), by the window (batch, 1, channel), running (batch, step, channel).
        """
        match self.kind:
            case "window":
                early = window[:, : self.samples]  # (batch, early time, channel)
                offset = early.mean(dim=1, keepdim=True)  # (batch, 1, channel)
                spread = (early - offset).square().mean(dim=1, keepdim=True).sqrt()  # (batch, 1, channel)
                scale = torch.maximum(spread, self.floor)
                return (window - offset) / scale, offset, scale
            case "running":
                offset, scale = self._running(window)
                repeats = (figure.repeat_interleave(self.fold, dim=1) for figure in (offset, scale))
                return (window - next(repeats)) / next(repeats), offset, scale
            case _:
                return (window - self.offset) / self.scale, self.offset, self.scale

    def _running(self, window: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and spread (batch, step, channel) of each window from its start to the end of each step."""
        batch, time, channel = window.shape
        first = window[:, :1]  # (batch, 1, channel); sums of what lies near 0 keep their digits
        steps = (window - first).reshape(batch, time // self.fold, self.fold, channel)
        total, squares = (figure.sum(dim=2).cumsum(dim=1) for figure in (steps, steps.square()))
        seen = torch.arange(1, steps.shape[1] + 1, device=window.device)[:, None] * float(self.fold)  # (step, 1)
        mean = total / seen
        around = (squares - total * mean).clamp(min=0.0)
        spread = ((around + self.prior * self.scale.square()) / (seen + self.prior)).sqrt()
        return first + mean, torch.maximum(spread, self.floor)


def figure_at(figure: Tensor, first: int) -> Tensor:
    """An offset or a scale as it stands at each step from `first` on, to go with (batch, step, time, channel)."""
    if figure.dim() == 1:
        return figure
    return (figure[:, first - 1 :] if figure.shape[1] > 1 else figure)[:, :, None]
