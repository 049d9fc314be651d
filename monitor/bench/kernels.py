"""What inference costs without a daemon around it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from monitor.bench.timing import best_times
from monitor.core.batches import Batch
from monitor.core.blocks import Floats
from monitor.core.lanes import Lane
from monitor.inference import Model, load_model

NETWORKS = Path(__file__).parent / "networks"
CELLS = ("lstm", "gru", "rnn")
_GATES = {"lstm": 4, "gru": 3, "rnn": 1}


def network(name: str) -> Model:
    """One of the networks to measure with: bench-gru, -lstm, -rnn, -forecast."""
    return load_model(NETWORKS / f"{name}.onnx")


def flop_of_window(model: Model) -> float:
    """Multiplications and additions of the recurrence over one window; what else there is is small."""
    card = model.card
    return (
        2.0 * card.window * _GATES[card.cell] * card.hidden * (card.hidden + card.samples_per_step * card.channels)
    )


def share_of_peak(rounds: int) -> tuple[dict[str, float], dict[str, dict[int, float]]]:
    """How much of the speed of a large matrix product each cell reaches, at its best batch; and at each batch."""
    matrix = np.random.default_rng(0).standard_normal((512, 512)).astype(np.float32)
    shares: dict[str, float] = {}
    by_batch: dict[str, dict[int, float]] = {}
    for cell in CELLS:
        model = network(f"bench-{cell}")
        batches = (1, 8, 32, 64, 128, 256, 512)
        windows = [_windows(model, batch) for batch in batches]
        calls: list[Callable[[], object]] = [partial(model.run, some) for some in windows]
        *times, product = best_times([*calls, lambda: matrix @ matrix], rounds)
        peak = 2 * 512**3 / product
        by_batch[cell] = {
            batch: flop_of_window(model) * batch / seconds / peak
            for batch, seconds in zip(batches, times, strict=True)
        }
        shares[cell] = max(by_batch[cell].values())
    return shares, by_batch


def leapfrog_against_window(
    streams: int, rounds: int, states: int = 2, cell: str = "gru", hops: int = 1
) -> tuple[float, float]:
    """CPU seconds a sample a stream, by carried states and by windows, when a model is asked at every sample.

    `hops` samples of each stream have come when states go on; each is answered all the same.
    """
    model = network(f"bench-{cell}")
    card = model.card
    lane = Lane("bench", card, streams, 10**9, states)
    windows = _windows(model, streams)
    slots, zeros = np.arange(streams), np.zeros(streams, np.int64)
    end = 0

    def go_on() -> None:
        nonlocal end
        batches = []
        for _ in range(hops):
            end += card.hop_samples
            ends = np.full(streams, end)
            batches.append(Batch("bench", slots, zeros, ends, ends, zeros, windows))
        lane.infer_all(batches, model)

    def anew() -> None:
        for start in range(0, streams, 256):
            model.run(windows[start : start + 256])

    for _ in range(card.window // hops + 1):
        go_on()
    carried, read = best_times([go_on, anew], rounds)
    return carried / streams / hops, read / streams


def direct_against_sliding(rounds: int, batch: int = 64) -> tuple[float, float]:
    """CPU seconds for a forecast of 50 steps in one call, and by sliding the window over its own predictions."""
    model = network("bench-forecast")
    windows = _windows(model, batch)

    def slide() -> Floats:
        window = windows
        for _ in range(model.card.horizon):
            step = model.run(window)["forecast"][:, :1]  # (batch, 1, channel)
            window = np.concatenate((window[:, 1:], step), axis=1)
        return window

    direct, slid = best_times([lambda: model.run(windows), slide], rounds)
    return direct / batch, slid / batch


def _windows(model: Model, batch: int) -> Floats:
    shape = (batch, model.card.window_samples, model.card.channels)
    values: Floats = np.random.default_rng(batch).standard_normal(shape).astype(np.float32)
    return values
