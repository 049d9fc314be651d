"""Digits three rows high."""

from __future__ import annotations

ROWS = 3

_BLOCKS = {
    "0": ("█▀█", "█ █", "▀▀▀"), "1": ("▀█ ", " █ ", "▀▀▀"), "2": ("▀▀█", "█▀▀", "▀▀▀"),
    "3": ("▀▀█", "▀▀█", "▀▀▀"), "4": ("█ █", "▀▀█", "  ▀"), "5": ("█▀▀", "▀▀█", "▀▀▀"),
    "6": ("█▀▀", "█▀█", "▀▀▀"), "7": ("▀▀█", "  █", "  ▀"), "8": ("█▀█", "█▀█", "▀▀▀"),
    "9": ("█▀█", "▀▀█", "▀▀▀"), ".": (" ", " ", "▀"), "-": ("  ", "▀▀", "  "),
    "+": (" ▄ ", "▀█▀", "   "), " ": (" ", " ", " "), "e": ("   ", "█▀▀", "▀▀▀"),
}  # fmt: skip
_SEGMENTS = {
    "0": (" _ ", "| |", "|_|"), "1": ("   ", "  |", "  |"), "2": (" _ ", " _|", "|_ "),
    "3": (" _ ", " _|", " _|"), "4": ("   ", "|_|", "  |"), "5": (" _ ", "|_ ", " _|"),
    "6": (" _ ", "|_ ", "|_|"), "7": (" _ ", "  |", "  |"), "8": (" _ ", "|_|", "|_|"),
    "9": (" _ ", "|_|", " _|"), ".": (" ", " ", "."), "-": ("  ", "__", "  "),
    "+": ("   ", "_|_", " | "), " ": (" ", " ", " "), "e": ("   ", " _ ", "|_ "),
}  # fmt: skip


def big(text: str, *, blocks: bool = True) -> tuple[str, str, str]:
    """Text of digits, sign and point as three lines; other characters are left out."""
    table = _BLOCKS if blocks else _SEGMENTS
    glyphs = [table[c] for c in text if c in table]
    top, middle, bottom = (" ".join(glyph[row] for glyph in glyphs) for row in range(ROWS))
    return top, middle, bottom
