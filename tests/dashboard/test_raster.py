from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.dashboard.palette import Ink
from monitor.dashboard.raster import ASCII, BRAILLE, GLYPHS, Cells, dot_rows, dots, envelope, fill
from monitor.dashboard.text import plain, to_ascii


def curve(values, rows=2, columns=4, glyphs=BRAILLE, top=1.0, bottom=0.0) -> list[str]:
    """The rows of text of a curve with one value a dot column."""
    values = np.asarray(values, np.float64)
    row = dot_rows(values, top, bottom, rows * glyphs.high)
    cells = Cells.blank(rows, columns)
    cells.put(dots(row, row, rows, columns, glyphs), glyphs, Ink.TRACE)
    return text_of(cells)


def text_of(cells: Cells) -> list[str]:
    return ["".join(text for text, _, _ in row) for row in cells.runs(list(range(len(cells.glyph))))]


def test_a_line_along_the_bottom():
    assert curve([0] * 8) == ["    ", "⣀⣀⣀⣀"]


def test_a_line_along_the_top():
    assert curve([0.99] * 8) == ["⠉⠉⠉⠉", "    "]


def test_a_rising_line():
    values = [(i + 0.5) / 8 for i in range(8)]
    assert curve(values) == ["  ⡠⠊", "⡠⠊  "]


def test_a_gap_is_blank():
    assert curve([0, 0, np.nan, np.nan, 0, np.nan, 0, 0]) == ["    ", "⣀ ⡀⣀"]


def test_what_is_out_of_range_stays_at_the_edge():
    assert curve([9, 9, 9, 9, -9, -9, -9, -9]) == ["⠉⠉  ", "  ⣀⣀"]


def test_ascii_has_three_heights():
    assert curve([0.9, 0.5, 0.1, np.nan], rows=1, glyphs=ASCII) == ["'-. "]


@pytest.mark.parametrize("glyphs", GLYPHS, ids=lambda g: g.name)
def test_every_pattern_has_a_glyph_one_cell_wide(glyphs):
    assert len(glyphs.table) == 2 ** (glyphs.wide * glyphs.high)
    assert glyphs.table[0] == ord(" ")
    assert plain("".join(map(chr, glyphs.table))) == "".join(map(chr, glyphs.table))


@pytest.mark.parametrize("glyphs", [g for g in GLYPHS if g is not ASCII], ids=lambda g: g.name)
def test_every_pattern_has_a_glyph_of_its_own(glyphs):
    assert len(set(glyphs.table.tolist())) == len(glyphs.table)


@pytest.mark.parametrize(
    ("name", "lit", "glyph"),
    [
        ("braille", (0, 0), "⠁"), ("braille", (1, 3), "⢀"), ("sextant", (0, 0), "\U0001fb00"),
        ("sextant", (1, 2), "\U0001fb1e"), ("quadrant", (1, 0), "▝"), ("half block", (0, 1), "▄"),
    ],
)  # fmt: skip
def test_single_dots(name, lit, glyph):
    glyphs = next(g for g in GLYPHS if g.name == name)
    x, y = lit
    top = np.full(glyphs.wide, -1)
    top[x] = y
    assert chr(glyphs.table[dots(top, top, 1, 1, glyphs)[0, 0]]) == glyph


def test_a_vertical_stroke_fills_its_cells():
    top, bottom = np.array([0, 0]), np.array([7, 7])
    assert (dots(top, bottom, 2, 1, BRAILLE) == 255).all()


# envelope


def test_an_envelope_holds_every_sample():
    position = np.array([0.1, 0.2, 0.3, 1.5, 2.5])
    low, high = envelope(position, np.array([0.0, 9.0, -3.0, 1.0, 2.0]), 3)
    assert high[0] == 9.0
    assert low[0] == -3.0


def test_neighbouring_columns_touch():
    position = np.array([0.5, 1.5, 2.5])
    low, high = envelope(position, np.array([0.0, 10.0, 0.0]), 3)
    assert high[0] >= low[1]
    assert high[2] >= low[1]
    assert high[1] == 10.0


def test_sparse_samples_are_joined():
    low, high = envelope(np.array([0.5, 9.5]), np.array([0.0, 9.0]), 10)
    assert np.isfinite(low).sum() == 10
    assert low[5] == pytest.approx(4.5)
    assert high[5] == pytest.approx(5.5)


def test_missing_samples_break_the_line():
    low, _ = envelope(np.array([0.5, 2.5, 4.5, 6.5, 8.5]), np.array([1.0, 1.0, np.nan, 1.0, 1.0]), 9)
    assert np.isfinite(low).tolist() == [True, True, True, False, False, False, True, True, True]


def test_no_samples_no_line():
    assert np.isnan(envelope(np.empty(0), np.empty(0), 5)).all()


def test_samples_outside_are_left_out():
    low, high = envelope(np.array([-5.5, -0.5, 0.5, 7.5]), np.array([99.0, 0.0, 0.0, 0.0]), 3)
    assert np.nanmax(high) == 0.0
    assert np.isfinite(low).all()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-100, 100), min_size=2, max_size=200), st.integers(1, 40))
def test_no_extreme_is_ever_lost(values, columns):
    position = np.linspace(0, columns - 1e-6, len(values))
    low, high = envelope(position, np.array(values), columns)
    assert np.nanmax(high) == max(values)
    assert np.nanmin(low) == min(values)


# shading


def shade(top: float, bottom: float, *, covered=False, texture="", rows=4) -> tuple[list[str], list[int]]:
    cells = Cells.blank(rows, 1)
    cover = np.full((rows, 1), covered)
    fill(cells, np.array([top]), np.array([bottom]), Ink.FAN, covered=cover, texture=texture)
    return text_of(cells), cells.ground[:, 0].tolist()


def test_whole_cells_are_shaded():
    assert shade(1.0, 3.0) == ([" ", " ", " ", " "], [Ink.PAPER, Ink.FAN, Ink.FAN, Ink.PAPER])


def test_edges_are_as_fine_as_eighths():
    text, ground = shade(0.5, 2.25)
    assert text == ["▄", " ", "▆", " "]
    assert ground == [Ink.PAPER, Ink.FAN, Ink.FAN, Ink.PAPER]  # the lower edge is drawn in the ground's own colour


def test_under_dots_a_cell_is_shaded_whole_or_not():
    text, ground = shade(0.5, 2.25, covered=True)
    assert text == [" "] * 4
    assert ground == [Ink.FAN, Ink.FAN, Ink.PAPER, Ink.PAPER]


def test_without_colours_a_texture_shows_it():
    assert shade(1.0, 3.0, texture="░")[0] == [" ", "░", "░", " "]


def test_nothing_known_nothing_shaded():
    assert shade(np.nan, np.nan) == ([" "] * 4, [Ink.PAPER] * 4)


def test_a_fan_beyond_the_lane_is_cut_off():
    assert shade(-50, 50)[1] == [Ink.FAN] * 4
    assert shade(-50, -10)[1] == [Ink.PAPER] * 4


# cells


def test_writing_cuts_off_what_does_not_fit():
    cells = Cells.blank(1, 5)
    cells.write(0, 3, "abc", Ink.TEXT)
    cells.write(0, -1, "xyz", Ink.TEXT)
    cells.write(7, 0, "no", Ink.TEXT)
    cells.write(0, 9, "no", Ink.TEXT)
    assert text_of(cells) == ["yz ab"]


def test_a_run_ends_where_ink_or_ground_changes():
    cells = Cells.blank(1, 6)
    cells.write(0, 0, "ab", Ink.TEXT)
    cells.write(0, 2, "cd", Ink.HIGH)
    cells.write(0, 4, "ef", Ink.HIGH, Ink.BAR)
    assert cells.runs([0]) == [
        [("ab", Ink.TEXT, Ink.PAPER), ("cd", Ink.HIGH, Ink.PAPER), ("ef", Ink.HIGH, Ink.BAR)]
    ]


def test_blanks_take_the_ink_before_them():
    cells = Cells.blank(1, 7)
    cells.write(0, 0, "a", Ink.HIGH)
    cells.write(0, 3, "b", Ink.HIGH)
    assert cells.runs([0]) == [[("a  b   ", Ink.HIGH, Ink.PAPER)]]


def test_only_changed_rows_are_told():
    before, after = Cells.blank(3, 4), Cells.blank(3, 4)
    after.write(1, 0, "x", Ink.TEXT)
    assert after.changed_rows(before) == [1]
    assert after.changed_rows(None) == [0, 1, 2]
    assert Cells.blank(2, 4).changed_rows(before) == [0, 1]
    assert Cells.blank(3, 4).runs([]) == []


@pytest.mark.parametrize(
    ("given_", "shown"),
    [
        ("mV", "mV"), ("µV ♥", "µV ♥"), ("a\x1b[2Jb", "a?[2Jb"), ("漢", "?"), ("e\u0301", "e?"),
        ("\n\t\u202e", "???"),
        ("\ud800", "?"),
    ],
)  # fmt: skip
def test_text_from_strangers_cannot_move_the_cursor(given_, shown):
    assert plain(given_) == shown
    cells = Cells.blank(1, len(shown))
    cells.write(0, 0, given_, Ink.TEXT)
    assert text_of(cells) == [shown]


@pytest.mark.parametrize(
    ("given_", "shown"), [("HR", "HR"), ("♡ 3 µV ≥ 2", "o 3 uV > 2"), ("漢·", "?-"), ("←→", "<>")]
)
def test_text_for_terminals_that_know_only_ascii(given_, shown):
    assert to_ascii(given_) == shown
