"""The report of a run: one HTML file with everything a reader of a training run looks for, that opens anywhere.

What it shows is computed anew on the run's test part, from its weights and its configuration.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from matplotlib.ticker import MaxNLocator

from monitor.core.errors import ConfigError
from training.config import FitConfig, RecordsData, SymbolsData, flat
from training.datasets import Data, load_data
from training.models import RecurrentModel
from training.plots import BLUE, GREEN, GREY, INK, RED, name_axes, new_figure, style
from training.report_beats import beat_sections
from training.report_classes import symbol_sections, window_sections
from training.report_forecasts import forecast_sections
from training.report_page import Section, page_of
from training.runs import Outcome, read_run

MOST_BYTES = 1_000_000


def report(run: Path, data_folder: Path | None = None, out: Path | None = None) -> Path:
    """Write the report of the finished `run`, into its folder by default; returns its path.

    `data_folder` holds the records that the run was trained on, where it was trained on records. Raises
    ConfigError or RecordingError for a run that is not finished, or whose data is not there or is not what it was.
    """
    config, outcome, model = read_run(run)
    source = config.data
    if isinstance(source, RecordsData):  # the copies with noise are for training alone
        config = msgspec.structs.replace(config, data=msgspec.structs.replace(source, copies=0, noise=()))
    data = load_data(config, data_folder)
    with style():
        sections = [_summary(config, outcome, data), _learning(run, outcome)]
        sections += _judged(model, config, data, outcome)
        lead = (
            f"{config.task} with a {config.model.cell.upper()}, {config.model.layers} x {config.model.hidden}, "
            f"{sum(weight.numel() for weight in model.parameters())} parameters; seed {outcome.seed}; "
            f"{config.intended_use}"
        )
        page = page_of(f"{config.name}, version {config.version}", lead, sections)
    content = page.encode()
    if len(content) > MOST_BYTES:
        raise ConfigError(f"{run}: the report would be {len(content)} bytes, expected at most {MOST_BYTES}")
    path = out or run / "report.html"
    try:
        path.write_bytes(content)
    except OSError as error:
        raise ConfigError(f"--out {path}: cannot be written: {error.strerror}") from error
    return path


def _judged(model: RecurrentModel, config: FitConfig, data: Data, outcome: Outcome) -> list[Section]:
    if isinstance(config.data, SymbolsData):
        return symbol_sections(model, config, data)
    match config.task:
        case "forecast":
            return forecast_sections(model, config, data)
        case "classify":
            return window_sections(model, config, data, outcome)
        case "beats":
            return beat_sections(model, config, data, outcome)


def _summary(config: FitConfig, outcome: Outcome, data: Data) -> Section:
    section = Section("Summary")
    section.table(
        [
            ("Data", outcome.data.name),
            *((part.capitalize(), data.told[part]) for part in data.parts if part in data.told),
            ("Digest", outcome.data.digest),
            ("Rate", f"{outcome.rate_hz:g} Hz, {outcome.channels} channel(s) {outcome.unit}".strip()),
            ("Best epoch", f"{outcome.best_epoch} of {outcome.epochs}, {outcome.seconds:g} s on {outcome.device}"),
            ("Code", f"{outcome.code} {outcome.commit}, torch {outcome.torch}"),
        ]
    )
    section.text("On the test part, which neither training nor the choice of thresholds has seen:")
    section.table([*outcome.metrics.items()], ("figure", "value"))
    if outcome.thresholds:
        section.table([*outcome.thresholds.items()], ("threshold of", "value"))
    settings = [(key, json.dumps(_plain(value))) for key, value in flat(config).items()]
    section.folded("The whole configuration", settings)
    return section


def _plain(value: Any) -> Any:
    return msgspec.json.decode(value) if isinstance(value, msgspec.Raw) else value


def _learning(run: Path, outcome: Outcome) -> Section:
    section = Section("Learning curves")
    try:
        lines = [msgspec.json.decode(line) for line in (run / "metrics.jsonl").read_bytes().splitlines()]
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(f"{run}: expected a metrics.jsonl of this version: {error}") from error
    lines = [line for line in lines if "train_loss" in line]  # exercises keep what came of it alone
    if not lines:
        section.text("No epoch was written down.")
        return section
    epochs = [line["epoch"] for line in lines]
    with_rate = all("learning_rate" in line for line in lines)
    figure, panels = new_figure(1, 2 if with_rate else 1, height=3.0)
    axes = panels[0]
    marker = "o" if len(epochs) < 3 else ""
    axes.plot(epochs, [line["train_loss"] for line in lines], color=GREY, label="train", marker=marker)
    axes.plot(epochs, [line["validation_loss"] for line in lines], color=BLUE, label="validation", marker=marker)
    axes.axvline(outcome.best_epoch, color=RED, linestyle="--", linewidth=0.9)
    for panel in panels:
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    if min(line[key] for line in lines for key in ("train_loss", "validation_loss")) > 0:
        axes.set_yscale("log")
    name_axes(axes, "loss", "epoch", "")
    if with_rate:
        panels[1].plot(epochs, [line["learning_rate"] for line in lines], color=GREEN, marker=marker)
        panels[1].axvline(outcome.best_epoch, color=INK, linestyle="--", linewidth=0.6)
        name_axes(panels[1], "learning rate", "epoch", "")
    best = float(np.min([line["validation_loss"] for line in lines]))
    missing = "" if with_rate else " This run did not write its learning rate down."
    kept = f"Kept were the weights of epoch {outcome.best_epoch} (dashed), validation loss {best:.4g}."
    section.figure(figure, kept + missing)
    return section
