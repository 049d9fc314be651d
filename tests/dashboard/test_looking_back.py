"""The time machine: scrolling, the cursor, events before and after, and what they show."""

from __future__ import annotations

import numpy as np
import pytest

from monitor.core.blocks import NS, Note
from monitor.dashboard import timemachine
from monitor.dashboard.choices import Choices
from monitor.dashboard.cursor import value_text
from monitor.dashboard.palette import Ink
from monitor.dashboard.past import Past, draw_past, mark_moment, moment_at
from monitor.dashboard.raster import BRAILLE
from monitor.dashboard.stack import Stack, window_wanted_s
from monitor.dashboard.state import Board
from tests.dashboard.making import at, block, event, state


def long_board(seconds: int = 60) -> Board:
    board = Board()
    board.fold(state("s", newest_s=seconds), 0.0)
    board.fold(block(np.arange(seconds * 100 + 1) / 100, 0.0), 0.0)  # the value is the time in seconds
    return board


def looking(board: Board) -> Choices:
    choices = Choices()
    choices.settle(board.names)
    return choices


def text_of(board: Board, choices: Choices, rows: int = 12, columns: int = 80) -> str:
    cells = Stack().draw(board, choices, rows, columns, 0.0).cells
    return "\n".join("".join(map(chr, row)) for row in cells.glyph.tolist())


def test_scrolling_freezes_and_shows_what_was():
    board = long_board()
    choices = looking(board)
    timemachine.scroll(board, choices, -20.0, 0.0)
    assert choices.frozen.head_ns("s") == at(40.0)
    assert "13:47:20.000" in text_of(board, choices)  # 40 s into the signal, on the clock
    timemachine.scroll(board, choices, 50.0, 0.0)
    assert choices.frozen.head_ns("s") == at(60.0)
    choices.live()
    assert choices.frozen is None


def test_there_is_an_end_to_the_past():
    board = long_board()
    choices = looking(board)
    timemachine.scroll(board, choices, -1e9, 0.0)
    assert choices.frozen.back_s == timemachine.REACH_S - 6.0


def test_of_a_recording_the_past_ends_where_it_begins():
    board = Board(length_s=60.0)
    board.fold(block(np.zeros(6001), 0.0), 0.0)
    choices = looking(board)
    timemachine.scroll(board, choices, -1e9, 0.0)
    assert choices.frozen.back_s == pytest.approx(54.0)
    assert board.stale_s("s", 1e6) is None


def test_the_cursor_shows_the_value_in_units():
    board = long_board()
    choices = looking(board)
    timemachine.move_cursor(board, choices, -1.5, 0.0)
    assert choices.frozen.cursor_ns("s") == at(58.5)
    seen = text_of(board, choices)
    assert "+58.5 mV" in seen
    assert "13:47:38.500" in seen


def test_the_cursor_takes_the_picture_along_at_the_edges():
    board = long_board()
    choices = looking(board)
    timemachine.move_cursor(board, choices, -5.0, 0.0)
    timemachine.move_cursor(board, choices, -5.0, 0.0)
    assert choices.frozen.back_s == pytest.approx(10 - 6 * 0.98)
    timemachine.move_cursor(board, choices, 5.88, 0.0)
    timemachine.move_cursor(board, choices, 100.0, 0.0)
    assert (choices.frozen.back_s, choices.frozen.cursor_s) == (0.0, 0.0)


def test_where_no_sample_is_the_cursor_says_so():
    board = long_board()
    board.fold(block([1.0], 70.0), 0.0)
    assert value_text(board.streams["s"], at(65.0), 0) == "no sample"


def test_from_event_to_event_and_to_notes():
    board = long_board()
    for start in (10.0, 30.0):
        board.fold(event(start, start + 0.5), 0.0)
    board.fold(Note("n", "s", at(20.0), 0, "here"), 0.0)
    choices = looking(board)
    seen = []
    for by in (-1, -1, -1, -1, 1, 1, 1):
        found = timemachine.step_event(board, choices, by, 0.0)
        seen.append((choices.frozen.cursor_ns("s") - at(0.0)) / NS if found else None)
    assert seen == [30.0, 20.0, 10.0, None, 20.0, 30.0, None]
    assert "⚑ here" not in text_of(board, choices)
    timemachine.step_event(board, choices, -1, 0.0)
    assert "⚑ here" in text_of(board, choices)


def test_a_note_that_is_taken_back_is_gone():
    board = long_board()
    board.fold(Note("n", "s", at(20.0), 0, "here"), 0.0)
    assert [note.text for note in board.notes_of("s")] == ["here"]
    board.fold(Note("n", "s", at(20.0), 1, ""), 0.0)
    assert board.notes_of("s") == []


def test_what_is_needed_of_the_past_is_asked_for_and_taken_in():
    board = Board()
    board.fold(state("s", newest_s=100.0), 0.0)
    board.fold(block(np.arange(501) / 100 + 95, 95.0), 0.0)
    choices = looking(board)
    timemachine.scroll(board, choices, -50.0, 0.0)
    assert window_wanted_s(board, choices)["s"] == pytest.approx(50 + 6 * 1.2)
    assert "+45" not in text_of(board, choices)
    board.fold_history("s", [block(np.arange(10_001) / 100, 0.0)], [], [])
    choices.refresh(board)
    choices.move(cursor_s=5.0)
    assert "+45.0 mV" in text_of(board, choices)


def test_a_frozen_picture_stands_while_others_come():
    board = long_board()
    choices = looking(board)
    timemachine.scroll(board, choices, -20.0, 0.0)
    before = text_of(board, choices)
    board.fold(block(np.full(6000, 9.0), 60.01), 1.0)
    choices.refresh(board)
    assert text_of(board, choices) == before


def test_the_strip_leads_to_a_moment_and_shows_where_one_is():
    newest = at(600.0)
    assert moment_at(0, 60, NS, newest) == newest - 595 * NS
    assert moment_at(59, 60, NS, newest) == newest - 5 * NS
    cells = draw_past(Past(NS), newest, 2, 60, BRAILLE)
    mark_moment(cells, NS, newest, newest - 595 * NS)
    assert cells.ground[:, 0].tolist() == [Ink.SELECTED, Ink.SELECTED]
    assert not (cells.ground[:, 1:] == Ink.SELECTED).any()
