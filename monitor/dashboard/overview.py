"""Many streams in little: a tile each, coloured by what is wrong, so that one among hundreds stands out."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from monitor.core.blocks import NS
from monitor.dashboard.bars import sign_of_stream
from monitor.dashboard.choices import Choices
from monitor.dashboard.listing import trouble
from monitor.dashboard.palette import TRACES, Ink
from monitor.dashboard.raster import Cells, Glyphs, dot_rows, dots, envelope
from monitor.dashboard.readings import heart_rate
from monitor.dashboard.state import Board
from monitor.dashboard.stream import StreamView
from monitor.dashboard.tables import condition, is_current

LEAST_WIDTH, LEAST_HEIGHT = 14, 3
MOST_WIDTH, MOST_HEIGHT = 60, 12
SHOWN_S = 4.0
GROUNDS = (Ink.PANEL, Ink.BAND_LOW, Ink.BAND_MEDIUM, Ink.BAND_HIGH)
"""By rank."""
INKS = (Ink.TEXT, Ink.LOW, Ink.MEDIUM, Ink.HIGH)


class Tiling(NamedTuple):
    """How tiles stand."""

    across: int
    down: int
    width: int
    height: int

    @property
    def room(self) -> int:
        """How many there are."""
        return self.across * self.down


def tiling(count: int, rows: int, columns: int) -> Tiling:
    """The largest tiles of which so many fit; the smallest, of which perhaps not all do, where none are."""
    least = Tiling(max(columns // LEAST_WIDTH, 1), max(rows // LEAST_HEIGHT, 1), 0, 0)
    best = least._replace(width=columns // least.across, height=max(rows // least.down, 1))
    found = 0.0
    for across in range(max(columns // MOST_WIDTH, 1), least.across + 1):
        down = math.ceil(count / across) if count else 1
        width, height = columns // across, min(rows // down, MOST_HEIGHT)
        worth = min(width, MOST_WIDTH) / 4 * height  # a tile four times as wide as high looks as square as it can
        if height >= LEAST_HEIGHT and worth > found:
            found, best = worth, Tiling(across, max(rows // height, 1), width, height)
    return best


class Page(NamedTuple):
    """Tiles as they are shown."""

    cells: Cells
    tiling: Tiling
    names: tuple[str, ...]
    """The streams in sight, row by row."""


def in_sight(names: list[str], selected: str, room: int) -> list[str]:
    """The page of streams that holds the selected one."""
    at = names.index(selected) if selected in names else 0
    first = at - at % room if room else 0
    return names[first : first + room]


def draw_overview(board: Board, choices: Choices, rows: int, columns: int, now_s: float) -> Page:
    """All listed streams, or a page of them."""
    cells = Cells.blank(rows, columns, Ink.PAPER)
    names = choices.listed(board)
    tiles = tiling(len(names), rows, columns)
    if tiles.room < len(names):  # the last row says of how many these are some
        tiles = tiling(len(names), rows - 1, columns)
    shown = in_sight(names, choices.selected, tiles.room)
    if len(shown) < len(names):
        first = names.index(shown[0]) + 1
        cells.write(rows - 1, 1, f"{first} to {first + len(shown) - 1} of {len(names)} streams", Ink.DIM)
    connected = board.is_connected(now_s)
    for index, name in enumerate(shown):
        row, column = divmod(index, tiles.across)
        place = np.s_[
            row * tiles.height : (row + 1) * tiles.height, column * tiles.width : (column + 1) * tiles.width
        ]
        size = cells.glyph[place].shape
        tile = _tile(board, choices, name, size, now_s, connected=connected)
        cells.glyph[place], cells.ink[place], cells.ground[place] = tile.glyph, tile.ink, tile.ground
    if not names and rows:
        cells.write(rows // 2, 2, "no stream matches" if choices.filter else "waiting for streams", Ink.DIM)
    return Page(cells, tiles, tuple(shown))


def _tile(
    board: Board, choices: Choices, name: str, size: tuple[int, ...], now_s: float, *, connected: bool
) -> Cells:
    rows, columns = size
    view, rank = board.streams[name], board.rank(name)
    word, ink = condition(board, view, now_s, connected=connected)
    ground = GROUNDS[rank] if connected else Ink.PANEL
    cells = Cells.blank(rows, columns, ground)
    cells.ground[:, -1:] = Ink.PAPER  # a line between neighbours
    blocks = choices.glyphs.has_blocks
    is_selected = name == choices.selected
    mark = ("▸" if blocks else ">") if is_selected else " "
    right = _figure(view) if is_current(board, view, now_s) and (word == "live" or rank) else word
    sign = sign_of_stream(board, view, choices)
    room = columns - 2
    right = f"{sign} {right}".strip()[:room]
    cells.write(0, 0, (mark + name)[: max(room - len(right), 4)], Ink.TEXT if connected else Ink.OLD)
    cells.write(0, room - len(right) + 1, right, INKS[rank] if rank else ink)
    if is_selected:
        cells.ground[0, : columns - 1] = Ink.SELECTED
    if rows > 1 and connected and word != "no data":
        body = _sparkline(view, rows - 1, columns - 1, choices.glyphs)
        where = body > 0
        trace = Ink.HIGH if rank == 3 else TRACES[0 if view.unit.endswith("V") else 2]
        cells.glyph[1:, : columns - 1][where] = choices.glyphs.table[body[where]]
        cells.ink[1:, : columns - 1][where] = trace
    return cells


def _figure(view: StreamView) -> str:
    """The heart rate where there is one, else how near an alarm is."""
    rate_bpm = heart_rate(view)
    if math.isfinite(rate_bpm):
        return f"{rate_bpm:.0f}"
    share = trouble(view)
    return f"{share:.0%}" if share else ""


def _sparkline(view: StreamView, rows: int, columns: int, glyphs: Glyphs) -> np.ndarray:
    """The first channel's last seconds, as dots."""
    nothing = np.zeros((rows, columns), np.uint8)
    trace = view.trace
    if trace is None or not trace.count or columns < 1:
        return nothing
    span_ns = round(max(SHOWN_S, 80 / trace.rate_hz) * NS)
    column_ns = span_ns / (columns * glyphs.wide)
    first_ns = (trace.newest_ns // round(column_ns)) * round(column_ns) - span_ns
    times, values = trace.between(first_ns, trace.newest_ns)
    low, high = envelope((times - first_ns) / column_ns, values[:, 0].astype(np.float64), columns * glyphs.wide)
    if not np.isfinite(low).any():
        return nothing
    bottom, top = float(np.nanmin(low)), float(np.nanmax(high))
    pad = 0.05 * (top - bottom) or 1.0
    upper, lower = (dot_rows(v, top + pad, bottom - pad, rows * glyphs.high) for v in (high, low))
    return dots(upper, lower, rows, columns, glyphs)
