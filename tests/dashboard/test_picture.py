from __future__ import annotations

import numpy as np
import pytest

from monitor.core.blocks import NS, Kind
from monitor.dashboard.palette import Ink
from monitor.dashboard.picture import Options, draw_lane
from monitor.dashboard.raster import ASCII, BRAILLE, GLYPHS, Cells
from monitor.dashboard.scale import AutoRange
from monitor.dashboard.state import Board
from monitor.dashboard.timing import Timing
from tests.dashboard.making import (
    alarm,
    block,
    event,
    forecast,
    sine_board,
    state,
    text_of,
    timing,
)

PLAIN = Options(BRAILLE, grid=False)


def lane(board: Board, timing: Timing, options: Options = PLAIN, rows: int = 8) -> Cells:
    return draw_lane(board.streams["s"], 0, timing, rows, AutoRange(), options).cells


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
