"""The themes: how each ink looks in the dark, in the light, on paper, with 16 colours, and with none."""

from __future__ import annotations

from collections.abc import Mapping

from monitor.dashboard.palette import Ink, Palette

DARK = Palette(
    "dark",
    is_dark=True,
    colours={
        Ink.PAPER: "#05080b",
        Ink.PANEL: "#0a1117",
        Ink.BAR: "#111b22",
        Ink.TEXT: "#d8e2e6",
        Ink.DIM: "#7d8d96",
        Ink.FAINT: "#4a5a63",
        Ink.GRID: "#15303a",
        Ink.GRID_MAJOR: "#1f4853",
        Ink.TRACE: "#36f294",
        Ink.TRACE_2: "#3ec5f7",
        Ink.TRACE_3: "#c3a5ff",
        Ink.TRACE_4: "#d9e6a0",
        Ink.OLD: "#5d6a70",
        Ink.FORECAST: "#ffb454",
        Ink.FAN: "#3b2a15",
        Ink.GHOST: "#8a6430",
        Ink.GOOD: "#36f294",
        Ink.LOW: "#57c7ff",
        Ink.MEDIUM: "#ffd43b",
        Ink.HIGH: "#ff4d5e",
        Ink.TECHNICAL: "#9fb3bd",
        Ink.BAND_LOW: "#0e2a38",
        Ink.BAND_MEDIUM: "#37310f",
        Ink.BAND_HIGH: "#48161e",
        Ink.BAND_TECHNICAL: "#1b242a",
        Ink.BANNER_HIGH: "#ff4d5e",
        Ink.BANNER_MEDIUM: "#ffd43b",
        Ink.BANNER_LOW: "#57c7ff",
        Ink.SELECTED: "#1d4a63",
        Ink.INVERSE: "#0a0d10",
    },
)

LIGHT = Palette(
    "light",
    is_dark=False,
    colours={
        Ink.PAPER: "#fbfcfd",
        Ink.PANEL: "#f1f4f6",
        Ink.BAR: "#e2e8ec",
        Ink.TEXT: "#16212a",
        Ink.DIM: "#566570",
        Ink.FAINT: "#93a1ab",
        Ink.GRID: "#dfe8ec",
        Ink.GRID_MAJOR: "#c3d3da",
        Ink.TRACE: "#0b7a3e",
        Ink.TRACE_2: "#0a67a3",
        Ink.TRACE_3: "#6b3fb5",
        Ink.TRACE_4: "#6f6a00",
        Ink.OLD: "#98a3aa",
        Ink.FORECAST: "#b35c00",
        Ink.FAN: "#fbe3c8",
        Ink.GHOST: "#d3a26b",
        Ink.GOOD: "#0b7a3e",
        Ink.LOW: "#0a67a3",
        Ink.MEDIUM: "#8f6a00",
        Ink.HIGH: "#c4122f",
        Ink.TECHNICAL: "#5b6b76",
        Ink.BAND_LOW: "#d6ecfa",
        Ink.BAND_MEDIUM: "#f6eab2",
        Ink.BAND_HIGH: "#f9d0d5",
        Ink.BAND_TECHNICAL: "#e3e9ed",
        Ink.BANNER_HIGH: "#c4122f",
        Ink.BANNER_MEDIUM: "#8f6a00",
        Ink.BANNER_LOW: "#0a67a3",
        Ink.SELECTED: "#bfe0f5",
        Ink.INVERSE: "#ffffff",
    },
)

PAPER = Palette(
    "ECG paper",
    is_dark=False,
    colours={
        Ink.PAPER: "#fff6f3",
        Ink.PANEL: "#fdeae6",
        Ink.BAR: "#fbdcd5",
        Ink.TEXT: "#2a1613",
        Ink.DIM: "#85625b",
        Ink.FAINT: "#c0a09a",
        Ink.GRID: "#fbd9d3",
        Ink.GRID_MAJOR: "#f0b3aa",
        Ink.TRACE: "#14140f",
        Ink.TRACE_2: "#7a1f2e",
        Ink.TRACE_3: "#3a2a6b",
        Ink.TRACE_4: "#5a4a00",
        Ink.OLD: "#b3a09b",
        Ink.FORECAST: "#b5500a",
        Ink.FAN: "#f6ddc6",
        Ink.GHOST: "#d8a678",
        Ink.GOOD: "#1f6b3a",
        Ink.LOW: "#1f5f99",
        Ink.MEDIUM: "#8a6200",
        Ink.HIGH: "#c1121f",
        Ink.TECHNICAL: "#7a6a66",
        Ink.BAND_LOW: "#d9e8f2",
        Ink.BAND_MEDIUM: "#efdfb4",
        Ink.BAND_HIGH: "#f3bcc0",
        Ink.BAND_TECHNICAL: "#eadfdb",
        Ink.BANNER_HIGH: "#c1121f",
        Ink.BANNER_MEDIUM: "#8a6200",
        Ink.BANNER_LOW: "#1f5f99",
        Ink.SELECTED: "#f2c4bc",
        Ink.INVERSE: "#ffffff",
    },
)

OKABE_ITO = Palette(
    "colour-blind safe",
    is_dark=True,
    colours={
        Ink.PAPER: "#06080a",
        Ink.PANEL: "#0c1116",
        Ink.BAR: "#131b22",
        Ink.TEXT: "#e6ebee",
        Ink.DIM: "#8796a0",
        Ink.FAINT: "#4f5d66",
        Ink.GRID: "#16303a",
        Ink.GRID_MAJOR: "#21485a",
        Ink.TRACE: "#56b4e9",
        Ink.TRACE_2: "#009e73",
        Ink.TRACE_3: "#cc79a7",
        Ink.TRACE_4: "#f0e442",
        Ink.OLD: "#5d6a70",
        Ink.FORECAST: "#e69f00",
        Ink.FAN: "#3a2a0a",
        Ink.GHOST: "#8a6720",
        Ink.GOOD: "#56b4e9",
        Ink.LOW: "#009e73",
        Ink.MEDIUM: "#f0e442",
        Ink.HIGH: "#ff7a33",
        Ink.TECHNICAL: "#a9b4ba",
        Ink.BAND_LOW: "#06302a",
        Ink.BAND_MEDIUM: "#3a380e",
        Ink.BAND_HIGH: "#4d2208",
        Ink.BAND_TECHNICAL: "#1b242a",
        Ink.BANNER_HIGH: "#ff7a33",
        Ink.BANNER_MEDIUM: "#f0e442",
        Ink.BANNER_LOW: "#2cc79a",
        Ink.SELECTED: "#0e4a6b",
        Ink.INVERSE: "#06080a",
    },
)
"""After Okabe and Ito: told apart with any kind of colour vision. High is vermilion, medium yellow, low green."""

BASIC = Palette(
    "16 colours",
    is_dark=True,
    colours={
        Ink.PAPER: "black",
        Ink.PANEL: "black",
        Ink.BAR: "black",
        Ink.TEXT: "white",
        Ink.DIM: "bright_black",
        Ink.FAINT: "bright_black",
        Ink.GRID: "bright_black",
        Ink.GRID_MAJOR: "bright_black",
        Ink.TRACE: "bright_green",
        Ink.TRACE_2: "bright_cyan",
        Ink.TRACE_3: "bright_magenta",
        Ink.TRACE_4: "bright_yellow",
        Ink.OLD: "bright_black",
        Ink.FORECAST: "yellow",
        Ink.FAN: "bright_black",
        Ink.GHOST: "yellow",
        Ink.GOOD: "bright_green",
        Ink.LOW: "bright_blue",
        Ink.MEDIUM: "bright_yellow",
        Ink.HIGH: "bright_red",
        Ink.TECHNICAL: "white",
        Ink.BAND_LOW: "bright_black",
        Ink.BAND_MEDIUM: "blue",
        Ink.BAND_HIGH: "white",
        Ink.BAND_TECHNICAL: "bright_black",
        Ink.BANNER_HIGH: "bright_red",
        Ink.BANNER_MEDIUM: "bright_yellow",
        Ink.BANNER_LOW: "bright_blue",
        Ink.SELECTED: "blue",
        Ink.INVERSE: "black",
    },
)
"""What a terminal has that knows 16 colours."""

MONO = Palette("no colour", is_dark=True, colours={})
"""Weight and reversal only: for NO_COLOR, and for who prefers it."""

PALETTES = (DARK, LIGHT, PAPER, OKABE_ITO, BASIC, MONO)

_SIXTEEN = dict(
    zip(
        ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"],
        ("#000000", "#aa0000", "#00aa00", "#aa5500", "#0000aa", "#aa00aa", "#00aaaa", "#aaaaaa"),
        strict=True,
    )
)
_BRIGHT = ("#555555", "#ff5555", "#55ff55", "#ffff55", "#5555ff", "#ff55ff", "#55ffff", "#ffffff")
_RGB: Mapping[str, str] = _SIXTEEN | {f"bright_{name}": rgb for name, rgb in zip(_SIXTEEN, _BRIGHT, strict=True)}


def rgb(palette: Palette, ink: Ink) -> str:
    """How an ink looks as #rrggbb, for what cannot name one of the 16 colours."""
    colour = (palette.colours or DARK.colours)[ink]
    return _RGB.get(colour, colour)


def palette_named(name: str) -> Palette | None:
    """The palette whose name begins like this."""
    wanted = name.strip().lower()
    return next((p for p in PALETTES if wanted and p.name.lower().startswith(wanted)), None)


def theme_name(palette: Palette) -> str:
    """What Textual calls it."""
    return "foretrace-" + palette.name.replace(" ", "-").lower()
