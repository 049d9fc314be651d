"""What leapfrog costs: the figures of both ways to run a model, side by side.

A figure's difference is leapfrog less window. Whether that is good or bad depends on the figure: an error should
not grow, a share of what was found should not shrink.
"""

from __future__ import annotations

import math
from typing import Any

from training.exercises.result import Cell, Table

Figures = dict[str, Any]

_SHOWN = {
    "beats": ("beats.se", "beats.ppv", "beats.f1", "V.se", "V.ppv", "V.f1", "V.false_per_hour", "S.f1",
              "delay_s.median", "heart_rate_bpm.mean_absolute_error"),
    "forecast": ("forecast.mse", "forecast.mse_over_variance", "forecast.skill", "forecast.coverage",
                 "forecast.interval_width", "forecast.events.se", "forecast.events.ppv"),
    "classify": ("se", "ppv", "f1", "false_per_hour", "delay_s.median", "auroc", "auprc"),
}  # fmt: skip


def differences(window: Figures, leapfrog: Figures) -> Figures:
    """Leapfrog less window for every single number that both have, under the same keys."""
    found: Figures = {}
    for key, value in window.items():
        other = leapfrog.get(key)
        if isinstance(value, dict) and isinstance(other, dict):
            if inner := differences(value, other):
                found[key] = inner
        elif isinstance(value, int | float) and isinstance(other, int | float):
            found[key] = other - value
    return found


def at(figures: Figures, path: str) -> float | None:
    """The number under `a.b.c`, None where there is none."""
    found: Any = figures
    for key in path.split("."):
        if not isinstance(found, dict) or key not in found:
            return None
        found = found[key]
    return float(found) if isinstance(found, int | float) else None


def both_ways_table(told: Figures) -> Table:
    """The figures that matter most, both ways."""
    total, other = told["total"], told["leapfrog"]["total"]
    paths = list(_SHOWN[told["task"]])
    if told["task"] == "classify":
        paths = [f"{label}.{path}" for label in total if isinstance(total[label], dict) for path in paths]
    rows: list[tuple[Cell, ...]] = []
    for path in paths:
        before, after = at(total, path), at(other, path)
        if before is None or after is None or math.isnan(before) or math.isnan(after):
            continue
        rows.append((path, f"{before:.4g}", f"{after:.4g}", f"{after - before:+.2g}"))
    states, least = told["leapfrog"]["states"], told["leapfrog"]["least_steps"]
    note = f"Leapfrog: {states} carried states a stream, an answer rests on {least} steps or more. All records."
    return Table("Both ways to run the model", ("figure", "window", "leapfrog", "difference"), rows, note)
