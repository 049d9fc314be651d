"""The picture of one lane: trace, forecast with its fan, bands, grid and labels, as cells."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.core.blocks import NS, Floats, Forecast
from monitor.dashboard.graticule import graticule
from monitor.dashboard.palette import Ink
from monitor.dashboard.raster import Cells, Glyphs, Reals, dot_rows, dots, envelope, fill
from monitor.dashboard.scale import AutoRange, Range
from monitor.dashboard.stream import Band, StreamView
from monitor.dashboard.timing import Timing

Pattern = NDArray[np.uint8]

GROUNDS = np.array([Ink.PAPER, Ink.BAND_TECHNICAL, Ink.BAND_LOW, Ink.BAND_MEDIUM, Ink.BAND_HIGH], np.uint8)
"""By rank + 1."""
BAND_INKS = (Ink.TECHNICAL, Ink.LOW, Ink.MEDIUM, Ink.HIGH)
NOTHING_FLAGGED = -1
OUTLIER = 4.0
RARE, AT_LEAST = 0.02, 3
"""Where so small a share of the columns makes the range so many times larger, it is cut off."""


@dataclass(frozen=True)
class Options:
    """How a lane is to look."""

    glyphs: Glyphs
    ink: Ink = Ink.TRACE
    grid: bool = True
    forecast: bool = True
    ghosts: bool = False
    alive: bool = True
    gain_steps: int = 0
    in_colour: bool = True


@dataclass(frozen=True)
class _Frame:
    """Where things stand in the lane."""

    timing: Timing
    rows: int
    shown: Range
    glyphs: Glyphs

    def row_of(self, values: Reals) -> Reals:
        """Values in cell rows from the top edge."""
        return (self.shown.top - values) * (self.rows / self.shown.span)


@dataclass(frozen=True)
class _Curve:
    """A polyline by age: its lowest and highest value in each dot column, NaN where it is not."""

    low: Reals
    high: Reals

    def pattern(self, frame: _Frame) -> Pattern:
        """Its dots in each cell of the frame."""
        rows, glyphs, shown = frame.rows, frame.glyphs, frame.shown
        top = dot_rows(frame.timing.placed(self.high), shown.top, shown.bottom, rows * glyphs.high)
        bottom = dot_rows(frame.timing.placed(self.low), shown.top, shown.bottom, rows * glyphs.high)
        return dots(top, bottom, rows, frame.timing.columns // glyphs.wide, glyphs)


@dataclass(frozen=True)
class _Ahead:
    """A forecast by age, from the newest sample on, with its interval."""

    mean: _Curve
    low: Reals
    high: Reals


@dataclass(frozen=True)
class Lane:
    """A finished lane."""

    cells: Cells
    shown: Range


def draw_lane(
    view: StreamView, channel: int, timing: Timing, rows: int, auto: AutoRange, options: Options
) -> Lane:
    """The picture of one channel of a stream."""
    trace, glyphs = view.trace, options.glyphs
    columns = timing.columns // glyphs.wide
    if trace is None or not trace.count or channel >= trace.channels:
        return Lane(Cells.blank(rows, columns), auto.range)
    times, values = trace.between(timing.first_ns, trace.newest_ns)
    position = timing.position(times)
    live = _Curve(*envelope(position, values[:, channel].astype(np.float64), timing.columns))
    ahead = _ahead(view, channel, timing) if options.forecast and options.alive else None
    shown = auto.fit(*_extent(live, ahead), timing.head * timing.column_ns).zoomed(options.gain_steps)
    frame = _Frame(timing, rows, shown, glyphs)

    cells = graticule(frame.rows, columns, timing, shown, glyphs) if options.grid else Cells.blank(rows, columns)
    ranks = _ranks(view, timing, live, position, glyphs)
    cells.ground[:] = GROUNDS[ranks + 1]
    foretold = np.zeros((rows, columns), np.uint8)
    if options.ghosts and options.forecast:
        cells.put(_ghosts(view, channel, timing).pattern(frame), glyphs, Ink.GHOST)
    if ahead is not None:
        foretold = ahead.mean.pattern(frame)
        _shade(cells, frame, ahead, foretold, options)
        cells.put(foretold, glyphs, Ink.FORECAST)
    drawn = live.pattern(frame)
    ink = options.ink if options.alive else Ink.OLD
    inks = np.where(ranks == len(BAND_INKS) - 1, Ink.HIGH if options.alive else Ink.OLD, ink).astype(np.uint8)
    cells.put(np.where(drawn > 0, drawn | foretold, 0).astype(np.uint8), glyphs, inks)
    _name_bands(cells, view, timing, glyphs)
    return Lane(cells, shown)


def _ahead(view: StreamView, channel: int, timing: Timing) -> _Ahead | None:
    forecast, trace = view.forecast, view.trace
    if forecast is None or trace is None or channel >= forecast.mean.shape[1]:
        return None
    times = _step_times(forecast)
    if times[-1] <= trace.newest_ns:
        return None
    position = timing.position(times)
    last = trace.at(times[:1])[0, channel]

    def from_last(values: Floats) -> Reals:
        start = last if np.isfinite(last) else values[0, channel]
        return np.concatenate(([start], values[:, channel])).astype(np.float64)

    low, high = envelope(position, from_last(forecast.mean), timing.columns)
    column = np.arange(timing.columns)
    bounds = [
        np.interp(column + 0.5, position, from_last(bound), left=np.nan, right=np.nan)
        for bound in (forecast.lower, forecast.upper)
    ]
    has_come = column <= (trace.newest_ns - timing.first_ns) // timing.column_ns
    for values in (low, high, *bounds):
        values[has_come] = np.nan
    return _Ahead(_Curve(low, high), *bounds)


def _step_times(forecast: Forecast) -> NDArray[np.int64]:
    """When it was made, and the time of each of its steps."""
    steps = np.rint(np.arange(len(forecast.mean) + 1) * (NS / forecast.rate_hz))
    times: NDArray[np.int64] = forecast.made_ns + steps.astype(np.int64)
    return times


def _ghosts(view: StreamView, channel: int, timing: Timing) -> _Curve:
    low, high = np.full(timing.columns, np.nan), np.full(timing.columns, np.nan)
    for ghost in view.hindsight.ghosts:
        if ghost.times_ns[-1] >= timing.first_ns and channel < ghost.mean.shape[1]:
            values = ghost.mean[:, channel].astype(np.float64)
            bottom, top = envelope(timing.position(ghost.times_ns), values, timing.columns)
            low, high = np.fmin(low, bottom), np.fmax(high, top)
    return _Curve(low, high)


def _extent(live: _Curve, ahead: _Ahead | None) -> tuple[float, float]:
    """The range that should be seen: all of it, unless single columns stand out far above everything else."""
    low, high = live.low[np.isfinite(live.low)], live.high[np.isfinite(live.high)]
    if not len(low):
        return np.nan, np.nan
    bottom, top = float(low.min()), float(high.max())
    rare = min(max(int(RARE * len(low)), AT_LEAST), len(low) - 1)
    usual_bottom, usual_top = np.partition(low, rare)[rare], np.partition(high, -1 - rare)[-1 - rare]
    room = float(usual_top - usual_bottom)
    if top - bottom > OUTLIER * room > 0:
        bottom, top = max(bottom, float(usual_bottom) - room / 2), min(top, float(usual_top) + room / 2)
    if ahead is not None and np.isfinite(ahead.mean.low).any():
        span = top - bottom  # a forecast may widen it, not run away with it
        bottom = min(bottom, max(float(np.nanmin(ahead.mean.low)), bottom - span / 2))
        top = max(top, min(float(np.nanmax(ahead.mean.high)), top + span / 2))
    return bottom, top


def _bands(view: StreamView, timing: Timing) -> Iterator[tuple[Band, int, int]]:
    """The flagged spans in sight, and their first column and the one after their last, by age."""
    from_ns, to_ns = timing.first_ns, timing.first_ns + timing.columns * timing.column_ns
    for band in view.bands:
        if band.to_ns >= from_ns and band.from_ns < to_ns:
            first = (band.from_ns - from_ns) / timing.column_ns
            last = (band.to_ns - from_ns) / timing.column_ns
            yield band, max(int(first), 0), min(max(int(last), int(first)) + 1, timing.columns)


def _ranks(view: StreamView, timing: Timing, live: _Curve, position: Reals, glyphs: Glyphs) -> NDArray[np.int64]:
    """Of each cell column: nothing flagged, 0 for technical and for missing data, 1 to 3 by priority."""
    ranks = np.full(timing.columns, NOTHING_FLAGGED)
    if len(position):
        first, last = np.clip(position[[0, -1]], 0, timing.columns).astype(np.int64).tolist()
        ranks[first:last][np.isnan(live.low[first:last])] = 0
    for band, first, last in _bands(view, timing):
        np.maximum(ranks[first:last], band.rank, out=ranks[first:last])
    by_cell: NDArray[np.int64] = np.max(timing.placed(ranks).reshape(-1, glyphs.wide), axis=1)
    return by_cell


def _shade(cells: Cells, frame: _Frame, ahead: _Ahead, foretold: Pattern, options: Options) -> None:
    """The forecast's interval, behind its dots."""
    high, low = (frame.row_of(frame.timing.placed(bound)) for bound in (ahead.high, ahead.low))
    upper = np.fmin.reduce(high.reshape(-1, frame.glyphs.wide), axis=1)
    lower = np.fmax.reduce(low.reshape(-1, frame.glyphs.wide), axis=1)
    texture = "" if options.in_colour and frame.glyphs.has_blocks else "░" if frame.glyphs.has_blocks else ":"
    fill(cells, upper, lower, Ink.FAN, covered=foretold > 0, texture=texture)


def _name_bands(cells: Cells, view: StreamView, timing: Timing, glyphs: Glyphs) -> None:
    """Label and score at the foot of each band, as far as they do not run into each other."""
    rows, columns = cells.glyph.shape
    if rows < 3:
        return
    places = []
    for band, first, last in _bands(view, timing):
        places.append((band.rank, timing.placed_column(first) // glyphs.wide, (last - first) // glyphs.wide, band))
    places.sort(key=lambda place: (-place[0], place[1]))
    free = np.ones(columns, np.bool_)
    for rank, column, width, band in places:
        texts = [band.label] if rank == 0 else [f"{band.label} {band.score:.2f}", band.label]
        for text in texts:
            room = slice(column, column + len(text) + 1)
            if column + len(text) <= columns and free[room].all() and (len(text) <= max(width, 12)):
                cells.write(rows - 1, column, text, BAND_INKS[rank])
                free[room] = False
                break
