from __future__ import annotations

import math

import numpy as np
import pytest

from monitor.core.blocks import NS, Kind, State
from monitor.dashboard.choices import Choices, ForecastMode, LaneKey
from monitor.dashboard.palette import Ink
from monitor.dashboard.picture import Options, draw_lane
from monitor.dashboard.raster import ASCII, BRAILLE, GLYPHS, Cells
from monitor.dashboard.scale import AutoRange
from monitor.dashboard.stack import Stack, window_wanted_s
from monitor.dashboard.state import Board
from monitor.dashboard.themes import MONO
from monitor.dashboard.timing import Timing
from tests.dashboard.making import T0, alarm, at, block, event, forecast, state, status

PLAIN = Options(BRAILLE, grid=False)


def text_of(cells: Cells) -> list[str]:
    return ["".join(text for text, _, _ in row) for row in cells.runs(list(range(len(cells.glyph))))]


def sine_board(seconds: float = 20.0, stream: str = "s", rate_hz: float = 100.0, *, now_s: float = 0.0) -> Board:
    board = Board()
    board.fold(status(), now_s)
    add_sine(board, stream, seconds, rate_hz, now_s)
    return board


def add_sine(
    board: Board, stream: str, seconds: float, rate_hz: float = 100.0, now_s: float = 0.0, channels: int = 1
):
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    values = np.repeat(np.sin(2 * math.pi * t)[:, None], channels, axis=1)
    board.fold(
        state(stream, newest_s=t[-1], rate_hz=rate_hz, channels=tuple(f"c{i}" for i in range(channels))), now_s
    )
    board.fold(block(values, 0.0, stream=stream, rate_hz=rate_hz), now_s)


def lane(board: Board, timing: Timing, options: Options = PLAIN, rows: int = 8) -> Cells:
    return draw_lane(board.streams["s"], 0, timing, rows, AutoRange(), options).cells


def timing(
    head_s: float, *, columns: int = 120, window_s: float = 4.0, ahead_s: float = 1.0, sweeps: bool = False
):
    return Timing.of(columns, window_s, ahead_s, at(head_s), sweeps=sweeps)


# timing


def test_now_stands_where_history_ends():
    there = timing(10.0)
    assert there.columns == 120
    assert there.history == 96
    assert there.position(np.array([at(10.0)]))[0] == pytest.approx(95.5, abs=0.51)


def test_what_is_to_come_never_takes_most_of_the_width():
    assert timing(0.0, ahead_s=1000.0).history == 78
    assert timing(0.0, ahead_s=0.0).history == 116


def test_ticks_are_round_and_labelled_from_now():
    ticks = timing(10.0).ticks()
    assert [text for _, text in ticks] == ["-3 s", "-2 s", "-1 s", "now", "+1 s"]
    assert {text: column for column, text in ticks}["now"] == 95


def test_ticks_of_a_sweep_count_from_the_left():
    ticks = timing(10.0, sweeps=True).ticks()
    assert ticks[0] == (0, "0 s")
    assert ticks[1][1] == "1 s"


@pytest.mark.parametrize("head_s", [10.0, 11.37, 14.99, 123.4])
def test_a_sweep_shows_the_same_columns_in_another_order(head_s):
    scroll, sweep = timing(head_s), timing(head_s, sweeps=True)
    ages = np.arange(scroll.columns)
    placed = sweep.placed(ages)
    assert sorted(placed) == ages.tolist()
    assert placed[sweep.head % sweep.columns] == scroll.history - 1  # now
    assert all(placed[sweep.placed_column(age)] == age for age in (0, 50, 119))


def test_in_a_sweep_time_stands_still_on_the_screen():
    before, after = timing(10.0, sweeps=True), timing(10.5, sweeps=True)
    assert before.column_ns == after.column_ns
    now, then = (one.placed_column(one.history - 1) for one in (after, before))
    moved = (now - then) % before.columns
    assert moved == pytest.approx(0.5 * NS / before.column_ns, abs=1)


# a lane


def test_a_stream_without_samples_is_an_empty_lane():
    board = Board()
    board.fold(state(), 0.0)
    assert set("".join(text_of(lane(board, timing(1.0))))) == {" "}


def test_a_curve_keeps_its_shape_while_it_scrolls():
    board = sine_board()
    step_s = 2 * timing(0.0).column_ns / NS  # one cell
    pictures = [text_of(lane(board, timing(15.0 + i * step_s))) for i in range(4)]
    for i in range(1, 4):
        cut = 40
        assert [row[:cut] for row in pictures[i]] == [row[i : cut + i] for row in pictures[0]]


def test_a_curve_has_a_dot_in_every_column_it_crosses():
    rows = np.array([list(row) for row in text_of(lane(sine_board(), timing(15.0)))])
    drawn = (rows != " ").any(axis=0)
    assert drawn.all()  # data goes on to 20 s, beyond now


def test_nothing_is_drawn_before_the_first_sample_or_after_the_newest():
    cells = lane(sine_board(2.0), timing(1.99))
    drawn = (cells.glyph != ord(" ")).any(axis=0)
    assert not drawn[:20].any()
    assert not drawn[49:].any()
    assert drawn[25:47].all()


def test_missing_samples_are_a_gap_on_a_ground_of_its_own():
    board = Board()
    board.fold(block(np.ones(200), 0.0), 0.0)
    board.fold(block(np.ones(200), 3.0), 0.0)
    cells = lane(board, timing(5.0, window_s=5.0))
    gap = cells.ground[0] == Ink.BAND_TECHNICAL
    drawn = (cells.glyph != ord(" ")).any(axis=0)
    assert 8 <= gap.sum() <= 12
    assert not drawn[gap][1:-1].any()


def test_the_forecast_is_drawn_after_the_newest_sample_only():
    board = sine_board(10.0)
    board.fold(forecast(9.5, np.zeros(200), half=0.4), 0.0)  # half a second of it has come already
    cells = lane(board, timing(9.99))
    where = (cells.ink == Ink.FORECAST) & (cells.glyph != ord(" "))
    columns = np.flatnonzero(where.any(axis=0))
    assert columns[0] >= 47
    assert columns[-1] == 59
    assert (cells.ground[:, columns[0] + 2 :] == Ink.FAN).any()
    assert not (cells.ground[:, :47] == Ink.FAN).any()


def test_a_forecast_can_be_left_out():
    board = sine_board(10.0)
    board.fold(forecast(9.99, np.zeros(200)), 0.0)
    for options in (Options(BRAILLE, grid=False, forecast=False), Options(BRAILLE, grid=False, alive=False)):
        cells = lane(board, timing(9.99), options)
        assert not (cells.ink == Ink.FORECAST).any()
        assert not (cells.ground == Ink.FAN).any()


def test_a_forecast_whose_time_has_passed_is_gone():
    board = sine_board(10.0)
    board.fold(forecast(5.0, np.zeros(50)), 0.0)
    assert not (lane(board, timing(9.99)).ink == Ink.FORECAST).any()


def test_a_forecast_with_holes_draws_what_there_is():
    board = sine_board(10.0)
    mean = np.zeros(100)
    mean[20:50] = np.nan
    mean[60] = np.inf
    board.fold(forecast(9.99, mean), 0.0)
    cells = lane(board, timing(9.99))
    assert (cells.ink == Ink.FORECAST).any()


def test_what_had_been_forecast_can_be_seen_behind_what_came():
    board = Board()
    board.fold(block(np.zeros(500), 0.0), 0.0)
    board.fold(forecast(4.99, np.ones(100)), 0.0)
    board.fold(block(np.zeros(100), 5.0), 0.0)
    with_past = lane(board, timing(5.99), Options(BRAILLE, grid=False, ghosts=True))
    assert (with_past.ink == Ink.GHOST).any()
    assert not (lane(board, timing(5.99)).ink == Ink.GHOST).any()


def test_a_trace_that_is_not_live_is_pale():
    cells = lane(sine_board(), timing(15.0), Options(BRAILLE, grid=False, alive=False))
    assert set(np.unique(cells.ink[cells.glyph != ord(" ")])) == {Ink.OLD}


def test_a_band_covers_its_time_with_label_and_score():
    board = sine_board()
    board.fold(event(12.0, 13.0, score=0.87), 0.0)
    cells = lane(board, timing(15.0))
    band = np.flatnonzero(cells.ground[0] == Ink.BAND_MEDIUM)
    assert 11 <= len(band) <= 14
    assert abs(band[0] - 12) <= 1  # 4 s in 48 cells, now at the 48th: 12 s stand at the 12th
    assert text_of(cells)[-1][band[0] :].startswith("V 0.87")


def test_in_a_band_of_high_priority_the_trace_is_red():
    board = sine_board()
    board.fold(event(12.0, 13.0), 0.0)
    board.fold(alarm("a", 12.5, priority="high"), 0.0)
    cells = lane(board, timing(15.0))
    band = cells.ground[0] == Ink.BAND_HIGH
    drawn = cells.glyph[:-1] != ord(" ")
    assert set(cells.ink[:-1, band][drawn[:, band]]) == {Ink.HIGH}
    assert Ink.HIGH not in set(cells.ink[:-1, ~band][drawn[:, ~band]])


def test_the_urgent_label_wins_where_two_would_collide():
    board = sine_board()
    board.fold(event(12.0, 12.6, label="low", kind=Kind.DEVIATION), 0.0)
    board.fold(alarm("a", 12.1, priority="low", label="low", kind=Kind.DEVIATION), 0.0)
    board.fold(event(12.1, 12.6, label="urgent"), 0.0)
    last = text_of(lane(board, timing(15.0)))[-1]
    assert "urgent" in last
    assert "low" not in last


def test_a_flat_line_and_one_sample_can_be_drawn():
    board = Board()
    board.fold(block([1.0], 0.0), 0.0)
    assert (lane(board, timing(0.0)).glyph != ord(" ")).any()


def test_one_wild_sample_does_not_flatten_the_rest():
    board = Board()
    values = np.sin(np.arange(2000) / 16)
    values[1800] = 1e6
    board.fold(block(values, 0.0), 0.0)
    shown = draw_lane(board.streams["s"], 0, timing(19.9), 8, AutoRange(), PLAIN).shown
    assert shown.span < 10


def test_a_spike_of_one_sample_in_a_million_is_seen():
    board = Board()
    values = np.zeros(400_000, np.float32)
    values[250_000] = 1.0
    board.fold(block(values, 0.0, rate_hz=100_000.0), 0.0)
    shown = draw_lane(board.streams["s"], 0, timing(4.0), 8, AutoRange(), PLAIN)
    assert (shown.cells.glyph[1] != ord(" ")).any()


@pytest.mark.parametrize("glyphs", GLYPHS, ids=lambda g: g.name)
@pytest.mark.parametrize("sweeps", [False, True])
@pytest.mark.parametrize("rows", [1, 2, 5, 30])
def test_every_size_and_glyph_set_draws(glyphs, sweeps, rows):
    board = sine_board()
    board.fold(forecast(19.99, np.zeros(100)), 0.0)
    board.fold(event(18.0, 18.5), 0.0)
    for columns in (1, 2, 7, 80):
        there = timing(19.99, columns=columns * glyphs.wide, sweeps=sweeps)
        cells = lane(board, there, Options(glyphs, ghosts=True), rows)
        assert cells.glyph.shape == (rows, columns)


def test_ascii_is_ascii():
    board = sine_board()
    board.fold(forecast(19.99, np.zeros(100)), 0.0)
    cells = lane(board, timing(19.99, columns=60), Options(ASCII))
    assert "".join(text_of(cells)).isascii()


# the stack


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
