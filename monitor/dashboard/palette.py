"""Colours by meaning: what is drawn names an `Ink`, a palette says how that looks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, auto
from typing import NamedTuple


class Ink(IntEnum):
    """What a cell shows; the same names serve for what is drawn and for what lies behind it."""

    PAPER = 0
    PANEL = auto()
    BAR = auto()
    """Behind header, footer and headings."""
    TEXT = auto()
    DIM = auto()
    FAINT = auto()
    GRID = auto()
    GRID_MAJOR = auto()
    TRACE = auto()
    TRACE_2 = auto()
    TRACE_3 = auto()
    TRACE_4 = auto()
    OLD = auto()
    """A trace that is no longer live."""
    FORECAST = auto()
    FAN = auto()
    GHOST = auto()
    """What had been forecast, behind what came."""
    GOOD = auto()
    LOW = auto()
    MEDIUM = auto()
    HIGH = auto()
    TECHNICAL = auto()
    BAND_LOW = auto()
    BAND_MEDIUM = auto()
    BAND_HIGH = auto()
    BAND_TECHNICAL = auto()
    BANNER_HIGH = auto()
    BANNER_MEDIUM = auto()
    BANNER_LOW = auto()
    SELECTED = auto()
    """Behind the selected row."""
    INVERSE = auto()
    """Text on a bright ground."""


TRACES = (Ink.TRACE, Ink.TRACE_2, Ink.TRACE_3, Ink.TRACE_4)
REVERSED = frozenset(
    {
        Ink.BAND_LOW,
        Ink.BAND_MEDIUM,
        Ink.BAND_HIGH,
        Ink.BANNER_HIGH,
        Ink.BANNER_MEDIUM,
        Ink.BANNER_LOW,
        Ink.SELECTED,
    }
)
"""Grounds that are shown in reverse video where there is no colour."""
EMPHATIC = frozenset({*TRACES, Ink.TEXT, Ink.HIGH, Ink.MEDIUM, Ink.INVERSE})
"""Inks that are bold where there is no colour."""


FADED = frozenset({Ink.FAINT, Ink.GRID, Ink.GRID_MAJOR, Ink.GHOST, Ink.OLD})
"""Inks that are dim where there is no colour."""


class Part(NamedTuple):
    """A piece of a line of text."""

    text: str
    ink: Ink = Ink.TEXT
    ground: Ink = Ink.PAPER
    bold: bool = False


Line = tuple[Part, ...]


@dataclass(frozen=True, eq=False)
class Palette:
    """The colours of one theme."""

    name: str
    is_dark: bool
    colours: Mapping[int, str]
    """By Ink; empty for a terminal that shall show none."""
