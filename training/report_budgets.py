"""The tables and the one figure of `training budget`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training.exercises.result import Cell, Table, text_of
from training.plots import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, RED, name_axes, new_figure, style, to_svg

FACTOR = 1.5
"""How far off its budget a stream may be."""
_MARKS = "osD^vP*"
_COLOURS = (BLUE, GREEN, ORANGE, PURPLE, RED, GREY)
_MIDDLE = "#808080"
"""Ink that shows on white as on black, for a file that no page gives its colour."""


def tables_of(told: Mapping[str, Any]) -> str:
    """All figures, as text."""
    kept: list[tuple[Cell, ...]] = [
        (row["signal"], row["hours"], *(_ratio(row, per_hour) for per_hour in (0.1, 1.0, 6.0)))
        for row in told["kept"]
    ]
    found: list[tuple[Cell, ...]] = [
        (row["method"], row["false_per_hour"], row["recall"], row["delay_s"]) for row in told["found"]
    ]
    early: list[tuple[Cell, ...]] = [
        (
            row["signal"],
            row["forecaster"],
            row["crossings"],
            row["recall"],
            row["precision"],
            row["chance"],
            row["lead_s"],
            row["horizon_s"],
        )
        for row in told.get("early", ())
    ]
    tables = [
        Table(
            "Alarms raised / allowed, at 0.1, 1 and 6 an hour",
            ("signal", "hours", "0.1", "1", "6"),
            kept,
            "; ".join(f"{row['signal']}: {row['what']}" for row in told["kept"]),
        ),
        Table(
            f"Bursts of a second in the drifting signals, {told['found'][0]['bursts']} of them",
            ("method", "false alarms an hour", "found %", "median delay s"),
            found,
        ),
    ]
    if early:
        columns = (
            "signal", "forecaster", "crossings", "foreseen %", "right %", "by chance %", "lead s", "horizon s",
        )  # fmt: skip
        tables.append(Table("Limits foreseen", columns, early))
    return "\n\n".join(text_of(table) for table in tables)


def _ratio(row: Mapping[str, Any], per_hour: float) -> str | None:
    budget = next((one for one in row["budgets"] if one["per_hour"] == per_hour), None)
    if budget is None:
        return None
    return f"{budget['raised']} / {budget['allowed']:.4g} = {budget['ratio']:.2f}"


def draw(told: Mapping[str, Any]) -> str:
    """The figure as an SVG document: what came of budgets, and what was found for how many false alarms."""
    with style():
        figure, (left, right) = new_figure(1, 2, height=3.2)
        line = [0.05, 12.0]
        left.plot(line, line, color=INK, linewidth=0.8)
        left.fill_between(line, [x / FACTOR for x in line], [x * FACTOR for x in line], color=GREY, alpha=0.2)
        for row, mark, colour in zip(told["kept"], _MARKS, [*_COLOURS, _COLOURS[0]], strict=False):
            budgets = [one for one in row["budgets"] if one["allowed"] >= 1]
            x = [one["per_hour"] for one in budgets]
            y = [max(one["raised"], 0.3) / row["hours"] for one in budgets]
            left.plot(x, y, mark, color=colour, label=row["signal"].replace("_", " "), markersize=5, alpha=0.8)
        left.set_xscale("log")
        left.set_yscale("log")
        name_axes(
            left, "Alarms that came; the band is a factor of 1.5", "budget, alarms an hour", "came, alarms an hour"
        )
        left.legend(fontsize=6)
        groups = {"budget": (BLUE, "o-"), "fixed": (ORANGE, "s--"), "dynamic": (PURPLE, "D")}
        for name, (colour, shape) in groups.items():
            rows = [row for row in told["found"] if row["method"].startswith(name)]
            x = [max(row["false_per_hour"], 0.003) for row in rows]
            right.plot(
                x, [row["recall"] for row in rows], shape, color=colour, markersize=5, label=name, linewidth=1
            )
        right.set_xscale("log")
        right.set_ylim(-4, 104)
        name_axes(right, "Bursts of a second found, percent", "false alarms an hour (0 at the left edge)", "")
        svg = to_svg(figure, "budget").replace("currentColor", _MIDDLE)
    return svg.replace(
        "<svg", '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"', 1
    )
