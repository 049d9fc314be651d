"""What a model file does on labelled data, through the very engine that the daemon runs.

Recordings are streams of `monitor.core.engine.Engine` (training.judged); what it told is judged per event, never
point-adjusted, beside what needs no model (training.judged_beats, judged_forecasts, judged_events). Records are
judged in groups, one worker process a core; the total is taken over all their beats, events and forecasts
together, so that it does not depend on the grouping.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from monitor.core.card import Card
from monitor.core.errors import ConfigError, ModelError
from monitor.core.leapfrog import Leapfrog
from monitor.core.stream import Plan
from monitor.inference import Model, find_models, load_model
from monitor.recordings import Recording
from training.both_ways import differences
from training.judged import Judged, drive
from training.judged_beats import BeatEvidence, beat_evidence, beat_figures, pool_beats
from training.judged_events import EventEvidence, class_evidence, event_figures, pool_events
from training.judged_forecasts import ForecastEvidence, forecast_evidence, forecast_figures, pool_forecasts
from training.judged_inputs import AS_USUAL, SIMULATED, Settings, find_sources, read_source, trained_with

_GROUP = 12
"""Recordings side by side in one engine, at most: their windows share batches and rounds of judging."""

Evidence = BeatEvidence | ForecastEvidence | dict[str, EventEvidence]


@dataclass(frozen=True)
class _Told:
    """What one recording gave."""

    name: str
    lead: str
    seconds: float
    evidence: Evidence


def evaluate(
    model: str, data: str, settings: Settings = AS_USUAL, say: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """The figures of `model` (a file or the name of a shipped one) on `data`, by record and in total.

    Raises ModelError, RecordingError or ConfigError for what cannot be evaluated. Shares are in percent.
    """
    path = model_path(model)
    card = load_model(path).card
    sources = [SIMULATED] if data == SIMULATED else find_sources(data, settings.records, card)
    result = {
        "model": card.ident,
        "file": path.name,
        "task": card.task,
        "data": data,
        "trained_on": card.source.train,
        "held_out": card.source.validation,
        "mode": "leapfrog" if settings.mode == "leapfrog" else "window",
        **_judged(path, sources, settings, card, say, leapfrog=settings.mode == "leapfrog"),
    }
    if settings.mode == "both" and (carried := _carried(card)) is not None:
        other = _judged(path, sources, settings, card, say, leapfrog=True)
        result["leapfrog"] = {
            "states": carried.states,
            "least_steps": carried.least,
            **other,
            "difference": differences(result["total"], other["total"]),
        }
    return result


def _carried(card: Card) -> Leapfrog | None:
    """How the model leapfrogs; None where it cannot, or was not trained to answer on so few steps."""
    try:
        return Leapfrog(card, 1)
    except ModelError:
        return None


def _judged(
    path: Path, sources: list[str], settings: Settings, card: Card, say: Callable[[str], None], *, leapfrog: bool
) -> dict[str, Any]:
    """Figures of the records and their total, for one way to run the model."""
    told = _judge_all(path, sources, settings, say, leapfrog=leapfrog)
    figures = {one.name: _figures([one.evidence], card) for one in told}
    total = _figures([one.evidence for one in told], card)
    if card.task == "beats":
        total["average_of_records"] = _average(list(figures.values()), card)
    return {
        "records": {one.name: {"lead": one.lead, "seconds": one.seconds, **figures[one.name]} for one in told},
        "total": {"records": len(told), "seconds": sum(one.seconds for one in told), **total},
    }


def model_path(model: str) -> Path:
    """The file of MODEL: a path, or the name of a shipped model. Raises ConfigError."""
    path = Path(model)
    if path.suffix == ".onnx":
        return path
    shipped = find_models(None)
    if model not in shipped:
        raise ConfigError(f"MODEL: expected an .onnx file or one of {', '.join(shipped)}; got {model!r}")
    return shipped[model]


def _judge_all(
    path: Path, sources: list[str], settings: Settings, say: Callable[[str], None], *, leapfrog: bool
) -> list[_Told]:
    """Every recording judged, in the order of `sources`; by several processes where that is worth it."""
    jobs = min(settings.jobs or os.cpu_count() or 1, len(sources))
    turns = -(-len(sources) // (jobs * _GROUP))
    size = -(-len(sources) // (jobs * turns))
    groups = [sources[start : start + size] for start in range(0, len(sources), size)]
    judge = partial(_judge, path, settings, leapfrog)
    if jobs == 1 or len(groups) == 1:
        return [told for group in groups for told in judge(group)]
    told: dict[int, list[_Told]] = {}
    # Spawned, not forked: a fork would inherit the threads of onnxruntime in an unknown state.
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as workers:
        pending = {workers.submit(judge, group): i for i, group in enumerate(groups)}
        try:
            for done in as_completed(pending):
                told[pending[done]] = done.result()
                say(f"judged {', '.join(one.name for one in done.result())}")
        except BaseException:
            workers.shutdown(wait=True, cancel_futures=True)
            raise
    return [one for i in range(len(groups)) for one in told[i]]


def _judge(path: Path, settings: Settings, leapfrog: bool, sources: Sequence[str]) -> list[_Told]:
    """Drive a group of recordings through one engine, and judge each."""
    model = load_model(path)
    card = model.card
    recordings = [read_source(source, settings, card) for source in sources]
    lead = settings.lead or str(trained_with(card, "data.lead") or "")
    return [
        _Told(one.recording.name, one.lead, one.seconds, _evidence(one, card))
        for one in _drive(model, recordings, settings.block_samples, lead, leapfrog=leapfrog)
    ]


def _drive(
    model: Model, recordings: list[Recording], block_samples: int, lead: str, *, leapfrog: bool
) -> list[Judged]:
    for recording in recordings:
        column = recording.values[:, : model.card.channels]
        if not np.isfinite(column).any() or np.nanmin(column) == np.nanmax(column):
            raise ConfigError(f"{recording.name}: expected a signal, got no values or a constant")
    # Of two leads one is enough, as the monitor is usually told; a model of one is judged on the lead it is shown.
    plan = Plan(any_lead=model.card.task == "beats" and model.card.channels > 1)
    return drive(model, recordings, block_samples, lead, leapfrog=leapfrog, plan=plan)


def _evidence(judged: Judged, card: Card) -> Evidence:
    match card.task:
        case "beats":
            return beat_evidence(judged, card)
        case "classify":
            return class_evidence(judged, card)
        case "forecast":
            return forecast_evidence(judged, card)


def _figures(parts: Sequence[Evidence], card: Card) -> dict[str, Any]:
    """The figures of one recording, or of several together."""
    beats = [part for part in parts if isinstance(part, BeatEvidence)]
    if beats:
        return beat_figures(pool_beats(beats), card.classes)
    forecasts = [part for part in parts if isinstance(part, ForecastEvidence)]
    if forecasts:
        return {"forecast": forecast_figures(pool_forecasts(forecasts), card)}
    classes = [part for part in parts if isinstance(part, dict)]
    return {label: event_figures(pool_events([part[label] for part in classes])) for label in classes[0]}


def _average(figures: Sequence[dict[str, Any]], card: Card) -> dict[str, dict[str, float]]:
    """Each patient counting the same: means over the records for which a figure exists."""
    told = {}
    for group in ("beats", *card.classes[1:]):
        told[group] = {
            key: float(np.mean(known)) if (known := _known(figures, group, key)) else float("nan")
            for key in ("se", "ppv", "f1")
        }
    return told


def _known(figures: Sequence[dict[str, Any]], group: str, key: str) -> list[float]:
    return [value for one in figures if np.isfinite(value := one[group][key])]
