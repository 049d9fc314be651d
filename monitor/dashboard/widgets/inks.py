"""Inks to Rich styles, and lines of parts to strips."""

from __future__ import annotations

from functools import lru_cache

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from monitor.dashboard.palette import EMPHATIC, FADED, REVERSED, Ink, Line, Palette
from monitor.dashboard.text import plain, to_ascii


@lru_cache(4096)
def style(palette: Palette, ink: int, ground: int, bold: bool = False) -> Style:
    """How `ink` on `ground` looks; without colours, by weight and reversal."""
    if palette.colours:
        return Style(color=palette.colours[ink], bgcolor=palette.colours[ground], bold=bold)
    return Style(bold=bold or ink in EMPHATIC, dim=ink in FADED, reverse=ground in REVERSED)


def strip(line: Line, width: int, palette: Palette, *, is_ascii: bool = False) -> Strip:
    """A line of text as a strip of just this width."""
    clean = to_ascii if is_ascii else plain
    segments, room = [], width
    for part in line:
        text = clean(part.text)[:room]
        if text:
            segments.append(Segment(text, style(palette, part.ink, part.ground, part.bold)))
            room -= len(text)
    if room:
        ground = line[-1].ground if line else Ink.PANEL
        segments.append(Segment(" " * room, style(palette, Ink.DIM, ground)))
    return Strip(segments, width)
