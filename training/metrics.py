"""Figures of merit, as plain functions over arrays: of forecasts, of flagged events, of beats.

Events are counted one by one: a spike is found or not, a run of flags that touches none is one false alarm.
Beats are counted as ANSI/AAMI EC57 does: a found beat and a reference beat match within 150 ms, one to one. A
ventricular call on a beat annotated as fusion (F) or unknown (Q) is no false positive, nor is a supraventricular
call on an unknown one (the VFP and SFP of `bxb`, the standard's reference program); a call that matches no beat
is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.core.blocks import Floats, Ints

Doubles = NDArray[np.float64]

MATCH_S = 0.15
REFRACTORY_S = 0.2

EXCUSED = {"V": "FQ", "S": "Q", "F": "Q"}
"""For each class those annotated ones on which calling it is no false positive; of F the standard says nothing."""


def forecast_figures(
    outputs: dict[str, Floats], targets: Floats, last: Floats, rate_hz: float = 0.0
) -> dict[str, float]:
    """Errors of forecasts against `targets` (n, horizon, channel), and of "stays at `last`" (n, channel).

    With `rate_hz` also the error at some horizons: the next sample, the last, and three between.
    """
    error = (outputs["forecast"] - targets).astype(np.float64) ** 2
    persistence = (last[:, None] - targets).astype(np.float64) ** 2
    inside = (targets >= outputs["lower"]) & (targets <= outputs["upper"])
    by_step = inside.mean(axis=(0, 2))
    variance = targets.var(axis=(0, 1)).mean()
    steps = sorted({round(share * (error.shape[1] - 1)) for share in (0, 0.25, 0.5, 0.75, 1)}) if rate_hz else []
    return {
        **{f"mse_over_variance_{(i + 1) / rate_hz:.3f}_s": float(error[:, i].mean() / variance) for i in steps},
        "mse": float(error.mean()),
        "mse_first_step": float(error[:, 0].mean()),
        "mse_last_step": float(error[:, -1].mean()),
        "mse_persistence": float(persistence.mean()),
        "mse_over_variance": float(error.mean() / variance),
        "coverage": float(inside.mean()),
        "coverage_lowest_step": float(by_step.min()),
        "coverage_highest_step": float(by_step.max()),
        "interval_width": float((outputs["upper"] - outputs["lower"]).mean()),
    }


def conformal_factors(outputs: dict[str, Floats], targets: Floats, coverage: float) -> Floats:
    """By how much to widen the interval, for each step and channel (horizon, channel).

    Split conformal prediction (Vovk et al. 2005; Lei et al. 2018): the score is the error in half-widths on its
    side, the factor its (n + 1) * coverage / n quantile over `targets` (n, horizon, channel).
    """
    mean = outputs["forecast"]
    above = (targets - mean) / np.maximum(outputs["upper"] - mean, 1e-9)
    below = (mean - targets) / np.maximum(mean - outputs["lower"], 1e-9)
    n = len(targets)
    share = min(np.ceil((n + 1) * coverage) / n, 1.0)
    factors: Floats = np.quantile(np.maximum(above, below), share, axis=0, method="higher").astype(np.float32)
    return factors


@dataclass(frozen=True)
class EventCount:
    """How labelled events fared."""

    events: int
    found: int
    false_alarms: int
    hours: float

    @property
    def sensitivity(self) -> float:
        """Share of the events that were found."""
        return self.found / self.events if self.events else float("nan")

    @property
    def false_alarms_per_hour(self) -> float:
        """Runs of flags that touch no event."""
        return self.false_alarms / self.hours


def count_events(
    flags: NDArray[np.bool_], ends: Ints, at: Ints, reach: int, tail: int, rate_hz: float
) -> EventCount:
    """Judge `flags` (n,) of windows that end before sample `ends` (n,) against events that begin at `at`.

    A flag speaks of the `reach` samples before its end. An event is found when a flag speaks of its first
    sample; a flag that speaks of up to `tail` samples after it is not held against the model.
    """
    near = np.searchsorted(at, ends, side="left")  # events that begin before each end
    latest = np.where(near > 0, at[np.maximum(near - 1, 0)], -(10**9)) if len(at) else np.full(len(ends), -(10**9))
    speaks = ends - latest <= reach
    excused = ends - latest <= reach + tail
    found = np.unique(latest[flags & speaks])
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False])).astype(np.int8)))
    runs = edges.reshape(-1, 2)  # (run, first and one past the last row)
    touching = np.concatenate(([0], np.cumsum(excused & flags)))
    false_alarms = int((touching[runs[:, 1]] == touching[runs[:, 0]]).sum())
    judged = int(((at >= ends[0] - reach) & (at < ends[-1])).sum()) if len(ends) else 0
    hours = (ends[-1] - ends[0]) / rate_hz / 3600 if len(ends) > 1 else 0.0
    return EventCount(judged, len(found), false_alarms, float(hours))


@dataclass(frozen=True)
class FoundBeats:
    """Beats that a model's outputs tell of."""

    at: Doubles
    """Where they stand, in samples of the model's rate."""
    probabilities: Doubles
    """(beat, class), averaged over the maximum and its two neighbours."""


def pick_beats(
    heat: Floats, probabilities: Floats, middles: Doubles, level: float, refractory: float
) -> FoundBeats:
    """Local maxima of `heat` (n,) above `level`, at least `refractory` samples apart, the earlier one winning.

    Rows are consecutive steps; `middles` (n,) says which sample each row speaks of. The place is refined by the
    parabola through the maximum and its neighbours. The reference for what the monitor does sample by sample.
    """
    heat = heat.astype(np.float64)
    peaks = 1 + np.flatnonzero((heat[1:-1] >= level) & (heat[1:-1] > heat[:-2]) & (heat[1:-1] >= heat[2:]))
    bend = heat[peaks - 1] - 2 * heat[peaks] + heat[peaks + 1]
    shift = np.where(bend < 0, 0.5 * (heat[peaks - 1] - heat[peaks + 1]) / np.minimum(bend, -1e-9), 0.0)
    step = float(middles[1] - middles[0]) if len(middles) > 1 else 1.0
    at = middles[peaks] + shift * step
    keep: list[int] = []
    for i in range(len(at)):
        if not keep or at[i] - at[keep[-1]] >= refractory:
            keep.append(i)
    peaks, at = peaks[keep], at[keep]
    averaged = (probabilities[peaks - 1] + probabilities[peaks] + probabilities[peaks + 1]) / 3
    return FoundBeats(at, averaged.astype(np.float64))


def match_beats(reference: Doubles, found: Doubles, tolerance: float) -> Ints:
    """For each beat of `reference` the index of the one of `found` that it matches, or -1; both ascending."""
    matches = np.full(len(reference), -1, np.int64)
    pairs = []
    low = 0
    for i, at in enumerate(reference):
        while low < len(found) and found[low] < at - tolerance:
            low += 1
        j = low
        while j < len(found) and found[j] <= at + tolerance:
            pairs.append((abs(found[j] - at), i, j))
            j += 1
    taken: set[int] = set()
    for _, i, j in sorted(pairs):  # the nearest pairs first
        if matches[i] < 0 and j not in taken:
            matches[i] = j
            taken.add(j)
    return matches


@dataclass(frozen=True)
class Tally:
    """True positives, misses and false positives."""

    hit: int = 0
    missed: int = 0
    false: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.hit + other.hit, self.missed + other.missed, self.false + other.false)

    @property
    def percent(self) -> dict[str, float]:
        """Sensitivity, positive predictivity and F1 in percent; NaN where there is nothing to divide by."""
        shares = {
            "se": (self.hit, self.hit + self.missed),
            "ppv": (self.hit, self.hit + self.false),
            "f1": (2 * self.hit, 2 * self.hit + self.missed + self.false),
        }
        return {name: 100 * part / whole if whole else float("nan") for name, (part, whole) in shares.items()}

    def figures(self, name: str) -> dict[str, float]:
        """Sensitivity, positive predictivity and F1."""
        found, called = self.hit + self.missed, self.hit + self.false
        f1 = 2 * self.hit / max(found + called, 1)
        return {
            f"{name}_se": self.hit / max(found, 1),
            f"{name}_ppv": self.hit / max(called, 1),
            f"{name}_f1": f1,
        }


def tally_beats(reference: Doubles, found: FoundBeats, rate_hz: float) -> Tally:
    """How well beats were found, whatever their class."""
    hit = int((match_beats(reference, found.at, MATCH_S * rate_hz) >= 0).sum())
    return Tally(hit, len(reference) - hit, len(found.at) - hit)


def tally_class(
    reference: Doubles,
    kinds: Ints,
    found: FoundBeats,
    called: NDArray[np.bool_],
    kind: int,
    excused: int,
    rate_hz: float,
) -> Tally:
    """How well beats of class `kind` were `called` (found beat,); a call on one of class `excused` is no error."""
    matches = match_beats(reference, found.at, MATCH_S * rate_hz)
    on_beat = (matches >= 0) & called[matches]
    extra = np.delete(called, matches[matches >= 0])
    return tally_calls(kinds == kind, np.isin(kinds, excused), on_beat, extra)


def tally_calls(
    events: NDArray[np.bool_], excused: NDArray[np.bool_], called: NDArray[np.bool_], extra: NDArray[np.bool_]
) -> Tally:
    """How well a class was called, of beats that are already matched.

    Of each reference beat: whether it is of the class (`events`), whether calling it so is no error
    (`excused`), and whether it was `called` so. Of each found beat that matches none: whether it was called so
    (`extra`).
    """
    hit = int((events & called).sum())
    false = int((called & ~events & ~excused).sum()) + int(extra.sum())
    return Tally(hit, int(events.sum()) - hit, false)


def ranking(scores: Doubles, events: NDArray[np.bool_]) -> dict[str, float]:
    """How well `scores` (n,) set `events` (n,) apart: AUROC and average precision, NaN with one kind only."""
    if not events.any() or events.all():
        return {"auroc": float("nan"), "auprc": float("nan")}
    from sklearn.metrics import average_precision_score, roc_auc_score

    return {
        "auroc": float(roc_auc_score(events, scores)),
        "auprc": float(average_precision_score(events, scores)),
    }
