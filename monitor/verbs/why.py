"""What `monitor alarms show` prints: an alarm, why it was raised, and a small plot of it."""

from __future__ import annotations

import math
import os
import shutil
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from monitor.control import Why
    from monitor.core.evidence import Evidence, Foreseen
    from monitor.dashboard.raster import Cells

ROWS = 18
MOST_COLUMNS, FEWEST_COLUMNS = 110, 40
BAR = 24


def time_text(t_ns: int) -> str:
    """A data time, UTC."""
    return datetime.fromtimestamp(t_ns / 1e9, UTC).isoformat(timespec="milliseconds")


def as_map(why: Why) -> dict[str, Any]:
    """The same for JSON: arrays as lists of rows (time, channel), null for what is not known."""
    import msgspec

    told: dict[str, Any] = msgspec.to_builtins(why)
    if why.evidence is not None:
        told["evidence"] |= _lists(why.evidence, ("window",))
        if why.evidence.foreseen is not None:
            told["evidence"]["foreseen"] |= _lists(why.evidence.foreseen, ("came", "mean", "lower", "upper"))
    return told


def _lists(of: Evidence | Foreseen, names: tuple[str, ...]) -> dict[str, list[list[float | None]]]:
    from monitor.core.evidence import array_of

    return {
        name: [
            [None if math.isnan(v) else round(v, 7) for v in row] for row in array_of(raw, of.channels).tolist()
        ]
        for name, raw in ((name, getattr(of, name)) for name in names)
    }


def print_why(why: Why, card: Mapping[str, Any], *, glyphs_name: str) -> None:
    """Facts, a line each, and the plot; in colour on a terminal that wants it."""
    from monitor.dashboard.plot import draw_evidence, forecast_text, window_text
    from monitor.dashboard.raster import GLYPHS
    from monitor.dashboard.scale import number_text
    from monitor.dashboard.text import plain, to_ascii
    from monitor.dashboard.why import WORDS, bar_text, model_text

    glyphs = next(g for g in GLYPHS if g.name.startswith(glyphs_name))
    alarm, evidence = why.alarm, why.evidence
    seen = "acknowledged" if alarm.acknowledged else "not acknowledged"
    times = f", rose {alarm.times} times" if alarm.times > 1 else ""
    bar = bar_text(alarm.score, alarm.threshold, BAR, blocks=glyphs.has_blocks)
    facts = [
        ("alarm", f"{alarm.id}, {alarm.state}, {seen}, {alarm.priority} priority{times}"),
        ("kind", f"{alarm.kind}: {WORDS[alarm.kind]}"),
        ("score", f"{bar} {number_text(alarm.score)} against a threshold of {number_text(alarm.threshold)}"),
        ("model", model_text(alarm.model, card)),
        ("detail", alarm.detail),
    ]
    if evidence is not None:
        facts.append(("raised by", window_text(evidence, time_text(evidence.end_ns))))
        if alarm.model:
            facts.append(("forecast", forecast_text(evidence.foreseen)))
    elif alarm.model:
        facts.append(("raised by", "its window is no longer kept (alarm_log.keep_windows)"))
    if len(why.events) > 1:
        facts.append(
            ("events", f"{len(why.events)} while it lasted, the last at {time_text(why.events[-1].t_ns)}")
        )
    for note in why.notes:
        by = f" ({note.author})" if note.author else ""
        facts.append(("verdict" if note.verdict else "note", f"{note.verdict} {note.text}".strip() + by))
    click.echo(plain(f"{alarm.label}  {alarm.stream}  {time_text(alarm.raised_ns)}"))
    for name, text in facts:
        if text:
            click.echo(f"{name:>9}  {plain(text) if glyphs.has_blocks else to_ascii(plain(text))}")
    if evidence is not None:
        width = min(max(shutil.get_terminal_size((80, 24)).columns, FEWEST_COLUMNS), MOST_COLUMNS)
        click.echo()
        _print_cells(draw_evidence(evidence, ROWS, width - 1, glyphs))


def default_glyphs() -> str:
    """Braille where the output can show it, else ASCII."""
    try:
        "⣿░│".encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return "ascii"
    return "ascii" if os.environ.get("TERM") == "dumb" else "braille"


def _print_cells(cells: Cells) -> None:
    from monitor.dashboard.palette import Ink

    colours = {Ink.TRACE: "green", Ink.FORECAST: "yellow", Ink.GHOST: "yellow", Ink.DIM: "bright_black"}
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    for pieces in cells.runs(list(range(len(cells.glyph)))):
        line = "".join(
            click.style(text, fg=colours.get(Ink(ink))) if coloured else text for text, ink, _ in pieces
        )
        click.echo(line.rstrip(), color=coloured)
