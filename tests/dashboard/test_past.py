from __future__ import annotations

import numpy as np
import pytest

from monitor.dashboard.beats import draw_beats
from monitor.dashboard.palette import Ink
from monitor.dashboard.past import PIECES, Past, draw_past
from monitor.dashboard.raster import ASCII, BRAILLE
from monitor.dashboard.state import Board
from tests.dashboard.making import at, beat, block, board_with, event, score, state, text_of


def test_the_past_keeps_the_highest_score_of_each_piece():
    past = Past.of_rate(100.0)
    for t_s, share in ((0.0, 0.2), (0.5, 0.9), (0.9, 0.1), (2.0, 0.3)):
        past.note(at(t_s), share)
    scores, _ = past.pieces(at(2.0))
    assert scores[-3:].tolist() == pytest.approx([0.9, 0.0, 0.3])


def test_the_past_forgets_what_is_too_long_ago():
    past = Past.of_rate(100.0)
    past.note(at(0.0), 1.0)
    past.flag(at(0.0), at(3.0), 3)
    past.note(at(PIECES + 1.0), 0.5)
    scores, ranks = past.pieces(at(PIECES + 1.0))
    assert scores.max() == 0.5
    assert sorted(set(ranks.tolist())) == [-1, 3]
    past.note(at(0.0), 1.0)  # a straggler, whose place is taken
    assert past.pieces(at(PIECES + 1.0))[0].max() == 0.5


def test_the_past_of_a_stream_that_begins_anew():
    past = Past.of_rate(100.0)
    past.note(at(100_000.0), 1.0)
    past.note(at(0.0), 0.5)
    assert past.pieces(at(0.0))[0][-1] == 0.5


def test_a_slow_stream_has_a_longer_past():
    assert Past.of_rate(1 / 300).piece_ns == at(3000) - at(0)


def test_a_flag_longer_than_the_past_is_cheap():
    past = Past.of_rate(100.0)
    past.flag(at(0), at(10**6), 2)
    assert (past.pieces(at(10**6))[1] == 2).all()


def test_the_strip_shows_flagged_pieces_in_colour():
    board = board_with(event(590, 600), [score(595, 0.9)], state(newest_s=600))
    view = board.streams["s"]
    cells = draw_past(view.past, view.newest_ns, 2, 60, BRAILLE)
    assert set(cells.ink[0, -1:].tolist()) == {Ink.MEDIUM}
    assert cells.ink[0, 0] == Ink.FAINT
    assert text_of(cells)[1].startswith("-10 min")
    assert text_of(cells)[1].endswith("now")


@pytest.mark.parametrize(("rows", "columns"), [(0, 10), (1, 1), (2, 3), (2, 700), (1, 2000)])
def test_a_strip_of_any_size(rows, columns):
    past = Past.of_rate(100.0)
    past.note(at(5.0), 1.0)
    assert draw_past(past, at(6.0), rows, columns, ASCII).glyph.shape == (rows, columns)
    assert draw_past(None, 0, rows, columns, BRAILLE).glyph.shape == (rows, columns)


def beating(odd: int | None) -> Board:
    t = np.arange(2000) / 100
    values_ = np.exp(-(((t % 1.0) - 0.5) ** 2) / 0.001)
    if odd is not None:
        values_[(t >= odd) & (t < odd + 1)] *= -1
    board = board_with(block(values_, 0.0))
    for i in range(19):
        board.fold(beat(i + 0.5, "V" if i == odd else "N"), 0.0)
    return board


def test_an_odd_beat_stands_out_among_the_last():
    cells = draw_beats(beating(7).streams["s"], 10, 30, BRAILLE)
    assert text_of(cells)[0].startswith(" last 19 beats  1 odd")
    drawn = cells.glyph[1:] != ord(" ")
    assert {Ink.OLD, Ink.HIGH, Ink.TEXT} >= set(cells.ink[1:][drawn].tolist()) >= {Ink.HIGH, Ink.TEXT}


def test_usual_beats_lie_on_each_other():
    cells = draw_beats(beating(None).streams["s"], 10, 30, BRAILLE)
    drawn = cells.glyph[1:] != ord(" ")
    assert set(cells.ink[1:][drawn].tolist()) == {Ink.TEXT}  # the newest covers all others


def test_without_beats_or_room_nothing_is_laid_over():
    for cells in (
        draw_beats(None, 10, 30, BRAILLE), draw_beats(board_with(block([1.0])).streams["s"], 10, 30, BRAILLE),
        draw_beats(beating(7).streams["s"], 3, 30, BRAILLE), draw_beats(beating(7).streams["s"], 10, 3, BRAILLE),
    ):  # fmt: skip
        assert (cells.glyph == ord(" ")).all()
