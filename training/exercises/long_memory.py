"""A slow and a fast sine: what six steps cannot hold, and what carrying the state can.

The document takes sin(0.1 t) + 0.5 sin(2 t + pi/4) + 0.1 N(0, 1) at t = linspace(0, 100, 1200), scaled to 0..1,
and tells the next value from the last six with RNNs of hidden 2 to 5. The slow wave has 753 samples a period, the
fast one 38: six samples see neither. So here a second network reads one sample at a time and keeps its state.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor, nn

from training.baselines import Array, fit_autoregression
from training.exercises.learning import Recipe, begin, mean_of, spread_of, train
from training.exercises.plots import curves, loss_figure, new_figure
from training.exercises.result import Cell, Options, Result, Table

TITLE = "A slow and a fast sine: what six steps cannot hold."

SAMPLES, SPLIT, WINDOW = 1200, 960, 6
SIZES, EPOCHS = (2, 3, 4, 5), (10, 20, 30)
PUBLISHED = {
    2: (0.0843, 0.0069, 0.0032),
    3: (0.0312, 0.0413, 0.0025),
    4: (0.0153, 0.0029, 0.0196),
    5: (0.1234, 0.0185, 0.0037),
}
HIDDEN, RANK, AHEAD = 32, 6, 40
CROPS, CROP, BURN_IN = 16, 500, 150
RATE, INPUT_NOISE = 4e-3, 0.1
SPANS = (50, 100, 200)
IMPROVED = "improved: LSTM, state carried"

State = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Task:
    """The series, scaled by its own smallest and largest value as in the document."""

    noisy: Array
    """(1200,), 0 to 1"""
    clean: Array
    """(1200,), the same without its noise, scaled alike"""
    low: float
    high: float

    def unscaled(self, values: Array) -> Array:
        """Back in the original unit."""
        return self.low + values * (self.high - self.low)


def make_task(seed: int) -> Task:
    """The document's series under the noise of `seed`."""
    t = np.linspace(0, 100, SAMPLES)
    clean = np.sin(0.1 * t) + 0.5 * np.sin(2 * t + np.pi / 4)
    noisy = clean + 0.1 * np.random.default_rng(seed).standard_normal(SAMPLES)
    low, high = float(noisy.min()), float(noisy.max())
    return Task((noisy - low) / (high - low), (clean - low) / (high - low), low, high)


class DocumentRNN(nn.Module):
    """One recurrent layer over six values, a line from the last step."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.rnn = nn.RNN(1, hidden, batch_first=True)
        self.output = nn.Linear(hidden, 1)

    def forward(self, window: Tensor) -> Tensor:
        """The next value (batch, 1) of `window` (batch, 6, 1)."""
        states, _ = self.rnn(window)  # (batch, 6, hidden)
        value: Tensor = self.output(states[:, -1])  # (batch, 1)
        return value


def train_as_published(series: Array, hidden: int, epochs: int) -> tuple[DocumentRNN, list[float]]:
    """Batches of 32 in random order, mean squared error, Adam at 5e-4; the mean loss of every epoch too."""
    windows, targets = cut(series)
    model = DocumentRNN(hidden)
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-4)
    losses = []
    for _ in range(epochs):
        total = 0.0
        for rows in torch.split(torch.randperm(len(windows)), 32):
            loss = nn.functional.mse_loss(model(windows[rows]), targets[rows])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            total += loss.item() * len(rows)
        losses.append(total / len(windows))
    return model.eval(), losses


def cut(series: Array) -> tuple[Tensor, Tensor]:
    """Windows (n, 6, 1), and what comes next (n, 1)."""
    stretches = torch.from_numpy(sliding_window_view(series, WINDOW + 1).astype(np.float32))  # (n, 7)
    return stretches[:, :WINDOW, None], stretches[:, WINDOW:]


@torch.no_grad()
def told_by(model: DocumentRNN, series: Array) -> Array:
    """What the document's network says of every value but the first six: (n,)."""
    values: Tensor = model(cut(series)[0])[:, 0]
    return values.numpy().astype(np.float64)


class Carrier(nn.Module):
    """An LSTM that reads one value a step and is never reset: its memory is as long as it learns to make it.

    From every state it tells the last 40 values without their noise and the next 40, two periods of the fast wave,
    through six numbers: two sines need four, their mean a fifth.
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
    """First on the series, then on the series as the network sees it, under fresh noise; centre and scale too.

    Crops of 500 start anywhere, and the first 150 steps, in which the state fills, do not count: so long a crop
    is what rewards a long memory. A crop begins with the state that another one ended with, so that a state
    carried for thousands of steps is nothing new. Half of them are turned upside down, and half run backwards:
    a sum of two sines is then still one of the same two periods.
    """
    centre, scale = float(known.mean()), float(known.std())
    series = (known - centre) / scale

    def loss_on(heard: Array, noise: float) -> Callable[[Carrier], Tensor]:
        line = torch.from_numpy(heard.astype(np.float32))  # (time,)
        state: State | None = None

        def loss(model: Carrier) -> Tensor:
            nonlocal state
            starts = torch.randint(len(line) - CROP - AHEAD + 1, (CROPS, 1))
            sign = 1.0 - 2.0 * torch.randint(2, (CROPS, 1))
            some = sign * line[starts + torch.arange(CROP + AHEAD)]  # (crop, 540)
            crops = torch.where(torch.rand(CROPS, 1) < 0.5, some, some.flip(-1))  # (crop, 540)
            values = (crops[:, :CROP] + noise * torch.randn(CROPS, CROP))[..., None]  # (crop, 500, 1)
            targets = crops.unfold(1, 2 * AHEAD, 1)[:, BURN_IN - AHEAD + 1 :]  # (crop, 350, 80)
            around, (h, c) = model(values, state)  # (crop, 500, 80)
            state = h.detach(), c.detach()
            off = (around[:, BURN_IN:] - targets).square()  # (crop, 350, 80)
            total: Tensor = (off[..., AHEAD].mean() + 2 * off.mean()) / 3  # the next value counts most
            return total

        return loss

    carrier = train(Carrier(), loss_on(series, INPUT_NOISE), Recipe(steps[0], RATE))
    for again in steps[1:]:
        smooth = as_seen(carrier, series)  # (849,)
        noise = float((series[-len(smooth) :] - smooth).std())
        carrier = train(carrier, loss_on(smooth, noise), Recipe(again, RATE))
    return carrier, centre, scale


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


def run(options: Options) -> Result:
    """The document's table, in sample and on a hold-out, then the network with a memory, over the seeds."""
    epochs, steps = ((1, 2, 3), (15, 10)) if options.quick else (EPOCHS, (1000, 1000))
    grid: dict[tuple[int, int], dict[str, list[float]]] = {}
    memory: dict[str, dict[str, list[float]]] = {}
    losses: dict[str, list[float]] = {}
    shown: dict[str, Array] = {}
    for seed in begin(options, "long-memory"):
        task = make_task(seed)
        held = task.noisy[SPLIT:]
        forecasts = without_network(task)
        for hidden in SIZES:
            for column, count in enumerate(epochs):
                cell = grid.setdefault((hidden, column), {"in sample": [], "hold-out": []})
                torch.manual_seed(seed)
                model, loss = train_as_published(task.noisy, hidden, count)
                told = told_by(model, task.noisy)
                cell["in sample"].append(float(np.square(told - task.noisy[WINDOW:]).mean()))
                torch.manual_seed(seed)
                honest, _ = train_as_published(task.noisy[:SPLIT], hidden, count)
                ahead = told_by(honest, task.noisy)[SPLIT - WINDOW :]
                cell["hold-out"].append(float(np.square(ahead - held).mean()))
            losses[f"hidden {hidden}"] = loss
        options.say(f"seed {seed}: the document's RNN of hidden {hidden}: loss {loss[-1]:.4f}")
        forecasts[f"document's RNN, hidden {hidden}, {count} epochs"] = ahead
        began = time.monotonic()
        torch.manual_seed(seed)
        carrier, centre, scale = train_carrier(task.noisy[:SPLIT], steps)
        options.say(f"seed {seed}: the carried LSTM: {sum(steps)} steps in {time.monotonic() - began:.1f} s")
        forecasts[IMPROVED] = carried(carrier, task.noisy, centre, scale)[SPLIT - 1 :]
        for span in SPANS:
            name = f"the same, with the last {span} values only"
            forecasts[name] = forgetful(carrier, task.noisy, centre, scale, span)
        forecasts["floor: the noise of the hold-out"] = task.clean[SPLIT:]
        for name, values in forecasts.items():
            figures = memory.setdefault(name, {"mse": [], "excess": []})
            figures["mse"].append(float(np.square(values - held).mean()))
            figures["excess"].append(float(np.square(values - task.clean[SPLIT:]).mean()))
        options.say(f"seed {seed}: excess of the carried LSTM {memory[IMPROVED]['excess'][-1]:.2e}")
        if not shown:
            shown = {name: task.unscaled(values) for name, values in ({"actual": held} | forecasts).items()}
    tables = [grid_table(grid, epochs, options.seeds), memory_table(memory, options.seeds)]
    figures_drawn = {
        "loss": loss_figure(losses, "The document's RNNs: mean squared error, in sample"),
        "actual_predicted": hold_out_figure(shown),
    }
    return Result(tables, figures_drawn, NOTES)


@torch.no_grad()
def forgetful(carrier: Carrier, series: Array, centre: float, scale: float, span: int) -> Array:
    """What the same network says of the hold-out when it starts anew before the last `span` values: (240,)."""
    values = torch.from_numpy(((series - centre) / scale).astype(np.float32))
    windows = values.unfold(0, span, 1)[SPLIT - span : -1, :, None]  # (240, span, 1)
    told: Tensor = carrier(windows)[0][:, -1, AHEAD]
    return told.numpy().astype(np.float64) * scale + centre


def without_network(task: Task) -> dict[str, Array]:
    """One step ahead over the hold-out, by what needs no network: (240,) each."""
    forecasts = {"last value": task.noisy[SPLIT - 1 : -1]}
    for order in (6, 50, 100):
        histories = sliding_window_view(task.noisy, order)[SPLIT - order : -1]  # (240, order)
        forecasts[f"AR({order})"] = fit_autoregression(task.noisy[:SPLIT], order).forecast(histories)[:, 0]
    return forecasts


def grid_table(grid: dict[tuple[int, int], dict[str, list[float]]], epochs: tuple[int, ...], seeds: int) -> Table:
    """The document's 4 x 3 table beside ours."""
    columns = ("hidden", "epochs", "published", "in sample", "in sample (range)", "hold-out", "hold-out (range)")
    rows: list[tuple[Cell, ...]] = []
    for (hidden, column), cell in grid.items():
        row: list[Cell] = [f"{hidden}", epochs[column], PUBLISHED[hidden][column]]
        for values in cell.values():
            row += [mean_of(values), spread_of(values)]
        rows.append(tuple(row))
    note = (
        f"Mean squared error of the scaled signal, means over {seeds} seed(s). In sample, as published: learned "
        "from and judged on the whole series; hold-out: learned from the first 960 values, judged on the last 240."
    )
    return Table("The document's RNN, windows of 6", columns, rows, note)


def memory_table(memory: dict[str, dict[str, list[float]]], seeds: int) -> Table:
    """Short and long memory on the hold-out."""
    columns = ("model", "MSE", "MSE (range)", "excess", "excess (range)")
    rows: list[tuple[Cell, ...]] = []
    for name, of in memory.items():
        mse, excess = of["mse"], of["excess"]
        rows.append((name, mean_of(mse), spread_of(mse), mean_of(excess), spread_of(excess)))
    note = (
        f"One step ahead over the last 240 values, scaled, means over {seeds} seed(s); everything is learned from "
        "the first 960. MSE against the noisy value; excess against the signal without noise, so that the luck of "
        "the hold-out's noise is left out."
    )
    return Table("Memory, on the hold-out", columns, rows, note)


def hold_out_figure(shown: dict[str, Array]) -> Figure:
    """Actual against predicted, in the original unit, for the document's network and the carried one."""
    figure, axes = new_figure(2, 1)
    told = [name for name in shown if name.startswith(("document", "improved"))]
    for one, name in zip(axes, told, strict=True):
        one.plot(np.arange(SPLIT, SAMPLES), shown["actual"], color="black", linewidth=0.8, label="actual")
        one.plot(np.arange(SPLIT, SAMPLES), shown[name], "--", color="tab:red", label="predicted")
        curves(one, name, "sample", "value")
    return figure


NOTES = [
    (
        "Why six steps cannot hold it: they span 0.5 s, a sixth of the fast wave's period and a hundred-and-"
        "twenty-fifth of the slow one's. Where either wave stands has to be read from six noisy values, and six "
        "values average little noise away: the best linear forecast from six, AR(6), stops there too. More units "
        "or more epochs do not add information; between the document's sizes the seed matters more."
    ),
    (
        "Why carrying the state works: an LSTM whose state is never reset has seen every value so far, so it can "
        "average over whole periods of the fast wave and know where the slow one is. The rows below it are the "
        "very same network, started anew before every answer: what it loses is what was in its memory, and what "
        "it never learned, for in training no answer counted before the 150th value."
    ),
    (
        "How it is trained matters as much: it has to tell eighty values, not one, through six numbers, which "
        "only a state that follows both waves can do; and then it learns again from the series as it sees it "
        "itself, under fresh noise."
    ),
    (
        "No run folder: the monitor's forecasters start each window from an empty state, and this one lives by "
        "not doing that."
    ),
]
