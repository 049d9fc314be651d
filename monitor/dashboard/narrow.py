"""Only what changed goes to the terminal: partial updates that begin where the change does.

Textual sends a changed piece of a row from the left edge of its widget on, so that the two columns that a sweep
writes in a frame cost as much as the whole row. What is sent here begins at the change; all else is Textual's.
"""

from __future__ import annotations

from rich.console import Console
from textual._compositor import ChopsUpdate


class NarrowUpdate(ChopsUpdate):
    """A partial update of the screen, cropped on both sides."""

    @classmethod
    def of(cls, update: ChopsUpdate) -> NarrowUpdate:
        """The same update, sent with fewer bytes."""
        return cls(update.chops, update.spans, update.chop_ends)

    def render_segments(self, console: Console) -> str:
        """See ChopsUpdate."""
        parts: list[str] = []
        for y, x1, x2 in self.spans:
            for end, (x, strip) in zip(self.chop_ends[y], self.chops[y].items(), strict=False):
                first, last = max(x, x1), min(end, x2)
                if strip is None or first >= last:
                    continue
                parts.append(f"\x1b[{y + 1};{first + 1}H")  # go there
                parts.append(
                    (strip if (first, last) == (x, end) else strip.crop(first - x, last - x)).render(console)
                )
        return "".join(parts)
