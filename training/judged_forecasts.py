"""Forecasts that the engine was given against what came: error by horizon, baselines, intervals, residuals.

What came is the signal as the model saw it, conditioned, at the model's rate. The baselines that must be fitted
(the mean, an autoregression of order 20) are fitted on the first fifth of each recording, five minutes at most;
every figure, the model's too, is taken on the forecasts made after that. Baselines know the same past as the
model, and the season is the period that the last seconds show (for a heart: the last beat).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.core.blocks import NS, Ints
from monitor.core.card import Card
from monitor.core.errors import ConfigError
from monitor.recordings import AAMI
from training.baselines import fit_autoregression
from training.controls import beat_energy, periods, prematurity, relative_to_usual, without_gaps
from training.judged import Judged
from training.judged_events import EventEvidence, event_evidence, event_figures, pool_events
from training.metrics import Doubles, ranking

ORDER = 20
BASELINES = ("persistence", "mean", "seasonal", f"ar{ORDER}")
_FIT_SHARE, _FIT_MOST_S, _FIT_ENOUGH = 0.2, 300.0, 1000
_AHEAD_S = 0.25


@dataclass(frozen=True)
class BeatResiduals:
    """By annotated beat, scores that might tell ventricular ones."""

    truth: NDArray[np.bool_]
    scores: dict[str, Doubles]


@dataclass(frozen=True)
class ForecastEvidence:
    """Sums over the forecasts of one recording, by step of the horizon."""

    hours: float
    fitted_s: float
    count: int
    """Forecasts judged, times channels."""
    squares: dict[str, Doubles]
    """(horizon,) sums of squared errors: of `model` and of each baseline."""
    variance: Doubles
    """(horizon,) sums of squared distances of what came from its own mean over the recording."""
    inside: Doubles
    """(horizon,) values within the interval."""
    width: Doubles
    """(horizon,) sums of the interval's width."""
    beats: BeatResiduals | None
    """Where beats are annotated."""
    events: EventEvidence | None
    """Where other events are labelled."""


def forecast_evidence(judged: Judged, card: Card) -> ForecastEvidence:
    """Judge the forecasts of one recording; ConfigError where it is too short to fit baselines and judge any."""
    horizon = card.horizon
    lengths = {segment: len(values) for segment, values in judged.series.items()}
    fit_on = max(lengths, key=lambda segment: lengths[segment])
    most = max(round(_FIT_MOST_S * card.rate_hz), _FIT_ENOUGH)  # of a slow series five minutes are nothing
    fitted = min(int(_FIT_SHARE * lengths[fit_on]), most)
    if fitted < 2 * ORDER + 2:
        raise _too_short(judged, card)
    told = {name: np.zeros(horizon) for name in ("model", *BASELINES)}
    variance, inside, width = np.zeros(horizon), np.zeros(horizon), np.zeros(horizon)
    count = 0
    for segment, values in judged.series.items():
        ends = judged.ends
        rows = (judged.segments == segment) & (ends + horizon <= len(values))
        rows &= (ends > fitted) if segment == fit_on else (judged.segments > fit_on)
        if not rows.any():
            continue
        ahead = judged.ends[rows, None] + np.arange(horizon)  # (row, horizon)
        for channel in range(values.shape[1]):
            series = values[:, channel].astype(np.float64)
            came = series[ahead]
            learned = judged.series[fit_on][:fitted, channel].astype(np.float64)
            guesses = _baselines(series, judged.ends[rows], horizon, learned, card)
            guesses["model"] = judged.outputs["forecast"][rows, :, channel].astype(np.float64)
            for name, guess in guesses.items():
                told[name] += np.square(guess - came).sum(axis=0)
            low, high = (judged.outputs[name][rows, :, channel] for name in ("lower", "upper"))
            inside += ((came >= low) & (came <= high)).sum(axis=0)
            width += (high - low).sum(axis=0)
            variance += np.square(came - came.mean()).sum(axis=0)
            count += len(came)
    if not count:
        raise _too_short(judged, card)
    symbols = set(judged.recording.label_symbols)
    of_beats = bool(symbols) and symbols <= set(AAMI)
    at = judged.recording.label_samples
    others = event_evidence(judged, card, 0, at, card.hop_samples) if symbols and not of_beats else None
    beats = _beat_residuals(judged, card) if of_beats else None
    hours = judged.seconds / 3600
    return ForecastEvidence(
        hours, fitted / card.rate_hz, count, told, variance, inside, width, beats, others
    )  # fmt: skip


def _too_short(judged: Judged, card: Card) -> ConfigError:
    needed_s = max(5 * (2 * ORDER + 2), 2 * (card.window_samples + card.horizon)) / card.rate_hz
    return ConfigError(
        f"{judged.recording.name}: expected at least {needed_s:.3g} s without a gap, to fit the baselines and "
        f"judge forecasts, got {judged.seconds:.3g} s"
    )


def _baselines(series: Doubles, ends: Ints, horizon: int, learned: Doubles, card: Card) -> dict[str, Doubles]:
    """What each baseline says comes after `ends` (row,) of `series` (time,): (row, horizon) each."""
    steps = np.arange(horizon)
    longest = min(max(card.window_samples, 2 * horizon), len(series) // 4)
    shortest = max(card.window_samples // 6, 4)
    if shortest < longest:
        period = np.minimum(periods(series, ends, shortest, longest), ends)
    else:
        period = np.minimum(np.full(len(ends), horizon), ends)
    histories = series[ends[:, None] - np.arange(ORDER, 0, -1)]  # (row, order), oldest first
    return {
        "persistence": np.repeat(series[ends - 1][:, None], horizon, axis=1),
        "mean": np.full((len(ends), horizon), learned.mean()),
        "seasonal": series[(ends - period)[:, None] + steps % period[:, None]],
        f"ar{ORDER}": fit_autoregression(learned, ORDER).forecast(histories, horizon),
    }


def _beat_residuals(judged: Judged, card: Card) -> BeatResiduals:
    """For each annotated beat, 0.1 s before to 0.4 s after it: the monitor's score, the residual, the controls."""
    recording = judged.recording
    classes = np.array([AAMI[symbol] for symbol in recording.label_symbols], "<U8")
    at_s = recording.label_samples / recording.rate_hz
    residual, when = _residuals(judged, card)
    monitor = np.nan_to_num(judged.scores[:, 0])
    energy = np.concatenate(([0.0], np.cumsum(residual**2)))
    low, high = (np.searchsorted(when, at_s + off) for off in (-0.1, 0.4))
    first, last = (np.searchsorted(judged.t_ns / NS, at_s + off) for off in (-0.1, 0.4))
    lead = recording.channels.index(judged.lead.partition("+")[0])
    values = without_gaps(recording.values[:, lead])
    ahead = energy[high] - energy[low]
    scores = {
        "monitor_score": np.array(
            [monitor[a:b].max(initial=0.0) for a, b in zip(first.tolist(), last.tolist(), strict=True)]
        ),
        "residual_250ms": ahead,
        "residual_250ms_relative": relative_to_usual(ahead),
        "energy": beat_energy(values, recording.rate_hz, at_s),
        "prematurity": prematurity(at_s),
    }
    asked = ~np.isin(classes, ["F", "Q"]) & (high > low) & (last > first)
    return BeatResiduals(
        (classes == "V")[asked], {name: np.asarray(values)[asked] for name, values in scores.items()}
    )


def _residuals(judged: Judged, card: Card) -> tuple[Doubles, Doubles]:
    """Each sample less the forecast of it made a quarter of a second before, and its time (seconds); ascending."""
    hop = card.hop_samples
    skip = max(min(round(_AHEAD_S * card.rate_hz), card.horizon - hop), 0)
    steps = np.arange(skip, min(skip + hop, card.horizon))
    found, when = [np.zeros(0)], [np.zeros(0)]
    for segment, values in judged.series.items():
        rows = (judged.segments == segment) & (judged.ends + steps[-1] < len(values))
        at = judged.ends[rows, None] + steps  # (row, step)
        error = np.abs(values[at] - judged.outputs["forecast"][rows][:, steps]).mean(axis=2)
        time_s = judged.t_ns[rows, None] / NS + (1 + steps) / card.rate_hz
        found.append(error.ravel())
        when.append(time_s.ravel())
    return np.concatenate(found), np.concatenate(when)


def pool_forecasts(parts: Sequence[ForecastEvidence]) -> ForecastEvidence:
    """All forecasts of several recordings."""
    beats = [part.beats for part in parts if part.beats is not None]
    events = [part.events for part in parts if part.events is not None]
    joined = None
    if beats:
        scores = {name: np.concatenate([part.scores[name] for part in beats]) for name in beats[0].scores}
        joined = BeatResiduals(np.concatenate([part.truth for part in beats]), scores)
    return ForecastEvidence(
        hours=sum(part.hours for part in parts),
        fitted_s=sum(part.fitted_s for part in parts),
        count=sum(part.count for part in parts),
        squares={name: np.sum([part.squares[name] for part in parts], axis=0) for name in parts[0].squares},
        variance=np.sum([part.variance for part in parts], axis=0),
        inside=np.sum([part.inside for part in parts], axis=0),
        width=np.sum([part.width for part in parts], axis=0),
        beats=joined,
        events=pool_events(events) if events else None,
    )


def forecast_figures(found: ForecastEvidence, card: Card) -> dict[str, Any]:
    """Figures by step of the horizon, and over it. Skill is 1 - error over that of persistence."""
    mse = {name: sums / found.count for name, sums in found.squares.items()}
    over_variance = {name: sums / found.variance for name, sums in found.squares.items()}
    told: dict[str, Any] = {
        "forecasts": found.count,
        "fitted_s": found.fitted_s,
        "mse": float(mse["model"].mean()),
        "mse_over_variance": float(found.squares["model"].sum() / found.variance.sum()),
        "skill": float(1 - found.squares["model"].sum() / found.squares["persistence"].sum()),
        "coverage": float(100 * found.inside.sum() / found.count / card.horizon),
        "coverage_promised": 100 * card.coverage,
        "interval_width": float(found.width.sum() / found.count / card.horizon),
        "baselines": {
            name: {
                "mse": float(mse[name].mean()),
                "mse_over_variance": float(found.squares[name].sum() / found.variance.sum()),
            }
            for name in BASELINES
        },
        "by_horizon": {
            "seconds": [(i + 1) / card.rate_hz for i in range(card.horizon)],
            "mse": mse["model"].tolist(),
            "mse_over_variance": {name: values.tolist() for name, values in over_variance.items()},
            "skill": (1 - found.squares["model"] / found.squares["persistence"]).tolist(),
            "coverage": (100 * found.inside / found.count).tolist(),
            "interval_width": (found.width / found.count).tolist(),
        },
    }
    if found.beats is not None:
        told["ventricular_beats"] = {
            "beats": len(found.beats.truth),
            "ventricular": int(found.beats.truth.sum()),
            **{name: ranking(scores, found.beats.truth) for name, scores in found.beats.scores.items()},
        }
    if found.events is not None:
        told["events"] = event_figures(found.events)
    return told
