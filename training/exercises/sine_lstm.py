"""The lookback LSTM on a sine: how far must it look back, and how to forecast further than one value.

The document's forecaster sees the last so many values and tells the next. It prints no figures; the signal and the
settings are those of its RNN (the exercise sine-rnn). The improved run is a forecaster of the laboratory itself,
trained by `training.fit`: fifty values at once with an interval, ready to be exported and watched live.
"""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import numpy as np
import torch
from matplotlib.figure import Figure

from training.baselines import Array, fit_autoregression, persistence, seasonal
from training.config import FitConfig, Minutes, ModelShape, Schedule, SimulatedData
from training.exercises.learning import begin, mean_of, spread_of
from training.exercises.lookback import HORIZON, NOISE, SAMPLES, Task, make_task, run_on, train_as_published
from training.exercises.next_value import NextValue
from training.exercises.plots import curves, loss_figure, new_figure
from training.exercises.result import Cell, Options, Result, Table
from training.fit import fit
from training.runs import Outcome, read_run

TITLE = "The lookback LSTM forecaster on a sine."

LOOKBACKS = (5, 10, 20, 50)
WINDOW = 50


def config_of(seed: int, *, quick: bool) -> FitConfig:
    """The improved forecaster: an LSTM of 32, three numbers wide before its fifty answers."""
    minutes = Minutes(1, 0.5, 1, 1) if quick else Minutes(20, 5, 20, 20)
    schedule = Schedule(epochs=1, epoch_windows=200) if quick else Schedule(epochs=12, epoch_windows=5000)
    return FitConfig(
        name="sine-lstm",
        task="forecast",
        seed=seed,
        data=SimulatedData(noise=NOISE, minutes=minutes),
        model=ModelShape(cell="lstm", hidden=32, rank=3, window=WINDOW, hop=5, horizon=HORIZON),
        train=msgspec.structs.replace(schedule, learning_rate=8e-3),
    )


@torch.no_grad()
def ask(run_folder: Path, histories: Array) -> tuple[dict[str, Array], Outcome]:
    """What the model of a run says of every history: `forecast`, `lower`, `upper`, (origin, 50) each."""
    _, outcome, model = read_run(run_folder)
    window = torch.from_numpy(histories[:, -WINDOW:].astype(np.float32))[:, :, None]  # (origin, 50, 1)
    told = {name: value[..., 0].numpy().astype(np.float64) for name, value in model.outputs(window).items()}
    return told, outcome


def run(options: Options) -> Result:
    """The lookback LSTM at several lookbacks, the laboratory's forecaster, and what needs no network."""
    epochs, later = (10, 200) if options.quick else (50, 1950)
    lookbacks = LOOKBACKS[1:3] if options.quick else LOOKBACKS
    told: list[dict[str, Array]] = []
    tasks: list[Task] = []
    losses: dict[str, list[float]] = {}
    coverages: list[float] = []
    run_folder: Path | None = None
    bounds: dict[str, Array] = {}
    for seed in begin(options, "sine-lstm"):
        task = make_task(seed, later)
        forecasts: dict[str, Array] = {}
        for lookback in lookbacks:
            torch.manual_seed(seed)
            model = NextValue("lstm", 64)
            loss = train_as_published(model, task.series, lookback, epochs, options.say)
            losses.setdefault(f"lookback {lookback}", loss)
            forecasts[f"lookback LSTM, {lookback} values, run on"] = run_on(model, task.histories, lookback)
        began = time.monotonic()
        folder = fit(config_of(seed, quick=options.quick), None, options.out)
        answers, outcome = ask(folder, task.histories)
        options.say(f"seed {seed}: the laboratory's LSTM trained in {time.monotonic() - began:.1f} s")
        forecasts["improved LSTM, 50 values, 50 at once"] = answers["forecast"]
        coverages.append(outcome.metrics["coverage"])
        if run_folder is None:
            run_folder, bounds = folder, answers
        told.append(forecasts | without_network(task))
        tasks.append(task)
    figures = {
        "loss": loss_figure(losses, "The lookback LSTM: mean squared error of the next value"),
        "actual_predicted": one_step_figure(tasks[0], told[0]),
        "interval": interval_figure(tasks[0], bounds),
    }
    return Result([table_of(tasks, told, coverages)], figures, NOTES, run_folder)


def without_network(task: Task) -> dict[str, Array]:
    """(origin, 50) each."""
    past = task.histories
    return {
        "persistence": persistence(past, HORIZON),
        "seasonal (last period)": seasonal(past, HORIZON, 63),
        "AR(20)": fit_autoregression(task.series, 20).forecast(past, HORIZON),
        "AR(50)": fit_autoregression(task.series, 50).forecast(past, HORIZON),
    }


def table_of(tasks: list[Task], told: list[dict[str, Array]], coverages: list[float]) -> Table:
    """One step and fifty, over later origins; means over the seeds and their range."""
    columns = ("model", "one step", "excess", "excess (range)", "50 steps", "50 steps (range)")
    rows: list[tuple[Cell, ...]] = []
    for name in told[0]:
        each = [(task, forecasts[name]) for task, forecasts in zip(tasks, told, strict=True)]
        one = [float(np.square(f[1:, 0] - t.came[1:]).mean()) for t, f in each]
        excess = [float(np.square(f[1:, 0] - t.futures[1:, 0]).mean()) for t, f in each]
        many = [float(np.square(f[1:] - t.futures[1:]).mean()) for t, f in each]
        rows.append((name, mean_of(one), mean_of(excess), spread_of(excess), mean_of(many), spread_of(many)))
    note = (
        f"Means over {len(told)} seed(s) at {len(tasks[0].origins) - 1} origins after the {SAMPLES} samples "
        "learned from. one step: mean squared error against what came, of which the noise alone makes 0.01; "
        "excess and 50 steps: against the sine without noise. The document prints no figures. The improved LSTM "
        "learned from minutes of the same simulated sine, not from the 1000 samples. Its interval is made to hold "
        f"90 % of the values; on other simulated minutes it held {100 * mean_of(coverages):.1f} %."
    )
    return Table("A noisy sine, looking back", columns, rows, note)


def one_step_figure(task: Task, told: dict[str, Array]) -> Figure:
    """Actual against predicted, one step ahead, for the first 200 origins."""
    figure, (axes,) = new_figure()
    axes.plot(task.origins[1:201], task.came[1:201], color="black", linewidth=0.8, label="actual")
    for name in (name for name in told if "LSTM, 20" in name or "improved" in name):
        axes.plot(task.origins[1:201], told[name][1:201, 0], "--", label=name.removesuffix(", run on"))
    curves(axes, "One step ahead: actual against predicted", "sample", "value")
    return figure


def interval_figure(task: Task, bounds: dict[str, Array]) -> Figure:
    """The fifty values after the series, with the interval."""
    figure, (axes,) = new_figure()
    ahead = np.arange(HORIZON)
    axes.plot(np.arange(-100, 0), task.series[-100:], color="black", linewidth=1, label="original")
    axes.plot(ahead, task.futures[0], color="grey", label="truth")
    axes.plot(ahead, bounds["forecast"][0], "--", color="tab:red", label="improved LSTM")
    axes.fill_between(ahead, bounds["lower"][0], bounds["upper"][0], color="tab:red", alpha=0.2, label="90 %")
    curves(axes, "Fifty values at once", "samples after the end of the series", "value")
    return figure


NOTES = [
    (
        "A lookback of 5 values spans a twelfth of the period: noise and slope look alike there. Compare the "
        "lookbacks in the table: more values let a network average the noise away, if it is trained long enough; "
        "50 updates are few for an LSTM, whatever it looks back on."
    ),
    (
        "Good one-step figures do not make a good forecast of fifty values: whatever is a little wrong is fed "
        "back fifty times. A network that answers all fifty at once is not judged on its own echo, and can say "
        "how sure it is."
    ),
    "The improved model is a run folder: `training export` makes a file of it, and the monitor shows it live.",
]
