"""The alarm table, the stream list and the large numbers, as lines of text with inks."""

from __future__ import annotations

import math
from typing import NamedTuple

from monitor.core.blocks import NS, Alarm, State
from monitor.dashboard.bars import ago_text, clock_text, ink_of, score_text, sign_of, title_of
from monitor.dashboard.choices import Choices
from monitor.dashboard.digits import ROWS as DIGIT_ROWS
from monitor.dashboard.digits import big
from monitor.dashboard.listing import trouble
from monitor.dashboard.palette import Ink, Line, Part
from monitor.dashboard.readings import NONE, Reading, fault_name, heart_rate
from monitor.dashboard.scale import number_text
from monitor.dashboard.state import Board, is_live
from monitor.dashboard.stream import RANK, StreamView


class Column(NamedTuple):
    """A column of a table; the least wanted go first where there is no room."""

    title: str
    width: int
    wanted: int
    """Lower is more wanted."""


ALARM_COLUMNS = (
    Column("", 4, 0), Column("Time", 13, 3), Column("Event", 18, 1), Column("Stream", 14, 2),
    Column("State", 10, 4), Column("Score", 12, 5), Column("Raised", 11, 6), Column("Said", 6, 7),
    Column("Model", 20, 8),
)  # fmt: skip
STREAM_COLUMNS = (
    Column("", 2, 0), Column("Stream", 15, 1), Column("State", 9, 2), Column("HR", 4, 6), Column("Hz", 5, 5),
    Column("Received", 9, 4), Column("Missing", 8, 3), Column("Score", 6, 7), Column("Lag", 6, 8),
    Column("Events", 7, 9),
)  # fmt: skip


def columns_that_fit(columns: tuple[Column, ...], width: int) -> list[int]:
    """Indices of the columns to show, in their order."""
    kept: list[int] = []
    used = 1
    for index in sorted(range(len(columns)), key=lambda i: columns[i].wanted):
        if used + columns[index].width > width and kept:
            break
        kept.append(index)
        used += columns[index].width
    return sorted(kept)


def first_row(selected: int, rows: int, count: int) -> int:
    """The row to begin with, so that the selected one is in sight."""
    return min(max(selected - rows + 1, 0), max(count - rows, 0)) if selected >= 0 else 0


def _row(
    cells: list[tuple[str, int]], ink: Ink, ground: Ink, *, bold: bool = False, first: Ink | None = None
) -> Line:
    texts = [text[: width - 1].ljust(width) for text, width in cells]
    return (
        Part(" " + texts[0], ink if first is None else first, ground, bold=True),
        Part("".join(texts[1:]), ink, ground, bold),
    )


def _heading(columns: tuple[Column, ...], shown: list[int], *, focused: bool) -> Line:
    cells = [(columns[i].title, columns[i].width) for i in shown]
    return _row(cells, Ink.TEXT if focused else Ink.DIM, Ink.BAR, bold=True)


class Table(NamedTuple):
    """Lines of a table, and what each of them stands for."""

    lines: list[Line]
    keys: list[str]
    """By line: alarm id or stream name; empty for headings."""


def alarm_table(board: Board, choices: Choices, width: int, height: int, now_s: float, *, focused: bool) -> Table:
    """Alarms by urgency; the selected one, or the one that `a` would acknowledge, stands out."""
    shown = columns_that_fit(ALARM_COLUMNS, width)
    alarms = choices.alarms(board)
    at = next((i for i, alarm in enumerate(alarms) if alarm.id == choices.alarm_id), -1)
    start = first_row(at, height - 1, len(alarms))
    lines, keys = [_heading(ALARM_COLUMNS, shown, focused=focused)], [""]
    for alarm in alarms[start : start + height - 1]:
        lines.append(_alarm_row(board, choices, alarm, shown, now_s))
        keys.append(alarm.id)
    if not alarms and height > 1:
        text = "  no alarm matches" if choices.alarm_filter else "  no alarms yet"
        lines.append((Part(text, Ink.FAINT, Ink.PANEL),))
    return Table(lines, keys)


def _alarm_row(board: Board, choices: Choices, alarm: Alarm, shown: list[int], now_s: float) -> Line:
    calls = is_live(alarm) and not alarm.acknowledged
    ground = Ink.SELECTED if alarm.id == choices.alarm_id else Ink.PANEL
    texts = (
        sign_of(alarm, choices), clock_text(alarm.raised_ns), title_of(alarm), alarm.stream,
        state_text(board, alarm),
        f"{alarm.score:.2f}/{number_text(alarm.threshold, 2)}" if score_text(alarm) else "",
        ago_text(board, alarm, now_s), board.verdict(alarm.id), alarm.model,
    )  # fmt: skip
    cells = [(texts[i], ALARM_COLUMNS[i].width) for i in shown]
    live_ink = ink_of(alarm) if calls and alarm.priority == "high" else Ink.TEXT
    ink = live_ink if calls else Ink.DIM
    return _row(cells, ink, ground, bold=calls, first=ink_of(alarm) if is_live(alarm) else Ink.FAINT)


def state_text(board: Board, alarm: Alarm) -> str:
    """Where the alarm is in its life, in a word; acknowledged and silenced say so."""
    if alarm.acknowledged and is_live(alarm):
        return "✓ seen"
    if alarm in board.silenced:
        return "silenced"
    return "over" if alarm.state in (State.CLEARED, State.OK) else alarm.state.value


def stream_table(
    board: Board, choices: Choices, shown_names: list[str], width: int, height: int, now_s: float, *, focused: bool
) -> Table:
    """The streams with their state and what became of their samples."""
    shown = columns_that_fit(STREAM_COLUMNS, width)
    names = choices.listed(board)
    at = names.index(choices.selected) if choices.selected in names else -1
    start = first_row(at, height - 1, len(names))
    connected = board.is_connected(now_s)
    lines, keys = [_heading(STREAM_COLUMNS, shown, focused=focused)], [""]
    for name in names[start : start + height - 1]:
        word, ink = condition(board, board.streams[name], now_s, connected=connected)
        mark = "*" if name in choices.pinned else "▪" if name in shown_names else ""
        texts = (mark if choices.glyphs.has_blocks else mark.replace("▪", "-"), name, word,
                 *_counts(board, board.streams[name], now_s))  # fmt: skip
        cells = [(texts[i], STREAM_COLUMNS[i].width) for i in shown]
        is_selected = name == choices.selected
        ground = Ink.SELECTED if is_selected else Ink.PANEL
        lines.append(_stream_row(cells, shown, ink, ground, bold=is_selected))
        keys.append(name)
    if not names and height > 1:
        text = "  no stream matches" if choices.filter else "  no streams yet"
        lines.append((Part(text, Ink.FAINT, Ink.PANEL),))
    return Table(lines, keys)


def _stream_row(cells: list[tuple[str, int]], shown: list[int], ink: Ink, ground: Ink, *, bold: bool) -> Line:
    parts = [Part(" ", Ink.DIM, ground)]
    for index, (text, width) in zip(shown, cells, strict=True):
        colour = ink if index in (0, 2) or (index == 1 and 2 not in shown) else Ink.TEXT if index == 1 else Ink.DIM
        padded = text[: width - 1].ljust(width) if index < 3 else text[: width - 1].rjust(width - 1) + " "
        parts.append(Part(padded, colour, ground, bold and index == 1))
    return tuple(parts)


def condition(board: Board, view: StreamView, now_s: float, *, connected: bool) -> tuple[str, Ink]:
    """How a stream is doing, in a word, and its colour."""
    stale_s = board.stale_s(view.name, now_s)
    rank = board.rank(view.name)
    if not connected:
        return "unknown", Ink.OLD
    if stale_s is not None:
        return f"no data {stale_s:.0f}s" if stale_s < 10 else "no data", Ink.MEDIUM
    fault = view.fault
    if fault is not None and RANK[fault.priority] >= rank:
        return fault_name(fault), Ink.TECHNICAL
    if rank:
        return ("low", "medium", "high")[rank - 1], (Ink.LOW, Ink.MEDIUM, Ink.HIGH)[rank - 1]
    if view.state is not None and view.state.warming:
        return "warming", Ink.LOW
    return "live", Ink.GOOD


def lag_text(board: Board, view: StreamView) -> str:
    """How far its newest sample lies behind the daemon's clock, where it keeps time with it."""
    if board.status is None or not view.newest_ns:
        return ""
    lag_s = (board.status.now_ns - view.newest_ns) / NS
    return f"{lag_s:.1f}s" if -1 < lag_s < 60 else f"{lag_s / 60:.0f}m" if 0 < lag_s < 6000 else ""


def is_current(board: Board, view: StreamView, now_s: float) -> bool:
    """Whether what was told last of a stream is true now: data come, and the signal can be believed."""
    return board.is_connected(now_s) and board.stale_s(view.name, now_s) is None and not view.faults


def _counts(board: Board, view: StreamView, now_s: float) -> tuple[str, ...]:
    if view.state is None:
        return ("", number_text(view.rate_hz) if view.rate_hz else "", "", "", "", "", "")
    ledger = view.state.ledger
    is_known = is_current(board, view, now_s)
    rate, share = (heart_rate(view), trouble(view)) if is_known else (math.nan, 0.0)
    has_rate = view.beats or math.isfinite(view.state.heart_rate_bpm)
    return (
        f"{rate:.0f}" if math.isfinite(rate) else NONE if has_rate else "", number_text(view.state.rate_hz),
        count_text(ledger.received), count_text(ledger.missing), f"{share:.0%}" if share else "",
        lag_text(board, view), count_text(view.state.events),
    )  # fmt: skip


def count_text(count: int) -> str:
    """A count in at most six characters."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= 10 * size:
            return f"{count / size:.0f}{unit}"
        if count >= size and unit != "k":
            return f"{count / size:.1f}{unit}"
    return str(count)


def numeral_lines(readings: list[Reading], width: int, height: int, *, blocks: bool) -> list[Line]:
    """Large numbers below each other, as many as there is room for, each behind a bar of its colour."""
    lines: list[Line] = []
    least = DIGIT_ROWS + 1
    rows = min(max(height // max(len(readings), 1), least), DIGIT_ROWS + 3)
    bar = "▌" if blocks else "|"
    for reading in readings:
        if len(lines) + least > height:
            break
        heading = (
            Part(f"{bar} ", reading.ink, Ink.PANEL),
            Part(reading.title, reading.ink, Ink.PANEL, bold=True),
            Part(f"  {reading.unit}", Ink.DIM, Ink.PANEL),
        )
        digits = big(_fitting(reading.value, width - 2, blocks=blocks), blocks=blocks)
        body = [(Part(f"{bar} {line}"[:width], reading.ink, Ink.PANEL),) for line in digits]
        note = (Part(f"{bar} ", reading.ink, Ink.PANEL), Part(reading.note, Ink.DIM, Ink.PANEL))
        block: list[Line] = [heading, *body, note, (Part("", Ink.DIM, Ink.PANEL),)]
        lines += block[:rows]
    return lines


def _fitting(value: str, width: int, *, blocks: bool) -> str:
    """A number with as many of its decimals as there is room for: one that is cut off would be another."""
    decimals = len(value.partition(".")[2])
    while decimals and len(big(value, blocks=blocks)[0]) > width and "e" not in value:
        decimals -= 1
        value = f"{float(value):.{decimals}f}"
    return value
