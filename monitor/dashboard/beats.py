"""The last beats of a stream, aligned on R peak and baseline: a beat that differs is seen at once."""

from __future__ import annotations

import numpy as np

from monitor.core.blocks import NS, Beat
from monitor.dashboard.palette import Ink
from monitor.dashboard.raster import Cells, Glyphs, Reals, dot_rows, dots, envelope
from monitor.dashboard.stream import StreamView

SHOWN = 30
BEFORE_S, AFTER_S = 0.25, 0.45
LEAST_ROWS, LEAST_COLUMNS = 4, 8
NORMAL = "N"


def draw_beats(view: StreamView | None, rows: int, columns: int, glyphs: Glyphs) -> Cells:
    """The first channel around each of the last beats: usual ones faint, odd ones red, the newest bright."""
    cells = Cells.blank(rows, columns, Ink.PANEL)
    if view is None or view.trace is None or rows < LEAST_ROWS or columns < LEAST_COLUMNS:
        return cells
    complete_ns = view.trace.newest_ns - round(AFTER_S * NS)
    beats = [beat for beat in view.beats if beat.t_ns <= complete_ns][-SHOWN:]
    curves = [(beat, _curve(view, beat, columns * glyphs.wide)) for beat in beats]
    curves = [(beat, (low, high)) for beat, (low, high) in curves if np.isfinite(low).any()]
    if not curves:
        return cells
    bottom = min(float(np.nanmin(low)) for _, (low, _) in curves)
    top = max(float(np.nanmax(high)) for _, (_, high) in curves)
    pad = 0.05 * (top - bottom) or 1.0
    body = Cells.blank(rows - 1, columns, Ink.PANEL)
    for ink, chosen in (
        (Ink.OLD, [c for b, c in curves if b.label == NORMAL]),
        (Ink.HIGH, [c for b, c in curves if b.label != NORMAL]),
        (Ink.TEXT if curves[-1][0].label == NORMAL else Ink.HIGH, [curves[-1][1]]),
    ):
        pattern = np.zeros((rows - 1, columns), np.uint8)
        for low, high in chosen:
            size = (rows - 1) * glyphs.high
            upper, lower = (dot_rows(v, top + pad, bottom - pad, size) for v in (high, low))
            pattern |= dots(upper, lower, rows - 1, columns, glyphs)
        body.put(pattern, glyphs, ink)
    cells.glyph[1:], cells.ink[1:] = body.glyph, body.ink
    odd = sum(beat.label != NORMAL for beat in beats)
    cells.write(0, 0, f" last {len(beats)} beats", Ink.DIM)
    if odd:
        cells.write(0, len(f" last {len(beats)} beats"), f"  {odd} odd", Ink.HIGH)
    return cells


def _curve(view: StreamView, beat: Beat, columns: int) -> tuple[Reals, Reals]:
    if view.trace is None:
        nowhere = np.full(columns, np.nan)
        return nowhere, nowhere
    first_ns = beat.t_ns - round(BEFORE_S * NS)
    times, values = view.trace.between(first_ns, beat.t_ns + round(AFTER_S * NS))
    position = (times - first_ns).astype(np.float64) * (columns / ((BEFORE_S + AFTER_S) * NS))
    signal = values[:, 0].astype(np.float64)
    known = signal[np.isfinite(signal)]
    return envelope(position, signal - (np.median(known) if len(known) else 0.0), columns)
