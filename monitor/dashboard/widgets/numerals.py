"""The large numbers of the selected stream."""

from __future__ import annotations

from monitor.dashboard.choices import Choices
from monitor.dashboard.readings import readings
from monitor.dashboard.state import Board
from monitor.dashboard.tables import numeral_lines
from monitor.dashboard.widgets.lines import Lines


class Numerals(Lines):
    """Heart rate, anomaly score, forecast skill and error."""

    def update(self, board: Board, choices: Choices, now_s: float) -> None:
        """Show how things are, or pale how they last were."""
        view = board.streams.get(choices.selected)
        is_live = board.is_connected(now_s) and (view is None or board.stale_s(view.name, now_s) is None)
        models = view.state.models if view is not None and view.state is not None else ()
        is_heart = any(board.models.get(model, {}).get("task") == "beats" for model in models)
        found = readings(view, is_live=is_live, is_heart=is_heart)
        width, height = self.size
        self.show(numeral_lines(found, width, height, blocks=choices.glyphs.has_blocks), choices)
