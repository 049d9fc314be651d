"""What a report shows of a beat finder: ANSI/AAMI EC57 counts on the test part, its curves, its worst beats.

The rules are those of training.judged_beats; the labels are as training sees them, where an unknown beat (Q)
stands under the first class.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from monitor.core.blocks import Ints
from training.calibrate import run_beats
from training.config import FitConfig
from training.datasets import Data, Series
from training.metrics import (
    EXCUSED,
    MATCH_S,
    REFRACTORY_S,
    Doubles,
    FoundBeats,
    Tally,
    match_beats,
    pick_beats,
    tally_calls,
)
from training.models import RecurrentModel
from training.plots import INK, RED, counts_figure, name_axes, new_figure
from training.report_classes import curve_sections, sweep_section
from training.report_page import Section
from training.runs import Outcome

_WORST = 9
_ALIKE = 2


@dataclass(frozen=True)
class _Told:
    """One series of the test part, beat by beat."""

    series: Series
    heat: Doubles
    """(step,) probability of a beat."""
    middles: Doubles
    """(step,) the sample each speaks of."""
    at: Doubles
    """(n,) labelled beats."""
    kinds: Ints
    """(n,)"""
    found: FoundBeats
    matches: Ints
    """(n,) which found beat each is, or -1."""

    def likely(self, kind: int) -> Doubles:
        """(n,) the probability of class `kind`, 0 where the beat was missed."""
        hit = self.matches >= 0
        given = np.zeros(len(self.at))
        given[hit] = self.found.probabilities[self.matches[hit], kind]
        return given


def beat_sections(model: RecurrentModel, config: FitConfig, data: Data, outcome: Outcome) -> list[Section]:
    """The sections of a beat finder's report."""
    rate_hz, classes = data.rate_hz, config.model.classes
    told = []
    for series in data.parts["test"]:
        heat, probabilities, middles = run_beats(model, config, series)
        found = pick_beats(heat, probabilities, middles, outcome.beat_level, REFRACTORY_S * rate_hz)
        inside = (series.at > middles[1] + 1) & (series.at < middles[-2] - 1)
        at = series.at[inside].astype(np.float64)
        matches = match_beats(at, found.at, MATCH_S * rate_hz)
        told.append(_Told(series, heat.astype(np.float64), middles, at, series.kinds[inside], found, matches))
    kinds = np.concatenate([one.kinds for one in told])
    levels = np.array([outcome.thresholds.get(name, 0.0) for name in classes])
    curves = {
        name: (kinds == i, np.concatenate([one.likely(i) for one in told])) for i, name in enumerate(classes) if i
    }
    hours = sum(len(one.series.values) for one in told) / rate_hz / 3600
    grid = np.linspace(0.02, 0.98, 49)
    sweeps = {}
    for name in outcome.thresholds:
        tallies = [_tally(told, classes, classes.index(name), threshold) for threshold in grid]
        sweeps[name] = np.array([(t.percent["se"], t.percent["ppv"], t.false / hours) for t in tallies])
    return [
        _confusion(told, classes, levels),
        *curve_sections(curves),
        sweep_section(grid, sweeps, outcome.thresholds, "beats", "A false call counts as a false alarm."),
        _finding(told, rate_hz, outcome.beat_level),
        _worst(told, classes, levels, data),
    ]


def _calls(one: _Told, levels: Doubles) -> Ints:
    """The class each found beat is called: the most probable one, or the first where it falls short."""
    best = one.found.probabilities.argmax(axis=1)
    enough = one.found.probabilities[np.arange(len(best)), best] >= levels[best]
    return np.where(enough, best, 0)


def _tally(told: list[_Told], classes: tuple[str, ...], kind: int, threshold: float) -> Tally:
    total = Tally()
    excused = [classes.index(name) for name in EXCUSED.get(classes[kind], "") if name in classes]
    for one in told:
        likely = one.found.probabilities
        called = (likely.argmax(axis=1) == kind) & (likely[:, kind] >= threshold)
        hit = one.matches >= 0
        on_beat = np.zeros(len(one.at), np.bool_)
        on_beat[hit] = called[one.matches[hit]]
        extra = np.delete(called, one.matches[hit])
        total += tally_calls(one.kinds == kind, np.isin(one.kinds, excused), on_beat, extra)
    return total


def _confusion(told: list[_Told], classes: tuple[str, ...], levels: Doubles) -> Section:
    section = Section("Confusion matrix")
    nothing = len(classes)
    table = np.zeros((nothing + 1, nothing + 1), np.int64)
    rows = []
    for one in told:
        calls = _calls(one, levels)
        hit = one.matches >= 0
        mine = np.full(len(one.at), nothing)
        mine[hit] = calls[one.matches[hit]]
        np.add.at(table, (one.kinds, mine), 1)
        np.add.at(table, (np.full(len(calls) - hit.sum(), nothing), np.delete(calls, one.matches[hit])), 1)
        beats = Tally(int(hit.sum()), int((~hit).sum()), len(calls) - int(hit.sum()))
        rows.append((one.series.name, len(one.at), *beats.percent.values()))
    names = [*classes, "none"]
    section.figure(
        counts_figure(table.tolist(), names, names),
        "Beats of the test part by their label and by what they are called; the last row are found beats that "
        "nobody labelled, the last column missed ones.",
        small=True,
    )
    section.table(rows, ("patient", "beats", "Se %", "+P %", "F1 %"))
    return section


def _finding(told: list[_Told], rate_hz: float, chosen: float) -> Section:
    """How well beats are found at each level of the heat map's maxima."""
    section = Section("Finding beats")
    grid = np.linspace(0.05, 0.95, 19)
    rows = []
    for level in grid:
        total = Tally()
        for one in told:
            flat = np.zeros((len(one.heat), 1), np.float32)
            heat = one.heat.astype(np.float32)
            found = pick_beats(heat, flat, one.middles, float(level), REFRACTORY_S * rate_hz)
            hit = int((match_beats(one.at, found.at, MATCH_S * rate_hz) >= 0).sum())
            total += Tally(hit, len(one.at) - hit, len(found.at) - hit)
        rows.append(tuple(total.percent.values()))
    figure, (axes,) = new_figure()
    for column, (name, style) in enumerate((("Se %", "-"), ("+P %", "--"), ("F1 %", ":"))):
        axes.plot(grid, np.array(rows)[:, column], style, color=INK, label=name)
    axes.axvline(chosen, color=RED, linewidth=0.8, linestyle="--")
    name_axes(axes, "", "level from which a beat is taken to be there", "")
    section.figure(figure, f"All beats, whatever their class; the level {chosen:g} was chosen.")
    return section


@dataclass(frozen=True)
class _Case:
    """A mistake, and how sure of it the model was."""

    given: float
    """Probability of what would have been right."""
    told: _Told
    at: float
    what: str


def _mistakes(one: _Told, classes: tuple[str, ...], levels: Doubles) -> list[_Case]:
    """Every missed, wrongly called and invented beat of one series; V for F, and F for V, are taken as right."""
    calls = _calls(one, levels)
    likely = one.found.probabilities
    cases = []
    for at, kind, partner in zip(one.at.tolist(), one.kinds.tolist(), one.matches.tolist(), strict=True):
        name = classes[kind]
        if partner < 0:
            cases.append(_Case(0.0, one, at, f"{name} missed"))
        elif {name, called := classes[int(calls[partner])]} != {"V", "F"} and called != name:
            cases.append(_Case(float(likely[partner, kind]), one, at, f"{name} called {called}"))
    for j in np.setdiff1d(np.arange(len(calls)), one.matches).tolist():
        case = _Case(
            1 - float(likely[j].max()), one, float(one.found.at[j]), f"none called {classes[int(calls[j])]}"
        )
        cases.append(case)
    return cases


def _worst(told: list[_Told], classes: tuple[str, ...], levels: Doubles, data: Data) -> Section:
    """The mistakes that the model was surest of, few of a kind."""
    section = Section("Worst cases")
    cases: list[_Case] = []
    for case in sorted((c for one in told for c in _mistakes(one, classes, levels)), key=lambda c: c.given):
        alike = sum(other.what == case.what and other.told is case.told for other in cases)
        if alike < _ALIKE and len(cases) < _WORST:  # not nine times the same mistake
            cases.append(case)
    if not cases:
        section.text("Not one beat of the test part was missed or called wrong.")
        return section
    figure, panels = new_figure(-(-len(cases) // 3), 3, height=1.8)
    reach = 1.2 * data.rate_hz
    for axes, case in zip(panels, cases, strict=False):
        values = case.told.series.values
        low, high = max(round(case.at - reach), 0), min(round(case.at + reach), len(values))
        axes.plot((np.arange(low, high) - case.at) / data.rate_hz, values[low:high, 0], color=INK, linewidth=1.0)
        axes.axvline(0, color=RED, linewidth=0.9, linestyle="--")
        name_axes(axes, f"{case.told.series.name} at {case.at / data.rate_hz:.1f} s: {case.what}", "", "")
    for axes in panels[len(cases) :]:
        axes.set_axis_off()
    section.figure(
        figure, "Missed, wrongly called and invented beats (dashed) that the model was surest of; seconds."
    )
    return section
