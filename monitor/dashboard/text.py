"""Text from outside, made safe for a terminal: one cell a character, and no control codes."""

from __future__ import annotations

import unicodedata

PLACEHOLDER = "?"
_ASCII = str.maketrans("♡♥≥µ·↑↓←→✓▪●✖◌", "o*>u-^v<>+-*x?")


def plain(text: str) -> str:
    """`text` with everything that is not one visible cell wide replaced; names and units come from strangers."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if _is_plain(c) else PLACEHOLDER for c in text)


def to_ascii(text: str) -> str:
    """`text` for a terminal that knows nothing else, as long as before."""
    return text if text.isascii() else text.translate(_ASCII).encode("ascii", "replace").decode()


def _is_plain(c: str) -> bool:
    return c.isprintable() and not unicodedata.combining(c) and unicodedata.east_asian_width(c) not in "WF"
