"""What the training loop reads: windows in random order, or whole series in chunks that carry the state on.

Windows: each starts from an empty memory, as the monitor's do; what lies before a window is lost to it.

Chunks, with `train.stateful`: a series is read from its start to its end. It is cut into a few long tracks, one a
row of the batch, and each track into chunks of one window. The state at the end of a chunk is where the next one
begins, but as plain numbers: no gradient flows back across the border. So the cost of a step stays that of a
window, while the memory may reach back to the start of the track. That is truncated back-propagation through time
(Williams & Peng 1990): what the network could only learn by changing what it did before the border, it cannot.
A network that may always lean on its memory forgets how to begin without one, and the monitor's windows do begin
without one: `train.forget` takes it away now and then.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.config import FitConfig
from training.datasets import Series, cut_windows
from training.models import State

Batch = tuple[Tensor, Tensor]
"""Values (batch, time, channel) and marks (batch, time)."""


class Windows:
    """The windows of one part, each with what it is asked to forecast."""

    def __init__(self, part: list[Series], config: FitConfig, device: str) -> None:
        cut = [_cut(series, config) for series in part]
        self._values = np.concatenate([values for values, _, _ in cut])  # (window, time, channel)
        self._marks = np.concatenate([marks.astype(np.int16) for _, marks, _ in cut])  # (window, time)
        self._shares = _shares(part, [len(values) for values, _, _ in cut], self._marks, config)
        self._batch, self._device = config.train.batch, device
        self._drawn = min(config.train.epoch_windows, len(self._values))
        self.batches = -(-self._drawn // self._batch)

    def draw(self, random: np.random.Generator) -> Iterator[Batch]:
        """One epoch's batches in random order; with wanted shares, drawn with replacement."""
        if self._shares is None:
            order = random.permutation(len(self._values))[: self._drawn]
        else:
            order = random.choice(len(self._values), self._drawn, p=self._shares)
        for start in range(0, self._drawn, self._batch):
            yield self._batch_of(order[start : start + self._batch])

    def all(self) -> Iterator[Batch]:
        """Batches of all windows in order."""
        for start in range(0, len(self._values), 256):
            yield self._batch_of(np.arange(start, min(start + 256, len(self._values))))

    def _batch_of(self, rows: NDArray[np.int64]) -> Batch:
        values, marks = torch.from_numpy(self._values[rows]), torch.from_numpy(self._marks[rows]).long()
        return values.to(self._device), marks.to(self._device)


class Chunks:
    """The series of one part as tracks of consecutive chunks, all read at once, one a row.

    Invariant: tracks stand in descending order of length, so the rows of a batch are the first rows of the one
    before it, and `carried` finds the state of each.
    """

    def __init__(self, part: list[Series], config: FitConfig, device: str, tracks: int = 0) -> None:
        """Cut about `tracks` of them, one a row of a batch; by default `train.batch`."""
        chunk = config.model.window * config.model.samples_per_step
        cut = [cut_windows(series, config, chunk, config.model.horizon) for series in part]
        self._values = np.concatenate([values for values, _, _ in cut])  # (chunk, time, channel)
        self._marks = np.concatenate([marks.astype(np.int16) for _, marks, _ in cut])  # (chunk, time)
        self._device = device
        longest = -(-len(self._values) // (tracks or config.train.batch))
        found, start = [], 0
        for values, _, _ in cut:
            end = start + len(values)
            found += [range(at, min(at + longest, end)) for at in range(start, end, longest)]
            start = end
        self._tracks = sorted(found, key=len, reverse=True)
        self.batches = len(self._tracks[0])

    def draw(self, random: np.random.Generator) -> Iterator[Batch]:  # noqa: ARG002 - order is all there is here
        """One epoch's batches."""
        return self.all()

    def all(self) -> Iterator[Batch]:
        """The n-th chunk of every track that has one, for n from 0 on."""
        for n in range(self.batches):
            rows = np.array([track[n] for track in self._tracks if len(track) > n])
            values, marks = torch.from_numpy(self._values[rows]), torch.from_numpy(self._marks[rows]).long()
            yield values.to(self._device), marks.to(self._device)


def carried(state: State, rows: int, forget: float = 0.0, random: np.random.Generator | None = None) -> State:
    """The state of the first `rows` rows as plain numbers: carried on, but no gradient flows back through it.

    Each row but with probability `forget`, drawn from `random`: those begin anew.
    """
    if state is None:
        return None
    kept = torch.ones(rows, 1) if random is None else torch.from_numpy(random.random((rows, 1)) >= forget)
    if isinstance(state, tuple):
        return state[0][:, :rows].detach() * kept.to(state[0]), state[1][:, :rows].detach() * kept.to(state[1])
    return state[:, :rows].detach() * kept.to(state)


def _cut(series: Series, config: FitConfig) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """All windows of a series; where people said what it is, every one of which they said something."""
    fold = config.model.samples_per_step
    if series.marks is None:
        return cut_windows(series, config, config.train.hop * fold, config.model.horizon)
    values, marks, ends = cut_windows(series, config, fold, config.model.horizon)
    asked = marks[:, config.train.first_step * fold - 1 :]
    heard = (asked >= 0).any(axis=1)
    return values[heard], marks[heard], ends[heard]


def _shares(
    part: list[Series], counts: list[int], marks: NDArray[np.int16], config: FitConfig
) -> NDArray[np.float64] | None:
    """How likely each window is drawn, None for all alike: so much for the noisy copies, so much for the rare."""
    quiet = 1 if config.task == "beats" else 0
    rare = (marks > quiet).any(axis=1)
    noisy = np.repeat([series.noisy for series in part], counts)
    shares = np.ones(len(marks))
    if noisy.any():
        wanted = config.data.noise_share  # type: ignore[union-attr]  # only records have noisy copies
        shares[noisy] *= wanted / noisy.mean()
        shares[~noisy] *= (1 - wanted) / (1 - noisy.mean())
    heard = np.repeat([series.marks is not None for series in part], counts)
    if config.labels is not None and heard.any() and not heard.all():
        mass = shares[heard].sum() / shares.sum()
        shares[heard] *= config.labels.share / mass
        shares[~heard] *= (1 - config.labels.share) / (1 - mass)
    wanted = config.train.rare_share
    if wanted and rare.any() and not rare.all():
        mass = shares[rare].sum() / shares.sum()
        shares[rare] *= wanted / mass
        shares[~rare] *= (1 - wanted) / (1 - mass)
    return shares / shares.sum() if shares.min() != shares.max() else None
