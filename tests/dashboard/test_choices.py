from __future__ import annotations

import pytest

from monitor.dashboard.choices import MAX_LANES, Choices, ForecastMode, LaneKey
from monitor.dashboard.raster import GLYPHS
from monitor.dashboard.state import Board
from tests.dashboard.making import alarm, state


def board_of(*widths: int) -> Board:
    board = Board()
    for i, width in enumerate(widths):
        board.fold(state(f"s{i}", channels=tuple("abcdefgh"[:width])), 0.0)
    return board


def chosen(board: Board, selected: str = "", **more) -> Choices:
    choices = Choices(selected=selected, **more)
    choices.settle(board.names)
    return choices


def names(lanes: list[LaneKey]) -> list[str]:
    return [f"{stream}.{channel}" for stream, channel in lanes]


def test_something_that_exists_is_selected():
    assert chosen(board_of(1, 1)).selected == "s0"
    assert chosen(board_of(1, 1), "s1").selected == "s1"
    assert chosen(Board()).selected == ""


def test_the_stream_one_came_for_is_selected_once_it_is_there():
    choices = Choices(selected="s1")
    choices.settle(["s0"])
    assert choices.selected == "s0"
    choices.settle(["s0", "s1"])
    assert choices.selected == "s1"


def test_a_stream_chosen_by_hand_stays():
    choices = Choices(selected="s9")
    choices.settle(["s0", "s1"])
    choices.step_stream(["s0", "s1"], 1)
    choices.settle(["s0", "s1", "s9"])
    assert choices.selected == "s1"


def test_a_stream_that_went_is_selected_again_when_it_comes_back():
    choices = chosen(board_of(1, 1), "s1")
    choices.settle([])
    choices.settle(["s0"])
    choices.settle(["s0", "s1"])
    assert choices.selected == "s1"


def test_streams_go_round():
    choices = chosen(board_of(1, 1, 1))
    choices.step_stream(["s0", "s1", "s2"], -1)
    assert choices.selected == "s2"
    choices.step_stream(["s0", "s1", "s2"], 1)
    assert choices.selected == "s0"
    choices.step_stream([], 1)
    assert choices.selected == "s0"


def test_four_streams_are_shown_with_the_selected_among_them():
    board = board_of(*[1] * 10)
    assert chosen(board).streams_shown(board.names) == ["s0", "s1", "s2", "s3"]
    assert chosen(board, "s6").streams_shown(board.names) == ["s4", "s5", "s6", "s7"]
    assert chosen(board, "s9").streams_shown(board.names) == ["s8", "s9"]


def test_pinned_streams_stay_and_the_selected_joins_them():
    board = board_of(*[1] * 10)
    choices = chosen(board, "s7")
    choices.pin()
    assert choices.streams_shown(board.names) == ["s7"]
    choices.select("s2")
    assert choices.streams_shown(board.names) == ["s7", "s2"]
    choices.select("s7")
    choices.pin()
    assert choices.streams_shown(board.names) == ["s4", "s5", "s6", "s7"]


def test_a_pinned_stream_that_has_gone_is_not_shown():
    board = board_of(1, 1)
    assert chosen(board, pinned=["gone", "s1"]).streams_shown(board.names) == ["s1", "s0"]


def test_every_channel_is_a_lane_where_there_is_room():
    board = board_of(2, 1)
    assert names(chosen(board).lanes(board, 30)) == ["s0.0", "s0.1", "s1.0"]


def test_where_there_is_little_room_every_stream_keeps_its_first_channel():
    board = board_of(3, 3, 3)
    assert names(chosen(board).lanes(board, 12)) == ["s0.0", "s1.0", "s2.0"]
    assert names(chosen(board, "s1").lanes(board, 16)) == ["s0.0", "s1.0", "s1.1", "s2.0"]


@pytest.mark.parametrize("selected", ["s0", "s1", "s2"])
def test_the_selected_stream_never_goes_without(selected):
    board = board_of(2, 2, 2)
    for rows in (0, 1, 4):
        assert names(chosen(board, selected).lanes(board, rows)) == [f"{selected}.0"]


def test_the_number_of_lanes_is_bounded():
    board = board_of(8, 8, 8, 8)
    assert len(chosen(board).lanes(board, 1000)) == MAX_LANES


def test_alarms_are_chosen_in_the_order_of_the_table():
    board = Board()
    for i in range(3):
        board.fold(alarm(f"a{i}", i), 0.0)
    choices = Choices()
    seen = []
    for _ in range(5):
        choices.step_alarm(board, 1)
        seen.append(choices.alarm_id)
    assert seen == ["a2", "a1", "a0", "a0", "a0"]
    choices.step_alarm(board, -1)
    assert choices.alarm_id == "a1"


def test_without_alarms_there_is_none_to_choose():
    choices = Choices()
    choices.step_alarm(Board(), 1)
    assert choices.alarm_id == ""


def test_switches_go_round():
    choices = Choices()
    for _ in ForecastMode:
        choices.toggle("forecast")
    for _ in GLYPHS:
        choices.toggle("glyphs")
    assert choices.forecast is ForecastMode.AHEAD
    assert choices.glyphs is GLYPHS[0]
    choices.toggle("sweeps")
    choices.toggle("grid")
    assert choices.sweeps
    assert not choices.grid


def test_every_change_is_told():
    board = board_of(1, 1)
    choices = chosen(board)
    actions = [
        lambda: choices.select("s1"), choices.pin, lambda: choices.step_gain(1), choices.auto_gain,
        lambda: choices.step_time(1), lambda: choices.toggle("grid"), lambda: choices.freeze(board, 0.0),
        lambda: choices.select_alarm("x"), lambda: choices.step_stream(board.names, 1),
    ]  # fmt: skip
    for action in actions:
        before = choices.version
        action()
        assert choices.version > before


def test_gain_and_time_have_ends():
    choices = chosen(board_of(1))
    for _ in range(100):
        choices.step_gain(1)
        choices.step_time(-1)
    assert choices.gain_steps["s0"] == 12
    assert choices.time_steps == -24
