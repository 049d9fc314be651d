"""What a report shows of a classifier, of windows, of symbols, or of beats; all on the test part.

Curves are one class against all others: of windows those whose class is clear, of beats the labelled ones, a
missed one counting as certainly not of the class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from monitor.core.blocks import Floats, Ints
from training.calibrate import predict
from training.config import FitConfig
from training.datasets import TAIL_SAMPLES, Data, Series, cut_windows
from training.metrics import Doubles, count_events, ranking
from training.models import RecurrentModel
from training.plots import BLUE, COLOURS, GREY, INK, RED, counts_figure, name_axes, new_figure, thinned
from training.report_page import Section
from training.runs import Outcome

_WORST = 6
_MOST_CLASSES = 20

Curves = Mapping[str, tuple[NDArray[np.bool_], Doubles]]
"""By class, which cases are of it and the probability that each was given."""


def window_sections(model: RecurrentModel, config: FitConfig, data: Data, outcome: Outcome) -> list[Section]:
    """The sections of a window classifier's report."""
    hop = config.model.hop * config.model.samples_per_step
    reach = (config.model.label_steps or config.model.window) * config.model.samples_per_step
    told = []
    for series in data.parts["test"]:
        values, marks, ends = cut_windows(series, config, hop)
        if len(values):
            told.append(_Run(series, values, marks[:, -1], ends, predict(model, values)["probabilities"]))
    truth = np.concatenate([run.truth for run in told])
    probabilities = np.concatenate([run.probabilities for run in told])
    clear = truth >= 0
    classes = config.model.classes
    curves = {
        name: (truth[clear] == i, probabilities[clear, i].astype(np.float64))
        for i, name in enumerate(classes)
        if i
    }
    grid = 1 / (1 + np.exp(-np.linspace(-6, 12, 73)))
    sweeps = {}
    for i, name in enumerate(classes[1:], start=1):
        rows = []
        for threshold in grid:
            counts = [
                count_events(
                    run.probabilities[:, i] >= threshold, run.ends, run.series.at[run.series.kinds == i], reach,
                    TAIL_SAMPLES, data.rate_hz,
                )
                for run in told
            ]  # fmt: skip
            found, false = sum(c.found for c in counts), sum(c.false_alarms for c in counts)
            events, hours = sum(c.events for c in counts), sum(c.hours for c in counts)
            predictivity = 100 * found / max(found + false, 1)
            rows.append((100 * found / max(events, 1), predictivity, false / max(hours, 1e-9)))
        sweeps[name] = np.array(rows)
    section = Section("Confusion matrix")
    called = _called(probabilities, classes, outcome.thresholds)
    section.figure(
        counts_figure(_counts(truth[clear], called[clear], len(classes)), classes, classes),
        "Windows of the test part by what they are and what they are called at the chosen threshold; those in "
        "which an event may or may not be over are left out.",
        small=True,
    )
    return [
        section,
        *curve_sections(curves),
        sweep_section(grid, sweeps, outcome.thresholds, "events"),
        _worst_windows(told, classes, data),
    ]


@dataclass(frozen=True)
class _Run:
    """One series of the test part, window by window."""

    series: Series
    values: Floats
    truth: Ints
    ends: Ints
    probabilities: Floats


def _called(probabilities: Floats, classes: Sequence[str], thresholds: Mapping[str, float]) -> Ints:
    """The most probable of the classes that reach their threshold, else the first class."""
    level = np.array([thresholds.get(name, 0.0) for name in classes])
    reaching = np.where(probabilities >= level, probabilities, -1.0)
    if thresholds:
        reaching[:, 0] = 0.0  # the quiet class is what remains
    called: Ints = reaching.argmax(axis=1)
    return called


def _counts(truth: Ints, called: Ints, classes: int) -> list[list[int]]:
    table = np.zeros((classes, classes), np.int64)
    np.add.at(table, (truth, called), 1)
    rows: list[list[int]] = table.tolist()
    return rows


def _worst_windows(told: Sequence[_Run], classes: Sequence[str], data: Data) -> Section:
    """The windows whose true class was given the least, one of each moment."""
    section = Section("Worst cases")
    cases: list[tuple[float, _Run, int]] = []
    for run in told:
        clear = np.flatnonzero(run.truth >= 0)
        of_truth = run.probabilities[clear, run.truth[clear]]
        for row in clear[np.argsort(of_truth)][: 20 * _WORST].tolist():
            others = np.array([run.ends[other] for _, one, other in cases if one is run])
            if (np.abs(others - run.ends[row]) >= run.values.shape[1]).all():
                cases.append((float(run.probabilities[row, run.truth[row]]), run, row))
    cases = sorted(cases, key=lambda case: case[0])[:_WORST]
    figure, panels = new_figure(-(-len(cases) // 3), 3, height=2.0)
    for axes, (given, run, row) in zip(panels, cases, strict=False):
        window = run.values[row, :, 0]
        axes.plot(np.arange(1 - len(window), 1) / data.rate_hz, window, color=INK, linewidth=1.1)
        called = classes[int(run.probabilities[row].argmax())]
        name_axes(axes, f"{classes[run.truth[row]]}, called {called} ({given:.3f})", "seconds", data.unit)
    for axes in panels[len(cases) :]:
        axes.set_axis_off()
    section.figure(figure, "The windows whose true class was given the lowest probability (in brackets).")
    return section


def symbol_sections(model: RecurrentModel, config: FitConfig, data: Data) -> list[Section]:
    """The sections of a model that foresees the next symbol."""
    cut = [cut_windows(series, config, config.model.hop) for series in data.parts["test"]]
    windows = np.concatenate([values for values, _, _ in cut])
    came = np.concatenate([marks[:, -1] for _, marks, _ in cut])
    windows, came = windows[came >= 0], came[came >= 0]
    probabilities = predict(model, windows)["probabilities"]
    shown = np.argsort(-np.bincount(came, minlength=len(data.classes)))[:_MOST_CLASSES]
    place = np.full(len(data.classes), -1)
    place[shown] = np.arange(len(shown))
    called = probabilities.argmax(axis=1)
    inside = (place[came] >= 0) & (place[called] >= 0)
    names = [_symbol(data.classes[i]) for i in shown.tolist()]
    confusion = Section("Confusion matrix")
    confusion.figure(
        counts_figure(_counts(place[came[inside]], place[called[inside]], len(shown)), names, names),
        f"The symbol that came (row) and the most probable one; the {len(shown)} most frequent of "
        f"{len(data.classes)} symbols.",
    )
    every = np.zeros_like(probabilities, dtype=bool)
    every[np.arange(len(came)), came] = True
    curves = {"any symbol": (every.ravel(), probabilities.ravel().astype(np.float64))}
    top = probabilities.max(axis=1).astype(np.float64)
    grid = np.linspace(0.0, 0.99, 100)
    right = called == came
    answered = np.array([(top >= level).mean() for level in grid])
    correct = np.array([right[top >= level].mean() if (top >= level).any() else np.nan for level in grid])
    figure, (axes,) = new_figure()
    axes.plot(grid, 100 * answered, color=GREY, label="answered, %")
    axes.plot(grid, 100 * correct, color=BLUE, label="right of those, %")
    name_axes(axes, "", "threshold on the probability", "")
    sweep = Section("Threshold sweep")
    sweep.figure(figure, "What remains, and how much of it is right, if only the surer answers count.")
    surprise = -np.log(np.maximum(probabilities[np.arange(len(came)), came], 1e-12))
    worst = Section("Worst cases")
    worst.text("The symbols that surprised the model most, after the last ones it had seen.")
    worst.table(
        [
            (
                " ".join(_symbol(data.classes[int(s)]) for s in windows[row, -20:, 0]),
                _symbol(data.classes[int(called[row])]),
                _symbol(data.classes[int(came[row])]),
                float(surprise[row]),
            )
            for row in np.argsort(-surprise)[: 2 * _WORST].tolist()
        ],
        ("before", "foreseen", "came", "surprise, nats"),
    )
    return [confusion, *curve_sections(curves), sweep, worst]


def _symbol(symbol: str) -> str:
    """How a symbol is shown: a blank as an open box, what cannot be seen by its escape."""
    return "\u2423" if symbol == " " else repr(symbol)[1:-1]


def curve_sections(curves: Curves) -> list[Section]:
    """Precision-recall, ROC and reliability of each class, where it has cases of both kinds."""
    known = {name: pair for name, pair in curves.items() if pair[0].any() and not pair[0].all()}
    sections = [Section("Precision and recall"), Section("ROC"), Section("Calibration")]
    if not known:
        for section in sections:
            section.text("The test part holds cases of one kind only: there is nothing to set apart.")
        return sections
    from sklearn.metrics import precision_recall_curve, roc_curve

    figures = [new_figure(height=3.2, width=5.0) for _ in range(2)]
    precision_axes, roc_axes = (axes for _, (axes,) in figures)
    told = {}
    for (name, (truth, score)), colour in zip(known.items(), COLOURS, strict=False):
        told[name] = ranking(score, truth)
        precision, recall, _ = precision_recall_curve(truth, score)
        precision_axes.plot(*thinned(recall, precision), color=colour, label=name)
        precision_axes.axhline(truth.mean(), color=colour, linewidth=0.8, linestyle=":")
        roc_axes.plot(*thinned(*roc_curve(truth, score)[:2]), color=colour, label=name)
    roc_axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
    name_axes(precision_axes, "", "recall (sensitivity)", "precision")
    name_axes(roc_axes, "", "false positive rate", "true positive rate")
    for axes in (precision_axes, roc_axes):
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
    listed = {key: ", ".join(f"{name} {one[key]:.4f}" for name, one in told.items()) for key in ("auprc", "auroc")}
    sections[0].figure(figures[0][0], f"Area {listed['auprc']}; dotted: without any skill.", small=True)
    sections[1].figure(figures[1][0], f"Area {listed['auroc']}.", small=True)
    sections[2].figure(
        _reliability(known),
        "Of the cases that were given a probability, how many were of the class; a calibrated model lies on the "
        "dotted line. Right: how often each probability was given.",
    )
    return sections


def _reliability(known: Curves) -> Figure:
    figure, (left, right) = new_figure(1, 2, height=3.0)
    edges = np.linspace(0, 1, 11)
    left.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
    for (name, (truth, score)), colour in zip(known.items(), COLOURS, strict=False):
        bins = np.clip(np.digitize(score, edges) - 1, 0, 9)
        count = np.bincount(bins, minlength=10)
        some = count > 0
        given = np.bincount(bins, score, 10)[some] / count[some]
        held = np.bincount(bins, truth, 10)[some] / count[some]
        left.plot(given, held, "o-", markersize=4, color=colour, label=name)
        right.plot((edges[:-1] + 0.05)[some], count[some], "o-", markersize=4, color=colour)
    right.set_yscale("log")
    name_axes(left, "", "probability given", "share that was")
    right.set_xlim(left.get_xlim())
    name_axes(right, "", "probability given", "cases")
    return figure


def sweep_section(
    grid: Doubles, sweeps: Mapping[str, Doubles], chosen: Mapping[str, float], what: str, note: str = ""
) -> Section:
    """Sensitivity, positive predictivity (percent) and false alarms an hour (columns) by threshold (rows)."""
    section = Section("Threshold sweep")
    for name, rows in sweeps.items():
        figure, (left, right) = new_figure(1, 2)
        left.plot(grid, rows[:, 0], color=BLUE, label="sensitivity, %")
        left.plot(grid, rows[:, 1], color=COLOURS[2], label="positive predictivity, %")
        right.plot(grid, rows[:, 2], color=RED)
        right.set_yscale("symlog", linthresh=1.0)
        right.set_ylim(0, 2 * max(float(np.nanmax(rows[:, 2])), 1.0))
        for axes in (left, right):
            if name in chosen:
                axes.axvline(chosen[name], color=INK, linewidth=0.8, linestyle="--")
            axes.set_xlabel("threshold")
        name_axes(left, f"{what}: {name}", "threshold", "")
        name_axes(right, "false alarms an hour", "threshold", "")
        at = f"the threshold {chosen[name]:g} (dashed)" if name in chosen else "no threshold was chosen"
        section.figure(figure, f"What each threshold would give on the test part; {at}. {note}".strip())
    return section
