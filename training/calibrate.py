"""After training: set intervals and thresholds on the calibration part, and take figures on the test part."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from monitor.core.blocks import Floats, Ints
from training.config import FitConfig, SymbolsData
from training.datasets import TAIL_SAMPLES, Data, Series, cut_windows
from training.metrics import (
    REFRACTORY_S,
    FoundBeats,
    Tally,
    conformal_factors,
    count_events,
    forecast_figures,
    pick_beats,
    tally_beats,
    tally_class,
)
from training.models import RecurrentForecaster, RecurrentModel
from training.symbols import symbol_figures

_SPREAD_WINDOWS = 5_000
"""Windows that are enough to tell how much fewer steps cost."""


class Calibration:
    """What was set, and the figures that resulted."""

    def __init__(self) -> None:
        self.thresholds: dict[str, float] = {}
        self.beat_level = 0.5
        self.spread: tuple[float, ...] = ()
        self.metrics: dict[str, float] = {}


def calibrate(model: RecurrentModel, config: FitConfig, data: Data) -> Calibration:
    """Set what is to be set (a forecaster's factors go into the model itself), then judge on the test part."""
    done = Calibration()
    model.eval()
    if isinstance(model, RecurrentForecaster):
        outputs, targets, _ = _forecasts(model, config, data.parts["calibration"])
        factors = conformal_factors(outputs, targets, config.model.coverage)
        model.factors.copy_(torch.from_numpy(factors))
        done.spread = spread_by_count(model, config, data)
        done.metrics = test_figures(model, config, data)
    elif isinstance(config.data, SymbolsData):
        done.metrics = _foreseen_symbols(model, config, data)
    elif config.task == "classify":
        _calibrate_classes(model, config, data, done)
    else:
        _calibrate_beats(model, config, data, done)
    return done


def test_figures(model: RecurrentForecaster, config: FitConfig, data: Data) -> dict[str, float]:
    """How a forecaster does on the test part."""
    return forecast_figures(*_forecasts(model, config, data.parts["test"]), data.rate_hz)


def predict(model: RecurrentModel, windows: Floats, batch: int = 512) -> dict[str, Floats]:
    """The model's outputs for `windows` (n, time, channel)."""
    device = next(model.parameters()).device
    parts: list[dict[str, Floats]] = []
    with torch.no_grad():
        for start in range(0, len(windows), batch):
            some = torch.from_numpy(np.ascontiguousarray(windows[start : start + batch])).to(device)
            parts.append({name: value.cpu().numpy() for name, value in model.outputs(some).items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _forecasts(
    model: RecurrentModel, config: FitConfig, part: list[Series]
) -> tuple[dict[str, Floats], Floats, Floats]:
    """Outputs for all windows of a part, what came instead, and the last value that was known."""
    history, targets, last = _inputs(config, part)
    return predict(model, history), targets, last


def _inputs(config: FitConfig, part: list[Series]) -> tuple[Floats, Floats, Floats]:
    """All windows of a part, what came after each, and the last value that was known."""
    horizon = config.model.horizon
    hop = config.model.hop * config.model.samples_per_step
    values = np.concatenate([cut_windows(series, config, hop, horizon)[0] for series in part])
    history, targets = values[:, :-horizon], values[:, -horizon:]
    return history, targets, history[:, -1]


def spread_by_count(model: RecurrentModel, config: FitConfig, data: Data) -> tuple[float, ...]:
    """By how much to widen a calibrated interval on an answer that rests on fewer steps than the whole window.

    One factor for each count of steps from `train.first_step` to the window, so that it holds as often at each.
    """
    windows, targets, _ = _inputs(config, data.parts["calibration"])
    keep = slice(None, None, max(1, len(windows) // _SPREAD_WINDOWS))
    windows, targets = windows[keep], targets[keep]
    found = []
    for steps in range(config.train.first_step, config.model.window + 1):
        outputs = predict(model, windows[:, -steps * config.model.samples_per_step :])
        found.append(float(conformal_factors(outputs, targets, config.model.coverage).mean()))
    return tuple(factor / found[-1] for factor in found)


def _foreseen_symbols(model: RecurrentModel, config: FitConfig, data: Data) -> dict[str, float]:
    """Nothing to set: how well the next symbol of each window of the test part is foreseen."""
    cut = [cut_windows(series, config, config.model.hop) for series in data.parts["test"]]
    windows = np.concatenate([values for values, _, _ in cut])
    came = np.concatenate([marks[:, -1] for _, marks, _ in cut])
    windows, came = windows[came >= 0], came[came >= 0]  # after the last symbol nothing came
    before = windows[:, -1, 0].astype(np.int64)
    train = [series.values[:, 0].astype(np.int64) for series in data.parts["train"]]
    return symbol_figures(predict(model, windows)["probabilities"], came, before, train)


def _calibrate_classes(model: RecurrentModel, config: FitConfig, data: Data, done: Calibration) -> None:
    """The lowest threshold of each class but the first that keeps the budget of false alarms."""
    hop = config.model.hop * config.model.samples_per_step
    reach = (config.model.label_steps or config.model.window) * config.model.samples_per_step

    def run(series: Series) -> tuple[Floats, Ints]:
        values, _, ends = cut_windows(series, config, hop)
        return predict(model, values)["probabilities"], ends

    tried = {part: [(s, *run(s)) for s in data.parts[part]] for part in ("calibration", "test")}

    def judge(part: str, kind: int, threshold: float) -> tuple[float, float]:
        counts = [
            count_events(
                probabilities[:, kind] >= threshold, ends, s.at[s.kinds == kind], reach, TAIL_SAMPLES, data.rate_hz
            )
            for s, probabilities, ends in tried[part]
        ]
        hours = sum(c.hours for c in counts)
        return (
            sum(c.found for c in counts) / max(sum(c.events for c in counts), 1),
            sum(c.false_alarms for c in counts) / max(hours, 1e-9),
        )

    grid = 1 / (1 + np.exp(-np.linspace(-3, 12, 121)))
    for kind, name in enumerate(config.model.classes[1:], start=1):
        kept = [t for t in grid if judge("calibration", kind, t)[1] <= config.train.false_alarms_per_hour]
        threshold = round(float(kept[0] if kept else grid[-1]), 5)
        done.thresholds[name] = threshold
        sensitivity, false_alarms = judge("test", kind, threshold)
        done.metrics[f"{name}_sensitivity"] = sensitivity
        done.metrics[f"{name}_false_alarms_per_hour"] = false_alarms


def run_beats(
    model: RecurrentModel, config: FitConfig, series: Series
) -> tuple[Floats, Floats, NDArray[np.float64]]:
    """Heat (n,), class probabilities (n, class) and the sample each row speaks of (n,), at every step."""
    fold = config.model.samples_per_step
    values, _, ends = cut_windows(series, config, fold)
    outputs = predict(model, values)
    middles = (ends - 1 - config.model.delay * fold).astype(np.float64) - (fold - 1) / 2
    return outputs["beat"][:, 0], outputs["probabilities"], middles


def _calibrate_beats(model: RecurrentModel, config: FitConfig, data: Data, done: Calibration) -> None:
    """The level at which beats are found best, then the threshold at which V beats are."""
    classes = config.model.classes
    ventricular, fusion = classes.index("V"), classes.index("F") if "F" in classes else -1
    rate_hz = data.rate_hz
    tried = {
        part: [(s, *run_beats(model, config, s)) for s in data.parts[part] if not s.noisy]
        for part in ("calibration", "test")
    }

    def found_in(part: str, level: float) -> list[tuple[NDArray[np.float64], Ints, FoundBeats]]:
        told = []
        for series, heat, probabilities, middles in tried[part]:
            found = pick_beats(heat, probabilities, middles, level, REFRACTORY_S * rate_hz)
            judged = (series.at > middles[1] + 1) & (series.at < middles[-2] - 1)
            told.append((series.at[judged].astype(np.float64), series.kinds[judged], found))
        return told

    def beats(part: str, level: float) -> Tally:
        return sum((tally_beats(at, found, rate_hz) for at, _, found in found_in(part, level)), Tally())

    def calls(part: str, threshold: float) -> list[Tally]:
        return [
            tally_class(
                at,
                kinds,
                found,
                (found.probabilities.argmax(axis=1) == ventricular)
                & (found.probabilities[:, ventricular] >= threshold),
                ventricular,
                fusion,
                rate_hz,
            )
            for at, kinds, found in found_in(part, done.beat_level)
        ]

    done.beat_level = float(
        max(np.arange(0.1, 0.61, 0.05), key=lambda x: beats("calibration", x).figures("x")["x_f1"])
    )
    grid = np.arange(0.3, 0.96, 0.05)
    best = max(grid, key=lambda x: sum(calls("calibration", x), Tally()).figures("x")["x_f1"])
    done.thresholds["V"] = round(float(best), 3)
    done.beat_level = round(done.beat_level, 3)
    done.metrics = beats("test", done.beat_level).figures("beat")
    tallies = calls("test", done.thresholds["V"])
    done.metrics |= sum(tallies, Tally()).figures("V")
    # What the threshold was chosen on: other patients, so that one can see how much the figures depend on whom.
    chosen_on = sum(calls("calibration", done.thresholds["V"]), Tally()).figures("V")
    done.metrics |= {f"{key}_calibration": value for key, value in chosen_on.items()}
    for (series, *_), tally in zip(tried["test"], tallies, strict=True):
        if tally.hit + tally.missed:
            done.metrics |= {f"{key}_{series.name}": value for key, value in tally.figures("V").items()}
