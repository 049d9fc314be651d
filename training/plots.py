"""Plots for a page that is read by day and by night: matplotlib figures as inline SVG without a background.

Whatever is ink (text, axes, the truth) is drawn in one colour of its own, which becomes the page's text colour;
all other colours are middle tones that stand on white as on black. No pyplot: no state outlives a figure.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

INK = "#010203"
"""Becomes the colour of the page's text."""
BLUE, ORANGE, GREEN, PURPLE, RED, GREY = "#3b82d6", "#d9822b", "#3a9d5d", "#8e6bbf", "#d1495b", "#8c8c8c"
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, RED, GREY)

_CELLS = 250
_STYLE: dict[Any, Any] = {
    "font.size": 9.0,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlesize": 10.0,
    "axes.titlecolor": INK,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": INK,
    "grid.alpha": 0.12,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "lines.linewidth": 1.5,
    "figure.facecolor": "none",
    "svg.fonttype": "none",
}


@contextmanager
def style() -> Iterator[None]:
    """The look of all figures that are made and drawn inside."""
    with mpl.rc_context(_STYLE):
        yield


def new_figure(
    rows: int = 1, columns: int = 1, height: float = 2.6, width: float = 8.6
) -> tuple[Figure, list[Axes]]:
    """An empty figure and its axes, row by row; `height` is that of one row, in inches."""
    figure = Figure(figsize=(width, height * rows), layout="constrained")
    return figure, list(np.ravel(figure.subplots(rows, columns, squeeze=False)))


def name_axes(axes: Axes, title: str, x: str, y: str) -> None:
    """Say what `axes` show, and list the named curves drawn so far."""
    axes.set_title(title, loc="left")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="best")


def to_svg(figure: Figure, name: str) -> str:
    """The figure as an SVG element; `name` keeps its references apart from those of other figures of a page."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' (xmlns(:\w+)?|version|width|height)="[^"]*"', "", text, count=5)  # HTML knows what an SVG is
    text = re.sub(r"('[\w ]+', ?)+sans-serif", "sans-serif", text)
    text = re.sub(r"<path[^>]*>", _rounded, text)
    return text.replace(INK, "currentColor").strip()


def _rounded(element: re.Match[str]) -> str:
    """A hundredth of a point is finer than any screen."""
    return re.sub(r"(\d+\.\d\d)\d+", r"\1", element[0])


def thinned(x: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The points of a curve in the unit square that a plot can tell apart."""
    points = np.stack([np.asarray(x, np.float64), np.asarray(y, np.float64)], axis=1)
    cells = np.round(points * _CELLS)
    keep = np.ones(len(points), np.bool_)
    keep[1:-1] = (cells[1:-1] != cells[:-2]).any(axis=1) | (cells[1:-1] != cells[2:]).any(axis=1)
    return points[keep, 0], points[keep, 1]


def counts_figure(counts: Sequence[Sequence[int]], rows: Sequence[str], columns: Sequence[str]) -> Figure:
    """A confusion matrix: counts, shaded by their share of the row."""
    table = np.asarray(counts, np.float64)
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    height = max(1.4, 0.34 * len(rows) + 0.7)
    figure, (axes,) = new_figure(height=height, width=max(3.0, min(0.75 * len(columns) + 1.4, 8.6)))
    axes.grid(visible=False)
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            shade = 0.7 * shares[i, j]
            axes.fill_between([j - 0.5, j + 0.5], i - 0.5, i + 0.5, color=BLUE, alpha=shade, linewidth=0)
            if table[i, j] or row == column:
                axes.text(j, i, f"{int(table[i, j])}", ha="center", va="center", fontsize=8)
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xlim(-0.5, len(columns) - 0.5)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel("called")
    axes.set_ylabel("labelled")
    return figure
