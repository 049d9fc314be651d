"""Odds summed over the steps of a window: any step may speak up, not only the last.

What is found early in a window need not be remembered to its end. A step gives odds for each class against the
first, the quiet one, and the window's odds are their sum, as for things of which at most one is there.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SummedOdds(nn.Module):
    """A small layer weighs the evidence at each step; the window's logits are those of the summed odds."""

    def __init__(self, width: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.both = nn.Linear(width, hidden)
        self.evidence = nn.Linear(hidden, classes - 1)

    def forward(self, states: Tensor) -> Tensor:
        """`states` (batch, step, width) -> logits (batch, 1, class), that of the first class being 0."""
        evidence = self.evidence(torch.relu(self.both(states)))  # (batch, step, class - 1), log odds
        odds = evidence.logsumexp(dim=1, keepdim=True)  # (batch, 1, class - 1)
        return torch.cat((torch.zeros_like(odds[..., :1]), odds), dim=-1)
