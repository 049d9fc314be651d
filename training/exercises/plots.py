"""The plots of the signal exercises: matplotlib figures without pyplot, so that no state outlives a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike


def new_figure(
    rows: int = 1, columns: int = 1, width: float = 9.0, height: float = 3.6
) -> tuple[Figure, list[Axes]]:
    """An empty figure and its axes, row by row; `height` is that of one row, in inches."""
    figure = Figure(figsize=(width, height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(np.ravel(figure.subplots(rows, columns, squeeze=False)))


def curves(axes: Axes, title: str, xlabel: str, ylabel: str) -> None:
    """Name what `axes` show, and list the curves drawn so far."""
    axes.set_title(title)
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.grid(visible=True, alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="best", fontsize="small")


def loss_figure(losses: Mapping[str, Sequence[float]], title: str, *, log: bool = True) -> Figure:
    """Loss by epoch, one curve a name."""
    figure, (axes,) = new_figure()
    for name, values in losses.items():
        axes.plot(np.arange(1, len(values) + 1), values, label=name)
    if log:
        axes.set_yscale("log")
    curves(axes, title, "epoch", "loss")
    return figure


def continued_figure(past: ArrayLike, futures: Mapping[str, ArrayLike], title: str) -> Figure:
    """A signal (solid) and what each name says comes next (dashed), counted in samples from the series' end."""
    figure, (axes,) = new_figure()
    known = np.asarray(past)
    axes.plot(np.arange(-len(known), 0), known, color="black", linewidth=1, label="original")
    for name, values in futures.items():
        solid = name == "truth"
        future = np.asarray(values)
        axes.plot(
            np.arange(len(future)), future, "-" if solid else "--", color="grey" if solid else None, label=name
        )
    curves(axes, title, "samples after the end of the series", "value")
    return figure
