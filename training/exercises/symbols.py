"""Models over symbols (characters, beats, words): an embedding, a recurrence, and a linear layer on top.

An embedding (Bengio et al. 2003, A Neural Probabilistic Language Model) is a table with one learned row for each
symbol: symbol number in, vector out. What follows is a recurrence as over any other signal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from monitor.core.card import Cell
from training.models import CELLS

State = Tensor | tuple[Tensor, Tensor] | None
"""What a recurrence carries on: h, for an LSTM (h, c); None at the start of everything."""


@dataclass(frozen=True)
class Vocabulary:
    """The symbols there are, each with its number."""

    char2idx: dict[str, int]
    idx2char: tuple[str, ...]

    @classmethod
    def of(cls, symbols: Sequence[str]) -> Vocabulary:
        """The vocabulary of a text or of a sequence of beats, in alphabetical order."""
        idx2char = tuple(sorted(set(symbols)))
        return cls({symbol: i for i, symbol in enumerate(idx2char)}, idx2char)

    def encode(self, symbols: Sequence[str]) -> Tensor:
        """The numbers (time,) of `symbols`."""
        return torch.tensor([self.char2idx[symbol] for symbol in symbols])

    def decode(self, numbers: Sequence[int]) -> str:
        """The symbols of `numbers`, joined."""
        return "".join(self.idx2char[number] for number in numbers)


class NextSymbol(nn.Module):
    """Embedding -> recurrence -> linear: how likely each symbol is to come next, at every step."""

    def __init__(self, symbols: int, width: int, hidden: int, cell: Cell = "rnn") -> None:
        super().__init__()
        self.embedding = nn.Embedding(symbols, width)
        self.recurrence = CELLS[cell](width, hidden, batch_first=True)
        self.next = nn.Linear(hidden, symbols)

    def forward(self, numbers: Tensor, state: State = None) -> tuple[Tensor, State]:
        """`numbers` (batch, time) -> logits (batch, time, symbol), and the state to carry on with."""
        steps = self.embedding(numbers)  # (batch, time, width)
        outputs, state = self.recurrence(steps, state)  # (batch, time, hidden)
        return self.next(outputs), state


def cut_loose(state: State) -> State:
    """The same state as plain numbers: carried on, but no gradient flows back through it."""
    if isinstance(state, tuple):
        return state[0].detach(), state[1].detach()
    return None if state is None else state.detach()


def train_epoch(
    model: NextSymbol, numbers: Tensor, chunk: int, optimiser: torch.optim.Optimizer, *, carry: bool = True
) -> float:
    """One pass over `numbers` (batch, time) in chunks, from left to right; the mean loss in nats a symbol.

    Truncated back-propagation through time (Williams & Peng 1990): the state goes on from chunk to chunk, the
    gradient stops at each chunk's start. Without `carry` every chunk begins with an empty memory.
    """
    model.train()
    state: State = None
    total = 0.0
    length = numbers.shape[1] - 1
    for start in range(0, length, chunk):
        end = min(start + chunk, length)
        given, wanted = numbers[:, start:end], numbers[:, start + 1 : end + 1]  # (batch, chunk), one step apart
        logits, state = model(given, cut_loose(state) if carry else None)  # (batch, chunk, symbol)
        loss = functional.cross_entropy(logits.flatten(0, 1), wanted.flatten())
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        total += float(loss.detach()) * (end - start)
    return total / length


@torch.no_grad()
def surprises(model: NextSymbol, numbers: Tensor) -> NDArray[np.float64]:
    """-log p of each of `numbers` (time,) but the first, given all before it (time - 1,), in nats."""
    model.eval()
    logits, _ = model(numbers[None, :-1])  # (1, time - 1, symbol)
    found: NDArray[np.float64] = (
        functional.cross_entropy(logits[0], numbers[1:], reduction="none").double().numpy()
    )
    return found


@torch.no_grad()
def decode_greedily(model: NextSymbol, first: int, length: int) -> list[int]:
    """`length` symbols that begin with `first`: each the likeliest, fed back in with the carried state."""
    model.eval()
    numbers = [first]
    state: State = None
    for _ in range(length - 1):
        logits, state = model(torch.tensor([[numbers[-1]]]), state)  # (1, 1, symbol)
        numbers.append(int(logits[0, -1].argmax()))
    return numbers


def count_surprises(past: Sequence[int], asked: Sequence[int], symbols: int, order: int) -> NDArray[np.float64]:
    """The same surprises by counting: what followed the last `order` symbols in `past`, one added to each count.

    A Markov chain (Shannon 1948), the baseline of every language model. Order 0 only knows how rare a symbol is.
    """
    counts: dict[tuple[int, ...], NDArray[np.float64]] = {}
    for i in range(order, len(past)):
        context = tuple(past[i - order : i])
        counts.setdefault(context, np.ones(symbols))[past[i]] += 1
    found = []
    for i in range(1, len(asked)):
        seen = counts.get(tuple(asked[max(i - order, 0) : i]), np.ones(symbols))
        found.append(-math.log(seen[asked[i]] / seen.sum()))
    return np.array(found)
