"""What a report shows of a forecaster: examples, error by horizon beside baselines, intervals, the worst cases.

All on the test part. The autoregression is fitted on the training part, as the network is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from monitor.core.blocks import Floats, Ints
from monitor.core.errors import ConfigError
from training.baselines import fit_autoregression
from training.calibrate import predict
from training.config import FitConfig
from training.controls import periods
from training.datasets import Data, Series, cut_windows
from training.metrics import Doubles
from training.models import RecurrentModel
from training.plots import BLUE, COLOURS, GREY, INK, RED, name_axes, new_figure
from training.report_page import Section

ORDER = 20
_MOST = 20_000
_EXAMPLES = (0.05, 0.35, 0.65, 0.95)
_WORST = 6


@dataclass(frozen=True)
class _Windows:
    """Windows of the test part, and everything that was said of what follows them."""

    history: Floats
    """(n, time, channel)"""
    came: Floats
    """(n, horizon, channel)"""
    outputs: dict[str, Floats]
    guesses: dict[str, Floats]
    """By baseline (n, horizon, channel)."""
    names: list[str]
    """(n,) series each is of."""
    ends: Ints
    """(n,) samples of the series up to the end of its history."""


def forecast_sections(model: RecurrentModel, config: FitConfig, data: Data) -> list[Section]:
    """The sections of a forecaster's report."""
    windows = _windows(model, config, data)
    rate_hz, unit = data.rate_hz, f" ({data.unit})" if data.unit else ""
    error = np.square(windows.outputs["forecast"] - windows.came).mean(axis=(1, 2))  # (n,)
    order = np.argsort(error)

    examples = Section("Forecast against truth")
    rows = [int(order[int(share * (len(order) - 1))]) for share in _EXAMPLES]
    figure, panels = new_figure(2, 2)
    for axes, row, share in zip(panels, rows, _EXAMPLES, strict=True):
        _draw(axes, windows, row, rate_hz, f"better than {100 - round(100 * share)} % of all", unit)
    examples.figure(
        figure,
        f"Four of {len(order)} windows of the test part, from an easy one to a hard one: what came (ink), the "
        f"forecast (blue) and the interval that should hold {100 * config.model.coverage:g} % of the values.",
    )

    horizon = Section("Error by horizon")
    ahead = (1 + np.arange(config.model.horizon)) / rate_hz
    variance = np.square(windows.came - windows.came.mean(axis=(0, 1))).mean(axis=(0, 2))
    said = {"model": windows.outputs["forecast"], **windows.guesses}
    errors = {name: np.square(guess - windows.came).mean(axis=(0, 2)) / variance for name, guess in said.items()}
    figure, (axes,) = new_figure(height=3.0)
    for (name, values), colour in zip(errors.items(), COLOURS, strict=False):
        axes.plot(ahead, values, label=name, color=colour, linewidth=2.0 if name == "model" else 1.2)
    axes.axhline(1.0, color=GREY, linewidth=0.8, linestyle=":")
    if max(values.max() for values in errors.values()) > 20 * min(values.max() for values in errors.values()):
        axes.set_yscale("log")
    name_axes(axes, "squared error over variance", "seconds ahead", "")
    horizon.figure(
        figure,
        f"Beside persistence (the last value), the season (the last period) and an autoregression of order "
        f"{ORDER}; 1 (dotted) is what the mean of the test part itself would give.",
    )
    picks = sorted({0, *(np.linspace(0, len(ahead) - 1, 6).round().astype(int).tolist())})
    head = ("", *(f"{ahead[i]:.3g} s" for i in picks), "all")
    horizon.table(
        [(name, *(float(values[i]) for i in picks), float(values.mean())) for name, values in errors.items()], head
    )

    interval = Section("Interval coverage")
    low, high = windows.outputs["lower"], windows.outputs["upper"]
    inside = 100 * ((windows.came >= low) & (windows.came <= high)).mean(axis=(0, 2))
    figure, (left, right) = new_figure(1, 2)
    left.plot(ahead, inside, color=BLUE)
    left.axhline(100 * config.model.coverage, color=RED, linestyle="--", linewidth=1)
    left.set_ylim(min(float(inside.min()), 100 * config.model.coverage) - 5, 100)
    name_axes(left, "values inside, %", "seconds ahead", "")
    right.plot(ahead, (high - low).mean(axis=(0, 2)), color=BLUE)
    name_axes(right, f"mean width{unit}", "seconds ahead", "")
    interval.figure(figure, f"Promised (dashed) and held: {inside.mean():.1f} % over the whole horizon.")

    worst = Section("Worst cases")
    rows = _apart(order[::-1], windows, config.model.horizon)
    figure, panels = new_figure(-(-len(rows) // 2), 2)
    for axes, row in zip(panels, rows, strict=False):
        where = f"{windows.names[row]}, {windows.ends[row] / rate_hz:.1f} s"
        _draw(axes, windows, row, rate_hz, where, unit)
    for axes in panels[len(rows) :]:
        axes.set_axis_off()
    worst.figure(figure, "The windows with the largest squared error, no two of them of the same moment.")
    return [examples, horizon, interval, worst]


def _windows(model: RecurrentModel, config: FitConfig, data: Data) -> _Windows:
    horizon, hop = config.model.horizon, config.model.hop * config.model.samples_per_step
    parts = data.parts["test"]
    total = sum(max(len(series.values) - horizon, 0) // hop for series in parts)
    hop *= -(-total // _MOST) or 1  # a long test part is sampled, not shown in full
    cut = [(series, *cut_windows(series, config, hop, horizon)) for series in parts]
    cut = [(series, values, marks, ends) for series, values, marks, ends in cut if len(values)]
    values = np.concatenate([values for _, values, _, _ in cut])
    history, came = values[:, :-horizon], values[:, -horizon:]
    guesses: dict[str, list[Floats]] = {}
    for series, some, _, ends in cut:
        for name, guess in _guesses(series, some[:, :-horizon], ends, config, data).items():
            guesses.setdefault(name, []).append(guess)
    return _Windows(
        history,
        came,
        predict(model, history),
        {name: np.concatenate(parts) for name, parts in guesses.items()},
        [series.name for series, _, _, ends in cut for _ in range(len(ends))],
        np.concatenate([ends for _, _, _, ends in cut]),
    )


def _guesses(series: Series, history: Floats, ends: Ints, config: FitConfig, data: Data) -> dict[str, Floats]:
    """What each baseline says of windows of one series, (n, horizon, channel) each."""
    horizon, size = config.model.horizon, history.shape[1]
    order = min(ORDER, size)
    told: dict[str, list[Doubles]] = {"persistence": [], "season": [], f"AR({order})": []}
    longest = min(max(size, 2 * horizon), len(series.values) // 4)
    for channel in range(history.shape[2]):
        values = series.values[:, channel].astype(np.float64)
        told["persistence"].append(np.repeat(values[ends - 1][:, None], horizon, axis=1))
        period = np.full(len(ends), size)
        if max(size // 6, 4) < longest:
            period = np.minimum(periods(values, ends, max(size // 6, 4), longest), ends)
        told["season"].append(values[(ends - period)[:, None] + np.arange(horizon) % period[:, None]])
        learned = max((s.values[:, channel] for s in data.parts["train"] if not s.noisy), key=len)
        try:
            fitted = fit_autoregression(learned, order)
        except ConfigError:  # too little to fit one on
            continue
        told[f"AR({order})"].append(fitted.forecast(history[:, :, channel], horizon))
    return {name: np.stack(said, axis=2).astype(np.float32) for name, said in told.items() if said}


def _draw(axes: Axes, windows: _Windows, row: int, rate_hz: float, title: str, unit: str) -> None:
    history, came = windows.history[row, :, 0], windows.came[row, :, 0]
    past = np.arange(1 - len(history), 1) / rate_hz
    ahead = np.arange(1, len(came) + 1) / rate_hz
    low, high, mean = (windows.outputs[name][row, :, 0] for name in ("lower", "upper", "forecast"))
    axes.fill_between(ahead, low, high, color=BLUE, alpha=0.22, linewidth=0)
    axes.plot(past, history, color=INK, linewidth=1.0, alpha=0.55)
    axes.plot(ahead, came, color=INK, linewidth=1.2)
    axes.plot(ahead, mean, color=BLUE)
    axes.axvline(0, color=GREY, linewidth=0.8, linestyle=":")
    name_axes(axes, title, "seconds", unit.strip(" ()"))


def _apart(order: Ints, windows: _Windows, least: int) -> list[int]:
    """The first rows of `order` whose windows end at least `least` samples apart."""
    kept: list[int] = []
    for row in order.tolist():
        if all(
            windows.names[row] != windows.names[other] or abs(windows.ends[row] - windows.ends[other]) >= least
            for other in kept
        ):
            kept.append(row)
        if len(kept) == _WORST:
            break
    return kept
