"""What an alarm was raised by, as a small plot: the window, what had been forecast of it, and what was to come.

It reads without colour: dots are the signal, the shaded band is the forecast's interval, and right of the line,
where nothing has come yet, the dots are the forecast itself.
"""

from __future__ import annotations

import math

import numpy as np

from monitor.core.blocks import NS, Floats
from monitor.core.evidence import Evidence, Foreseen, array_of
from monitor.dashboard.palette import Ink
from monitor.dashboard.raster import Cells, Glyphs, Reals, dot_rows, dots, envelope, fill
from monitor.dashboard.scale import number_text, seconds_text
from monitor.dashboard.stream import MAX_RATE_HZ, MIN_RATE_HZ

MARGIN = 9
"""Columns on the left, for the values at the top and the bottom."""
LEAST_ROWS = 4
"""Of a lane: title, two of curve, times."""


class Curve:
    """One channel around the end of a window: what came, and an interval."""

    def __init__(self, rate_hz: float, came: Floats, end_s: float = 0.0) -> None:
        """`end_s` is when the last sample came, 0 being when the alarm was raised."""
        self.rate_hz = min(max(rate_hz, MIN_RATE_HZ), MAX_RATE_HZ)
        self.came, self.end_s = _reals(came), end_s
        self.mean = self.lower = self.upper = np.full(len(came), np.nan)

    def foretold(self, mean: Floats, lower: Floats, upper: Floats) -> Curve:
        """With a forecast, which goes on after what came."""
        self.mean, self.lower, self.upper = (_reals(part) for part in (mean, lower, upper))
        return self

    @property
    def seconds(self) -> Reals:
        """Time of each step since the alarm was raised."""
        return self.end_s + (np.arange(len(self.mean)) - len(self.came) + 1) / self.rate_hz


def _reals(values: Floats) -> Reals:
    with np.errstate(invalid="ignore"):  # NaN has many forms, and numpy warns of some
        return values.astype(np.float64)


def error_of(seen: Foreseen) -> tuple[float, float]:
    """By how much the forecast was off at most, and what share of what came lay in its interval; NaN for none."""
    came, mean, lower, upper = _arrays(seen)
    known = np.isfinite(mean[: len(came)])
    if not known.any():
        return math.nan, math.nan
    with np.errstate(invalid="ignore", over="ignore"):
        off = np.abs(came - mean[: len(came)])[known]
    inside = ((came >= lower[: len(came)]) & (came <= upper[: len(came)]))[known]
    return float(off.max()), float(inside.mean())


def draw_evidence(evidence: Evidence, rows: int, columns: int, glyphs: Glyphs) -> Cells:
    """All of it in `rows` x `columns`."""
    cells = Cells.blank(rows, columns, Ink.PANEL)
    seen = evidence.foreseen
    lanes = []
    if seen is not None and len(seen.came):
        title = f"what came, and the interval that {seen.model} had forecast"
        lanes.append((_foretold(seen, (seen.end_ns - evidence.end_ns) / NS), title, seen.unit))
    if seen is None or not seen.came or seen.model != evidence.model:
        window = array_of(evidence.window, evidence.channels)
        title = f"the window as {evidence.model} saw it" if evidence.model else "the signal"
        lanes.append((Curve(evidence.rate_hz, window[:, 0]), title, evidence.unit))
    while lanes and rows // len(lanes) < LEAST_ROWS:
        lanes.pop()
    for i, (curve, title, unit) in enumerate(lanes):
        first, last = rows * i // len(lanes), rows * (i + 1) // len(lanes)
        _draw(cells, first, last, curve, f"{title}, {unit}" if unit else title, glyphs)
    return cells


def _arrays(seen: Foreseen) -> tuple[Floats, Floats, Floats, Floats]:
    came, mean, lower, upper = (
        array_of(raw, seen.channels) for raw in (seen.came, seen.mean, seen.lower, seen.upper)
    )
    return came, mean, lower, upper


def _foretold(seen: Foreseen, end_s: float) -> Curve:
    """The channel that was furthest from its forecast."""
    came, mean, lower, upper = _arrays(seen)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        off = np.abs(came - mean[: len(came)]) / np.maximum(upper - lower, 1e-9)[: len(came)]
    which = int(np.nan_to_num(off).max(axis=0, initial=0.0).argmax())
    curve = Curve(seen.rate_hz, came[:, which], end_s)
    return curve.foretold(mean[:, which], lower[:, which], upper[:, which])


def _draw(cells: Cells, first: int, last: int, curve: Curve, title: str, glyphs: Glyphs) -> None:
    """One lane: a title, the curve, and the times below it."""
    rows, columns = last - first - 2, cells.glyph.shape[1] - MARGIN
    cells.write(first, MARGIN, title, Ink.DIM)
    known = np.concatenate(
        [part[np.isfinite(part)] for part in (curve.came, curve.mean, curve.lower, curve.upper)]
    )
    if columns < 8 or not len(known):
        return
    low, high = float(known.min()), float(known.max())
    pad = (high - low) * 0.04 or abs(high) * 0.1 or 1.0
    bottom, top = low - pad, high + pad
    begin, end = float(curve.seconds[0]), float(curve.seconds[-1])
    span = max(end - begin, 1 / curve.rate_hz)
    share = (curve.seconds - begin) / span  # 0 to 1 across the lane
    lane = Cells.blank(rows, columns, Ink.PANEL)

    def at(values: Reals) -> Reals:
        return (top - values) * (rows / (top - bottom))

    def drawn(values: Reals, shares: Reals) -> np.ndarray:
        wide = columns * glyphs.wide
        lowest, highest = envelope(shares * (wide - 1e-6), values, wide)
        high_row = dot_rows(highest, top, bottom, rows * glyphs.high)
        low_row = dot_rows(lowest, top, bottom, rows * glyphs.high)
        return dots(high_row, low_row, rows, columns, glyphs)

    came = drawn(curve.came, share[: len(curve.came)])
    ahead = drawn(np.where(curve.seconds >= curve.end_s - 1e-9, curve.mean, np.nan), share)
    position = share * (columns - 1e-6)
    upper, lower = envelope(position, curve.upper, columns)[1], envelope(position, curve.lower, columns)[0]
    covered = (came > 0) | (ahead > 0)
    fill(lane, at(upper), at(lower), Ink.GHOST, covered=covered, texture="░" if glyphs.has_blocks else ":")
    lane.ground[:] = Ink.PANEL

    def column(seconds: float) -> int:
        return int(np.clip((seconds - begin) / span * (columns - 1e-6), 0, columns - 1))

    if end > curve.end_s:
        now = column(curve.end_s)
        blank = ~covered[:, now]
        lane.glyph[blank, now], lane.ink[blank, now] = ord("│" if glyphs.has_blocks else "|"), Ink.FAINT
    lane.put(ahead, glyphs, Ink.FORECAST)
    lane.put(came, glyphs, Ink.TRACE)
    place = np.s_[first + 1 : last - 1, MARGIN:]
    cells.glyph[place], cells.ink[place], cells.ground[place] = lane.glyph, lane.ink, lane.ground
    cells.write(first + 1, 0, number_text(high).rjust(MARGIN - 1), Ink.DIM)
    cells.write(last - 2, 0, number_text(low).rjust(MARGIN - 1), Ink.DIM)
    cells.write(last - 1, MARGIN, seconds_text(begin), Ink.DIM)
    text = f"+{seconds_text(end)}" if end > 0 else ""
    cells.write(last - 1, cells.glyph.shape[1] - len(text), text, Ink.DIM)
    if begin <= 0 <= end:
        cells.write(last - 1, MARGIN + column(0.0), "0", Ink.DIM)


def window_text(evidence: Evidence, clock: str) -> str:
    """The window in words; `clock` is the time of its end."""
    steps = len(evidence.window) // 4 // max(evidence.channels, 1)
    length = seconds_text(steps / evidence.rate_hz)
    return f"{steps} samples at {number_text(evidence.rate_hz)} Hz, {length} up to {clock}"


def forecast_text(seen: Foreseen | None) -> str:
    """What was forecast against what came, in words."""
    if seen is None:
        return "none: no model forecasts this stream, or not long enough"
    off, inside = error_of(seen)
    if math.isnan(off):
        return f"{seen.model} had none of what came: it had just begun"
    length = seconds_text(len(seen.came) / 4 / seen.channels / seen.rate_hz)
    unit = f" {seen.unit}" if seen.unit else ""
    return (
        f"{seen.model} was off by {number_text(off)}{unit} at most in {length}; {inside:.0%} lay in its interval"
    )
