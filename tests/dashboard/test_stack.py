from __future__ import annotations

import numpy as np
import pytest

from monitor.core.blocks import State
from monitor.dashboard.choices import Choices, ForecastMode, LaneKey
from monitor.dashboard.palette import Ink
from monitor.dashboard.stack import Stack, window_wanted_s
from monitor.dashboard.state import Board
from monitor.dashboard.themes import MONO
from tests.dashboard.making import T0, add_sine, alarm, block, event, forecast, sine_board, state, status, text_of


def draw(board: Board, choices: Choices, rows: int = 30, columns: int = 100, now_s: float = 0.0):
    choices.settle(board.names)
    return Stack().draw(board, choices, rows, columns, now_s)


def test_every_channel_is_a_lane_with_its_name():
    board = sine_board()
    add_sine(board, "t/1", 20.0, channels=2)
    picture = draw(board, Choices())
    assert [key for _, key in picture.lanes] == [LaneKey("s", 0), LaneKey("t/1", 0), LaneKey("t/1", 1)]
    rows = text_of(picture.cells)
    for (row, _), name in zip(picture.lanes, ("▸ s c0", "t/1 c0", "t/1 c1"), strict=True):
        assert name in rows[row]


def test_the_time_axis_ends_the_picture():
    last = text_of(draw(sine_board(), Choices()).cells)[-1]
    assert "now" in last
    assert "-2 s" in last


def test_disconnected_is_written_across_every_lane():
    board = sine_board()
    add_sine(board, "t", 20.0)
    text = "\n".join(text_of(draw(board, Choices(), now_s=10.0).cells))
    assert text.count("DISCONNECTED") == 2


def test_a_stream_that_stands_still_says_so():
    board = sine_board()
    board.fold(status(), 10.0)
    picture = draw(board, Choices(), now_s=10.0)
    assert "NO DATA for 10 s" in "\n".join(text_of(picture.cells))
    assert not (picture.cells.ink == Ink.TRACE).any()


def test_frozen_is_written_on_every_lane_and_nothing_moves():
    board = sine_board(now_s=0.0)
    choices = Choices()
    choices.settle(board.names)
    choices.freeze(board, 0.0)
    stack = Stack()
    before = stack.draw(board, choices, 20, 100, 0.0)
    board.fold(status(), 1.0)
    board.fold(block(np.full(300, 7.0), 20.0), 1.0)
    after = stack.draw(board, choices, 20, 100, 1.0)
    assert "FROZEN" in "\n".join(text_of(after.cells))
    assert after.cells.changed_rows(before.cells) == []
    choices.freeze(board, 1.0)
    assert choices.frozen is None
    assert stack.draw(board, choices, 20, 100, 1.0).cells.changed_rows(before.cells)


def test_alarms_show_on_a_frozen_picture():
    board = sine_board()
    choices = Choices()
    choices.settle(board.names)
    choices.freeze(board, 0.0)
    board.fold(alarm("a", 19.0, priority="high"), 0.0)
    assert "▲▲▲" in "\n".join(text_of(draw(board, choices).cells))


def test_gain_enlarges_the_selected_stream_only():
    board = sine_board()
    add_sine(board, "t", 20.0)
    choices = Choices()
    choices.settle(board.names)
    before = draw(board, choices).cells
    choices.step_gain(4)
    after = draw(board, choices)
    (_, _), (second, _) = after.lanes
    changed = after.cells.changed_rows(before)
    assert changed
    assert max(changed) < second
    assert "\N{MULTIPLICATION SIGN}4" in text_of(after.cells)[0]
    choices.auto_gain()
    assert draw(board, choices).cells.changed_rows(before) == []


def test_the_grid_can_be_left_out():
    board = sine_board()
    assert "┼" in "".join(text_of(draw(board, Choices()).cells))
    assert "┼" not in "".join(text_of(draw(board, Choices(grid=False)).cells))


def test_streams_with_one_time_base_look_equally_far_ahead():
    board = sine_board()
    add_sine(board, "t", 20.0)
    board.fold(forecast(19.99, np.zeros(100), stream="t"), 0.0)
    picture = draw(board, Choices(grid=False))
    (_, _), (second, _) = picture.lanes
    ends = [
        np.flatnonzero(
            (picture.cells.glyph[rows] != ord(" ")).any(axis=0)
            & (picture.cells.ink[rows] == Ink.TRACE).any(axis=0)
        )[-1]
        for rows in (slice(1, second), slice(second + 1, 29))
    ]
    assert abs(ends[0] - ends[1]) <= 1


def test_without_colour_the_interval_has_a_texture():
    board = sine_board()
    board.fold(forecast(19.99, np.zeros(100), half=0.8), 0.0)
    assert "░" in "".join(text_of(draw(board, Choices(palette=MONO)).cells))
    assert "░" not in "".join(text_of(draw(board, Choices()).cells))


def test_no_streams_yet():
    assert "waiting for streams" in "\n".join(text_of(draw(Board(), Choices()).cells))


@pytest.mark.parametrize("sweeps", [False, True])
def test_any_size(sweeps):
    board = sine_board()
    for i in range(5):
        add_sine(board, f"t{i}", 20.0, channels=3)
    board.fold(event(18.0, 19.0), 0.0)
    board.fold(alarm("a", 18.0, state=State.LATCHED), 0.0)
    for rows in (1, 2, 3, 5, 6, 24, 90):
        for columns in (1, 2, 3, 20, 80, 300):
            for forecast_mode in ForecastMode:
                choices = Choices(sweeps=sweeps, forecast=forecast_mode)
                assert draw(board, choices, rows, columns).cells.glyph.shape == (rows, columns)


def test_what_is_shown_is_what_is_fetched():
    board = sine_board()
    for i in range(9):
        board.fold(state(f"t{i}"), 0.0)
    choices = Choices()
    choices.settle(board.names)
    assert window_wanted_s(board, choices) == pytest.approx(dict.fromkeys(("s", "t0", "t1", "t2"), 7.2))
    choices.step_time(2)
    assert list(window_wanted_s(board, choices).values()) == pytest.approx([12.0] * 4)


def test_data_times_may_lie_in_any_year():
    assert T0 < 10**16  # 1970, while the wall clock of these tests is somewhere near zero seconds
    text = text_of(draw(sine_board(), Choices(), now_s=2.0).cells)
    assert "⡀" in "".join(text) or "⣀" in "".join(text)
