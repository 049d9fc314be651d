"""All lanes below each other, with their labels and the time axis: the picture that the waveform widget shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from monitor.core.blocks import NS
from monitor.dashboard.bars import INKS, sign_of_stream
from monitor.dashboard.choices import Choices, ForecastMode, LaneKey
from monitor.dashboard.cursor import Cursor, draw_clock, draw_notes
from monitor.dashboard.graticule import ROWS_A_LINE
from monitor.dashboard.palette import TRACES, Ink
from monitor.dashboard.picture import Options, draw_lane
from monitor.dashboard.quality import BEST, Quality, bars, quality
from monitor.dashboard.raster import Cells
from monitor.dashboard.readings import fault_name
from monitor.dashboard.scale import GAIN_STEP, AutoRange, Range, number_text, round_step, seconds_text, time_base_s
from monitor.dashboard.state import Board
from monitor.dashboard.stream import PRIORITIES, StreamView
from monitor.dashboard.timing import Timing

AXIS_FROM_ROWS = 6
"""Rows from which there is one to spare for the time axis."""


@dataclass(frozen=True)
class Picture:
    """What is to be on the screen."""

    cells: Cells
    lanes: tuple[tuple[int, LaneKey], ...]
    """First row of each lane."""
    timings: Mapping[str, Timing]


class Stack:
    """Draws the lanes that were chosen; remembers the range of each from picture to picture."""

    def __init__(self) -> None:
        self._ranges: dict[LaneKey, AutoRange] = {}
        self._qualities: dict[LaneKey, tuple[int, Quality | None]] = {}

    def draw(self, board: Board, choices: Choices, rows: int, columns: int, now_s: float) -> Picture:
        """The picture at wall time `now_s`, for so many cells."""
        cells = Cells.blank(rows, columns)
        names = choices.streams_shown(board.names)
        axis_rows = int(rows >= AXIS_FROM_ROWS)
        keys = choices.lanes(board, rows - axis_rows)
        if not keys or columns < 2:
            _say_waiting(cells)
            return Picture(cells, (), {})
        views = {name: choices.frozen.views.get(name, StreamView(name)) if choices.frozen else board.streams[name]
                 for name in names}  # fmt: skip
        timings = self._timings(choices, views, columns, now_s)
        ranges = self._ranges_for(keys)
        connected = board.is_connected(now_s)
        frozen = choices.frozen
        height, spare = divmod(rows - axis_rows, len(keys))
        row, places = 0, []
        for index, key in enumerate(keys):
            lane_rows = height + (index < spare)
            view = views[key.stream]
            stale_s = board.stale_s(key.stream, now_s)
            options = Options(
                choices.glyphs, _ink(key, view), choices.grid,
                forecast=choices.forecast is not ForecastMode.OFF,
                ghosts=choices.forecast is ForecastMode.WITH_PAST,
                alive=choices.frozen is not None or (connected and stale_s is None),
                gain_steps=choices.gain_steps.get(key.stream, 0), in_colour=bool(choices.palette.colours),
            )  # fmt: skip
            lane = draw_lane(view, key.channel, timings[key.stream], lane_rows, ranges[key], options)
            place = slice(row, row + lane_rows)
            cells.glyph[place], cells.ink[place] = lane.cells.glyph, lane.cells.ink
            cells.ground[place] = lane.cells.ground
            if key.channel == 0:
                draw_notes(cells, row, board.notes_of(key.stream), timings[key.stream], choices.glyphs)
            _label(cells, row, key, view, board, choices, lane.shown, lane_rows, self._quality(key, view))
            if frozen is not None:
                cursor = Cursor(timings[key.stream], frozen.cursor_ns(key.stream), choices.glyphs)
                cursor.draw(cells, place, view, key.channel)
            if choices.frozen is None and not connected:
                _say(cells, row + lane_rows // 2, " DISCONNECTED ", Ink.HIGH)
            elif choices.frozen is None and stale_s is not None:
                _say(cells, row + lane_rows // 2, f" NO DATA for {seconds_text(int(stale_s))} ", Ink.MEDIUM)
            places.append((row, key))
            row += lane_rows
        if axis_rows:
            main = _main(choices, names)
            if frozen is None:
                _axis(cells, rows - 1, timings[main], choices)
            else:
                draw_clock(cells, rows - 1, timings[main], frozen.cursor_ns(main), choices.glyphs)
        return Picture(cells, tuple(places), timings)

    def _ranges_for(self, keys: list[LaneKey]) -> dict[LaneKey, AutoRange]:
        self._ranges = {key: self._ranges.get(key) or AutoRange() for key in keys}
        self._qualities = {key: known for key, known in self._qualities.items() if key in self._ranges}
        return self._ranges

    def _quality(self, key: LaneKey, view: StreamView) -> Quality | None:
        """Of a lane's signal, looked at once a second of data."""
        second = view.trace.newest_ns // NS if view.trace is not None else 0
        known = self._qualities.get(key)
        if known is None or known[0] != second:
            known = self._qualities[key] = second, quality(view.trace, key.channel)
        return known[1]

    def _timings(
        self, choices: Choices, views: Mapping[str, StreamView], columns: int, now_s: float
    ) -> dict[str, Timing]:
        """Streams with the same time base look equally far ahead."""
        windows = {name: time_base_s(view.rate_hz, choices.time_steps) for name, view in views.items()}
        ahead: dict[float, float] = {}
        for name, view in views.items():
            if view.forecast is not None and choices.forecast is not ForecastMode.OFF:
                horizon_s = len(view.forecast.mean) / view.forecast.rate_hz
                ahead[windows[name]] = max(ahead.get(windows[name], 0.0), horizon_s)
        dot_columns = columns * choices.glyphs.wide
        frozen = choices.frozen
        return {
            name: Timing.of(
                dot_columns, windows[name], ahead.get(windows[name], 0.0),
                frozen.head_ns(name) if frozen else view.playhead.at(now_s), sweeps=choices.sweeps and not frozen,
            )
            for name, view in views.items()
        }  # fmt: skip


def _main(choices: Choices, names: list[str]) -> str:
    return choices.selected if choices.selected in names else names[0]


def _ink(key: LaneKey, view: StreamView) -> Ink:
    """By channel; volts in colours of their own, as on a bedside monitor."""
    return TRACES[(key.channel + (0 if view.unit.endswith("V") else 2)) % len(TRACES)]


def _label(
    cells: Cells,
    row: int,
    key: LaneKey,
    view: StreamView,
    board: Board,
    choices: Choices,
    shown: Range,
    rows: int,
    found: Quality | None,
) -> None:
    """Name, channel and scale, over the upper left corner of a lane."""
    column, columns = 1, cells.glyph.shape[1]

    def write(text: str, ink: Ink) -> None:
        nonlocal column
        cells.write(row, column, text, ink, Ink.PAPER)
        column += len(text)

    if key.stream == choices.selected:
        write("▸ " if choices.glyphs.has_blocks else "> ", Ink.FORECAST)
    write(key.stream, Ink.TEXT)
    channel = view.channels[key.channel] if key.channel < len(view.channels) else ""
    if channel:
        write(f" {channel}", Ink.TEXT)
    rank = board.rank(key.stream)
    if rank and key.channel == 0:
        write(f" {sign_of_stream(board, view, choices)}", INKS[PRIORITIES[rank - 1]])
    if columns >= 60 and rows >= 3:
        step = round_step(shown.span / max(rows // ROWS_A_LINE, 1))
        gain = choices.gain_steps.get(key.stream, 0)
        scale = f"  {number_text(step, 1)} {view.unit or 'units'}/div"
        write(scale + (f" \N{MULTIPLICATION SIGN}{GAIN_STEP**gain:.2g}" if gain else ""), Ink.DIM)
        if found is not None:
            write(f"  {bars(found.level, blocks=choices.glyphs.has_blocks)}", _quality_ink(found))
            fault = fault_name(view.fault) if view.fault is not None else found.fault
            write(f" {fault}" if fault else "", Ink.MEDIUM)
        if choices.frozen is None and view.state is not None and view.state.warming:
            write("  warming up", Ink.LOW)
    if choices.frozen is not None:
        write("  FROZEN", Ink.MEDIUM)
    write(" ", Ink.DIM)


def _quality_ink(found: Quality) -> Ink:
    return Ink.DIM if found.level == BEST else Ink.MEDIUM if found.level > 1 else Ink.HIGH


def _say(cells: Cells, row: int, text: str, ink: Ink) -> None:
    cells.write(row, max((cells.glyph.shape[1] - len(text)) // 2, 0), text, ink, Ink.PANEL)


def _say_waiting(cells: Cells) -> None:
    if len(cells.glyph):
        _say(cells, len(cells.glyph) // 2, " waiting for streams ", Ink.DIM)


def _axis(cells: Cells, row: int, timing: Timing, choices: Choices) -> None:
    """Ticks of the selected stream's time, and "now"."""
    columns = cells.glyph.shape[1]
    free_from = 0
    for dot_column, text in timing.ticks():
        column = dot_column // choices.glyphs.wide
        is_now = text == "now"
        start = min(max(column - len(text) // 2, 0), columns - len(text))
        if start < free_from or (column >= columns and not is_now):
            continue
        cells.write(row, start, text, Ink.FORECAST if is_now else Ink.DIM)
        free_from = start + len(text) + 1


def window_wanted_s(board: Board, choices: Choices) -> dict[str, float]:
    """The streams whose samples are needed, each with how many seconds of them."""
    wanted = {}
    for name in choices.streams_shown(board.names):
        view = board.streams[name]
        wanted[name] = time_base_s(view.rate_hz, choices.time_steps) * 1.2
        if choices.frozen is not None and name in choices.frozen.heads_ns:
            wanted[name] += max(view.newest_ns - choices.frozen.head_ns(name), 0) / NS
    return wanted


def head_columns(board: Board, choices: Choices, now_s: float, columns: int) -> tuple[int, ...]:
    """Where "now" stands in each stream shown, in dots: while this and the versions stand, so does the picture."""
    if choices.frozen is not None:
        return ()
    result = []
    for name in choices.streams_shown(board.names):
        view = board.streams[name]
        window_ns = time_base_s(view.rate_hz, choices.time_steps) * NS
        result.append(int(view.playhead.at(now_s) / (window_ns / max(columns * choices.glyphs.wide, 1))))
    return tuple(result)
