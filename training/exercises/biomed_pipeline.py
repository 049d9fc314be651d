"""The pipeline of a biomedical signal course, on a real ECG: load, clean, scale, cut, split, train, compare.

Three cells of four sizes forecast the next value from a window of 50. Each is trained twice: once on windows split
at random, as the course does it, and once on windows split by time, as a monitor would meet them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure

from monitor.core.blocks import Floats
from monitor.core.card import Cell
from monitor.core.errors import ConfigError
from monitor.recordings import TOY, read_recording
from training.baselines import fit_autoregression
from training.exercises import biomed_assignments
from training.exercises.biomed_run import keep_run
from training.exercises.next_value import (
    History,
    NextValue,
    Part,
    error,
    predict,
    split_at_random,
    split_by_time,
    train,
)
from training.exercises.plots import curves, new_figure
from training.exercises.result import Cell as Entry
from training.exercises.result import Options, Result, Table
from training.models import CELLS
from training.preparation import (
    Scale,
    cut,
    dominant_frequencies,
    fill_missing,
    find_outliers,
    low_pass,
    median_filter,
    z_score,
)

TITLE = "A real ECG: cleaned, scaled, cut into windows of 50; three cells of four sizes; two ways to split."

WINDOW, HOP = 50, 3
RATE_HZ = 50.0
"""A faster recording is brought down to this: a window is then a second, a little more than a heart beat."""
SAMPLES = 3000
"""Of the cleaned signal, from its start: a minute."""


@dataclass(frozen=True)
class Prepared:
    """A signal on its way to the network."""

    name: str
    unit: str
    rate_hz: float
    raw: Floats
    """(time,) at the recording's own rate."""
    raw_rate_hz: float
    clean: Floats
    """(time,) at `rate_hz`."""
    scale: Scale
    steps: Table


def run(options: Options) -> Result:
    """Prepare the signal, train everything twice, do the course's assignments."""
    options.all_seeds("biomed-pipeline")
    options.refuse_test("biomed-pipeline")
    torch.set_num_threads(1)
    signal = prepare(options)
    scaled = signal.scale.apply(signal.clean)  # (time,)
    windows, targets = cut(scaled, WINDOW, HOP)  # (n, 50, 1), (n, 1, 1)
    by_time = split_by_time(windows, targets, HOP)
    splits = {"random": split_at_random(windows, targets, options.seed), "time": by_time}
    options.say(f"{signal.name}: {len(windows)} windows of {WINDOW} at {signal.rate_hz:g} Hz, every {HOP} samples")

    main, best, histories = _train_all(splits, scaled, options)
    assignments = biomed_assignments.run(scaled, HOP, options)
    cell, model, history = best
    folder, why = keep_run(model, cell, signal.scale, signal.clean, history, options, signal.rate_hz)
    stretch = (len(by_time["test"][0]) - 1) * HOP + WINDOW + 1  # samples of the test part
    figures = {
        "signal": _plot_signal(signal),
        "learning-curves": _plot_learning(histories),
        "true-against-predicted": _plot_predictions(model, scaled[-stretch:], signal, cell),
        **assignments.figures,
    }
    tables = [signal.steps, _frequencies(signal), main, *assignments.tables]
    return Result(tables, figures, [*NOTES, *assignments.notes, why], folder)


def prepare(options: Options) -> Prepared:
    """Load and clean: missing values, outliers, median filter, low-pass to the working rate; and the z-score."""
    recording = read_recording(options.data or TOY)
    rate_hz = min(recording.rate_hz, RATE_HZ)
    samples = SAMPLES // 4 if options.quick else SAMPLES
    raw = recording.values[: round(samples * recording.rate_hz / rate_hz), 0]  # (time,), the first channel
    if not np.isfinite(raw).any():
        raise ConfigError(f"--data {recording.name}: expected numbers, got no finite value in its first channel")
    far = find_outliers(raw)
    filled, missing = fill_missing(np.where(far, np.float32(np.nan), raw))
    width = 2 * max(1, round(0.005 * recording.rate_hz)) + 1  # 10 ms or so: what is as short is no heart beat
    smooth = median_filter(filled, width)
    clean = low_pass(smooth, 0.4 * rate_hz, recording.rate_hz, rate_hz)
    scale = z_score(clean[: int(0.7 * len(clean))])  # of what is trained on when split by time
    spread = float(filled.std())
    rows: list[tuple[Entry, ...]] = [
        ("load", len(raw), f"{recording.name}, first channel, {recording.rate_hz:g} Hz"),
        ("outliers", int(far.sum()), "further out than 3 times the distance of percentiles 1 and 99"),
        ("interpolate", int(missing.sum()), "missing values and outliers, by straight lines"),
        ("median filter", width, f"samples; it changes {_share(smooth - filled, spread)} of the power"),
        ("low-pass", len(clean), f"samples left: below {0.4 * rate_hz:g} Hz, causal, at {rate_hz:g} Hz"),
        ("z-score", float(scale.spread), f"is one unit; zero is {float(scale.offset):.3g} {recording.unit}"),
    ]
    steps = Table("Preparation, in the order it is done", ("step", "figure", "what it counts"), rows)
    return Prepared(recording.name, recording.unit, rate_hz, raw, recording.rate_hz, clean, scale, steps)


def _share(difference: Floats, spread: float) -> str:
    return f"{float(np.square(difference).mean()) / max(spread, 1e-12) ** 2:.2%}"


def _frequencies(signal: Prepared) -> Table:
    found = dominant_frequencies(signal.clean, signal.rate_hz, 3)
    rows: list[tuple[Entry, ...]] = [(frequency, 60 * frequency, share) for frequency, share in found]
    return Table("Key frequencies: the highest peaks of the spectrum", ("Hz", "a minute", "share of power"), rows)


def _train_all(
    splits: dict[str, dict[str, Part]], scaled: Floats, options: Options
) -> tuple[Table, tuple[Cell, NextValue, History], dict[tuple[Cell, int], History]]:
    """Every cell and size on both splits; the table, the best model split by time, and how each training went."""
    sizes = (4, 8) if options.quick else (16, 32, 64, 128)
    epochs = 3 if options.quick else 100
    baselines = _baselines(splits, scaled)
    linear = baselines["AR(20)"]  # what each test part is worth: how far a linear model comes on it
    rows: list[tuple[Entry, ...]] = []
    histories: dict[tuple[Cell, int], History] = {}
    lowest = float("inf")
    for cell in CELLS:
        for hidden in sizes:
            tests: dict[str, list[float]] = {name: [] for name in splits}
            for seed in options.all_seeds("biomed-pipeline"):
                for name, parts in splits.items():
                    torch.manual_seed(seed)
                    model = NextValue(cell, hidden)
                    history = train(model, parts, epochs=epochs, seed=seed)
                    tests[name].append(error(model, parts["test"]))
                if seed == options.seed:  # the last one trained: by time
                    histories[cell, hidden] = history
                if min(history.validation) < lowest:
                    lowest, best = min(history.validation), (cell, model, history)
            random, by_time = (float(np.mean(tests[name])) for name in ("random", "time"))
            size = sum(weight.numel() for weight in model.parameters())
            kept = histories[cell, hidden]
            trained = (cell.upper(), hidden, size, kept.best_epoch, min(kept.validation), kept.seconds)
            rows.append((*trained, random, by_time, random / linear[0], by_time / linear[1]))
            options.say(f"{cell} {hidden}: test {random:.4f} split at random, {by_time:.4f} by time")
    for name, (random, by_time) in baselines.items():
        rows.append((name, *[None] * 5, random, by_time, random / linear[0], by_time / linear[1]))
    trained_columns = ("model", "hidden", "parameters", "best epoch", "validation", "s")
    tests_columns = ("test, random", "test, by time", "random / AR(20)", "by time / AR(20)")
    count = {name: len(parts["train"][0]) for name, parts in splits.items()}
    note = (
        f"Mean squared errors of the next value, z-scored; means over {options.seeds} seed(s). "
        f"{count['random']} windows to train on at random, {count['time']} by time; {epochs} epochs of Adam 1e-3 "
        "in batches of 64, best epoch by validation (shown by time, with its seconds). The two test parts are "
        "different stretches: compare the last two columns."
    )
    title = "Next value: three cells, several sizes, two splits"
    return Table(title, (*trained_columns, *tests_columns), rows, note), best, histories


def _baselines(splits: dict[str, dict[str, Part]], scaled: Floats) -> dict[str, list[float]]:
    """Errors at random and by time of the last value, a linear model, and the most alike window trained on."""
    linear = fit_autoregression(scaled[: int(0.7 * len(scaled))], 20)
    found: dict[str, list[float]] = {"last value": [], "AR(20)": [], "most alike window": []}
    for parts in splits.values():
        (known, answers), (asked, truth) = parts["train"], parts["test"]
        told = {
            "last value": asked[:, -1],
            "AR(20)": torch.tensor(linear.forecast(asked[:, :, 0].numpy())),
            "most alike window": answers[torch.cdist(asked[:, :, 0], known[:, :, 0]).argmin(dim=1)],
        }
        for name, answer in told.items():
            found[name].append(float((answer - truth).square().mean()))
    return found


def _plot_signal(signal: Prepared) -> Figure:
    figure, (axes,) = new_figure(width=11)
    shown = round(10 * signal.rate_hz)
    ahead = round(shown * signal.raw_rate_hz / signal.rate_hz)
    axes.plot(
        np.arange(ahead)[: len(signal.raw)] / signal.raw_rate_hz,
        signal.raw[:ahead],
        color="0.7",
        label="as loaded",
    )
    axes.plot(np.arange(shown)[: len(signal.clean)] / signal.rate_hz, signal.clean[:shown], lw=1, label="cleaned")
    curves(axes, f"{signal.name}: before and after cleaning", "s", signal.unit)
    return figure


def _plot_learning(histories: dict[tuple[Cell, int], History]) -> Figure:
    """All cells and sizes in one plot: colour tells the cell, weight of the line its size."""
    figure, (axes,) = new_figure(width=10, height=5)
    colours = {"rnn": "tab:blue", "lstm": "tab:red", "gru": "tab:green"}
    sizes = sorted({hidden for _, hidden in histories})
    for (cell, hidden), history in histories.items():
        epochs = np.arange(1, len(history.validation) + 1)
        width = 0.6 + 0.6 * sizes.index(hidden)
        axes.plot(epochs, history.validation, color=colours[cell], lw=width, label=f"{cell.upper()} {hidden}")
        axes.plot(epochs, history.train, color=colours[cell], lw=width, ls=":", alpha=0.5)
    axes.set_yscale("log")
    curves(
        axes, "Learning curves, split by time: validation solid, training dotted", "epoch", "mean squared error"
    )
    return figure


def _plot_predictions(model: NextValue, stretch: Floats, signal: Prepared, cell: Cell) -> Figure:
    figure, (line, dots) = new_figure(1, 2, width=12, height=4)
    windows, targets = cut(stretch, WINDOW, 1)  # every sample this time
    truth = signal.scale.undo(targets[:, 0, 0])
    told = signal.scale.undo(predict(model, torch.tensor(windows)).numpy())[:, 0]
    seconds = np.arange(len(truth)) / signal.rate_hz
    line.plot(seconds, truth, color="black", lw=1, label="true")
    line.plot(seconds, told, color="tab:orange", lw=1, ls="--", label="predicted")
    curves(line, f"Test part by time: each value by {cell.upper()} from the {WINDOW} before it", "s", signal.unit)
    dots.plot(truth, told, ".", ms=3)
    ends = [float(truth.min()), float(truth.max())]
    dots.plot(ends, ends, color="0.5", lw=1)
    curves(dots, "True against predicted", "true", "predicted")
    return figure


NOTES = [
    (
        "Two splits, two figures. Windows that overlap share samples: drawn by lot, a window of the test "
        "part has neighbours in the training part that hold nearly all of its samples, and often the very "
        "value it is asked for. Besides, both parts then come from the same stretches: the same drift, the "
        "same ectopic beats. By time, the test part comes after, and a whole window lies between the parts, "
        "so that none shares a sample. A monitor only ever meets the second case; the first figure is "
        "flattery."
    ),
    (
        "The two test parts are not equally hard, so each error is also given over that of AR(20), a linear "
        "model with 21 numbers, on the same part. Read the columns downwards: at random a larger network "
        "looks better, because it may remember; by time it does not, and comes little further than the "
        "linear model. How much is the overlap alone is measured in a table of its own, on one and the same "
        "test part."
    ),
    (
        "The highest peaks of this spectrum are slow drift, breathing and movement, and not the heart: the "
        "course's pipeline has no high-pass. The low-pass is causal, as in the monitor; one that runs "
        "forwards and backwards would carry the value to be forecast into the window."
    ),
]
