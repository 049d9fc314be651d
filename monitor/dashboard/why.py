"""Why something was flagged: what was measured, against which threshold, by which model, what was expected."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from monitor.core.blocks import NS, Alarm, Kind, Verdict
from monitor.core.evidence import Evidence
from monitor.dashboard.bars import clock_text, title_of
from monitor.dashboard.choices import Choices
from monitor.dashboard.hindsight import Ghost
from monitor.dashboard.palette import Ink, Line, Part
from monitor.dashboard.picture import Options, draw_lane
from monitor.dashboard.plot import forecast_text
from monitor.dashboard.raster import Cells
from monitor.dashboard.scale import AutoRange, number_text, seconds_text
from monitor.dashboard.state import Board
from monitor.dashboard.stream import Band, StreamView
from monitor.dashboard.tables import state_text
from monitor.dashboard.timing import Timing

LEAST_S = 3.0
"""The picture shows at least so much."""
BAR = 24
WORDS = {
    Kind.CLASS: "the classifier saw it: its probability stood above the threshold",
    Kind.DEVIATION: "what came is not what was forecast: the residual, in usual sizes, was above the threshold",
    Kind.LIMIT: "a value, or one derived from the signal, is out of its range: from 1 on it is",
    Kind.LIMIT_AHEAD: "the forecast leaves the range: from 1 on it does",
    Kind.SIGNAL: "technical: of the signal or the machine, not of what is measured",
}


@dataclass(frozen=True)
class Case:
    """What is to be explained: an alarm, or an event that raised none."""

    stream: str
    title: str
    kind: Kind
    score: float
    threshold: float
    model: str
    t_ns: int
    from_ns: int
    to_ns: int
    said: str = ""
    verdict: Verdict = ""
    alarm: str = ""
    """Its id; empty for an event."""


def case_of(board: Board, choices: Choices) -> Case | None:
    """The selected alarm; else the event at the cursor; else the most urgent alarm, or the latest."""
    alarm = board.alarm(choices.alarm_id)
    if alarm is None and choices.frozen is not None:
        view = choices.frozen.views.get(choices.selected)
        at_ns = choices.frozen.cursor_ns(choices.selected)
        bands = view.bands if view is not None else ()
        near = min((b for b in bands if b.rank), key=lambda b: _distance(b, at_ns), default=None)
        if near is not None and _distance(near, at_ns) < NS:
            return _of_band(choices.selected, near)
    if alarm is None:
        alarm = next(iter(board.calling), None) or next(iter(board.alarms), None)
    return _of_alarm(board, alarm) if alarm is not None else None


def _distance(band: Band, t_ns: int) -> int:
    return max(band.from_ns - t_ns, t_ns - band.to_ns, 0)


def _of_band(stream: str, band: Band) -> Case:
    t_ns = band.t_ns or band.from_ns
    return Case(
        stream, band.label, band.kind, band.score, band.threshold, band.model, t_ns, band.from_ns, band.to_ns,
        "an event; no alarm is selected",
    )  # fmt: skip


def _of_alarm(board: Board, alarm: Alarm) -> Case:
    view = board.streams.get(alarm.stream)
    bands = [b for b in (view.bands if view else ()) if (b.kind, b.label) == (alarm.kind, alarm.label)]
    band = min(bands, key=lambda b: _distance(b, alarm.raised_ns), default=None)
    from_ns, to_ns = alarm.raised_ns, alarm.raised_ns
    if band is not None and _distance(band, alarm.raised_ns) < 2 * NS:
        from_ns, to_ns = band.from_ns, band.to_ns
    times = f", rose {alarm.times} times" if alarm.times > 1 else ""
    said = f"{alarm.priority} priority, {state_text(board, alarm)}{times}"
    return Case(
        alarm.stream, title_of(alarm), alarm.kind, alarm.score, alarm.threshold, alarm.model, alarm.raised_ns,
        from_ns, to_ns, f"{said}{'; ' + alarm.detail if alarm.detail else ''}", board.verdict(alarm.id), alarm.id,
    )  # fmt: skip


def why_lines(
    board: Board, case: Case, view: StreamView | None, *, blocks: bool, evidence: Evidence | None = None
) -> list[Line]:
    """The explanation, a fact a line; `evidence` is what the daemon has kept with the alarm."""
    card = board.models.get(case.model, {})
    lines = [
        (
            Part(f"{case.title}  {case.stream}", Ink.TEXT, Ink.PANEL, bold=True),
            Part(f"  {clock_text(case.t_ns, date=True)[:10]} {clock_text(case.t_ns)}", Ink.DIM, Ink.PANEL),
        ),
        _fact("", case.said + (f"; somebody said: {case.verdict}" if case.verdict else "")),
        _fact("kind", WORDS[case.kind]),
        _score_line(case, blocks=blocks),
        _fact("model", model_text(case.model, card)),
        _fact("window", _window_text(case, card)),
        _fact("forecast", _forecast_text(case, view) if evidence is None else forecast_text(evidence.foreseen)),
        _fact("latency", _latency_text(board)),
    ]
    notes = [n.text for n in board.notes.values() if n.text and n.stream == case.stream and
             abs(n.t_ns - case.t_ns) < 10 * NS]  # fmt: skip
    return [*lines, *(_fact("note", text) for text in notes)]


def _fact(name: str, text: str) -> Line:
    return (Part(f"{name:>9}  ", Ink.FORECAST, Ink.PANEL), Part(text, Ink.TEXT, Ink.PANEL))


def bar_text(score: float, threshold: float, width: int, *, blocks: bool) -> str:
    """A score as a bar of `width` characters and one, with a mark at the threshold."""
    most = max(score, threshold, 1e-9) if math.isfinite(threshold) else max(score, 1e-9)
    full = round(width * min(score / most, 1.0)) if math.isfinite(score) else 0
    limit = round(width * min(threshold / most, 1.0)) if math.isfinite(threshold) else width
    bar = "".join("┃" if i == limit else "█" if i < full else "·" for i in range(width + 1))
    return bar if blocks else bar.replace("┃", "|").replace("█", "#").replace("·", ".")


def _score_line(case: Case, *, blocks: bool) -> Line:
    bar = bar_text(case.score, case.threshold, BAR, blocks=blocks)
    text = f" {number_text(case.score)} against a threshold of {number_text(case.threshold)}"
    return (
        Part(f"{'score':>9}  ", Ink.FORECAST, Ink.PANEL),
        Part(bar, Ink.HIGH if case.score >= case.threshold else Ink.TEXT, Ink.PANEL),
        Part(text, Ink.TEXT, Ink.PANEL, bold=True),
    )


def model_text(model: str, card: Mapping[str, Any]) -> str:
    """A model by name, and what its card says of it, where that is known."""
    if not model:
        return "none: this needs no model"
    if not card:
        return model
    metrics = card.get("metrics") or {}
    told = ", ".join(f"{name} {number_text(float(value))}" for name, value in list(metrics.items())[:3])
    layers = f"{card.get('cell', '')}-{card.get('hidden', '')}".upper()
    return f"{model}  {card.get('task', '')}, {layers}, {card.get('parameters', 0)} parameters" + (
        f"; tested: {told}" if told else ""
    )


def _steps_hz(card: Mapping[str, Any]) -> float:
    return float(card.get("rate_hz") or 0.0) / int(card.get("samples_per_step") or 1)


def window_ns(case: Case, card: Mapping[str, Any]) -> tuple[int, int] | None:
    """The part of the signal the model had seen, where its card says how much that is."""
    rate_hz, window = _steps_hz(card), int(card.get("window") or 0)
    if not rate_hz or not window:
        return None
    end_ns = max(case.to_ns, case.t_ns)
    return end_ns - round(window / rate_hz * NS), end_ns


def _window_text(case: Case, card: Mapping[str, Any]) -> str:
    span = window_ns(case, card)
    flagged = f"flagged {clock_text(case.from_ns)} to {clock_text(case.to_ns)}"
    if span is None:
        return flagged
    rate_hz = _steps_hz(card)
    seen = f"{card['window']} steps at {number_text(rate_hz)} Hz, {seconds_text((span[1] - span[0]) / NS)}"
    return f"{seen} to {clock_text(span[1])}; {flagged}"


def ghosts_of(case: Case, view: StreamView | None) -> list[Ghost]:
    """The forecasts that had spoken of what was flagged."""
    ghosts = view.hindsight.ghosts if view is not None else ()
    return [g for g in ghosts if g.times_ns[0] <= case.to_ns and g.times_ns[-1] >= case.from_ns]


def _forecast_text(case: Case, view: StreamView | None) -> str:
    ghosts = ghosts_of(case, view)
    if view is None or not ghosts:
        return "none was seen here; forecasts are kept while one watches the stream"
    error = max(ghost.error for ghost in ghosts)
    usual = median(ghost.error for ghost in view.hindsight.ghosts)
    inside = min(ghost.inside for ghost in ghosts)
    times = f", {error / usual:.1f} times the usual {number_text(usual, 2)}" if usual > 0 else ""
    return (
        f"{ghosts[-1].model} was off by {number_text(error, 2)} {view.unit}".rstrip()
        + f"{times}; {inside:.0%} lay in its interval"
    )


def _latency_text(board: Board) -> str:
    status = board.status
    if status is None or not math.isfinite(status.latency_p50_ms):
        return "not known"
    half, most = status.latency_p50_ms, status.latency_p99_ms
    return f"from receipt to event, half within {half:.0f} ms, 99 % within {most:.0f} ms"


def is_seen(case: Case, view: StreamView | None) -> bool:
    """Whether the signal is still here that was flagged."""
    if view is None or view.trace is None or not view.trace.count:
        return False
    times, _ = view.trace.between(case.from_ns - NS, case.to_ns)
    return len(times) > 2 and int(times[0]) <= case.from_ns


def why_picture(board: Board, case: Case, view: StreamView, choices: Choices, rows: int, columns: int) -> Cells:
    """What came, what had been forecast, what was flagged; below, what the model had seen."""
    cells = Cells.blank(rows, columns, Ink.PAPER)
    if rows < 4 or columns < 8:
        return cells
    span = window_ns(case, board.models.get(case.model, {})) or (case.from_ns, case.to_ns)
    length_s = max(LEAST_S, 1.6 * (span[1] - span[0]) / NS)
    head_ns = max(span[1], case.to_ns) + round(0.25 * length_s * NS)
    timing = Timing.of(columns * choices.glyphs.wide, length_s, 0.0, head_ns)
    options = Options(choices.glyphs, grid=choices.grid, ghosts=True, in_colour=bool(choices.palette.colours))
    lane = draw_lane(view, 0, timing, rows - 1, AutoRange(), options)
    cells.glyph[:-1], cells.ink[:-1], cells.ground[:-1] = lane.cells.glyph, lane.cells.ink, lane.cells.ground
    first, last = np.clip(
        (np.array(span) - timing.first_ns) / timing.column_ns / choices.glyphs.wide, 0, columns - 1
    )
    line = "─" if choices.glyphs.has_blocks else "-"
    width = int(last) - int(first) + 1
    cells.write(rows - 1, int(first), " window ".center(width, line)[:width], Ink.FORECAST)
    return cells
