from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.dashboard.scale import (
    TIME_BASES_S,
    AutoRange,
    Range,
    default_time_base,
    number_text,
    round_seconds,
    round_step,
    seconds_text,
    time_base_s,
)
from tests.dashboard.making import at


@pytest.mark.parametrize(("least", "step"), [(1, 1), (1.01, 2), (0.3, 0.5), (0.021, 0.05), (600, 1000), (7, 10)])
def test_round_steps(least, step):
    assert round_step(least) == pytest.approx(step)


@pytest.mark.parametrize(
    ("least", "step"), [(0.7, 1), (31, 60), (61, 120), (4000, 7200), (50_000, 86_400), (100_000, 172_800)]
)
def test_round_times(least, step):
    assert round_seconds(least) == step


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.5, "0.5 s"), (6, "6 s"), (60, "1 min"), (90, "90 s"), (600, "10 min"), (7200, "2 h"), (2e5, "2.31 d")],
)  # fmt: skip
def test_spans_of_time_are_short(seconds, text):
    assert seconds_text(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.1234, "0.123"), (12.34, "12.3"), (360, "360"), (1e9, "1.0e9"), (1e-7, "1.0e-7"),
     (math.nan, "--")],
)  # fmt: skip
def test_numbers_are_short(value, text):
    assert number_text(value) == text


@pytest.mark.parametrize(("rate_hz", "seconds"), [(360, 6), (50, 6), (1, 300), (1 / 300, 86_400), (0, 6)])
def test_a_slow_stream_starts_with_more_time(rate_hz, seconds):
    assert time_base_s(rate_hz, 0) == seconds


def test_time_bases_end_somewhere():
    assert time_base_s(360, -99) == TIME_BASES_S[0]
    assert time_base_s(360, 99) == TIME_BASES_S[-1]
    assert TIME_BASES_S[default_time_base(1e-9)] == TIME_BASES_S[-1]


def test_the_range_grows_at_once():
    auto = AutoRange()
    assert auto.fit(0, 1, at(0)).top >= 1
    grown = auto.fit(0, 5, at(0.04))
    assert grown.top >= 5


def test_the_range_shrinks_only_after_a_while():
    auto = AutoRange()
    wide = auto.fit(0, 10, at(0))
    assert auto.fit(0, 1, at(1)) == wide
    assert auto.fit(0, 1, at(2.9)) == wide
    assert auto.fit(0, 1, at(3.1)).top < 2


def test_a_pause_that_ends_changes_nothing():
    auto = AutoRange()
    wide = auto.fit(0, 10, at(0))
    auto.fit(0, 1, at(1))
    assert auto.fit(0, 10, at(2)) == wide
    assert auto.fit(0, 1, at(3.5)) == wide


def test_small_changes_do_not_make_it_jitter():
    auto = AutoRange()
    ranges = {auto.fit(-1 - 0.01 * math.sin(i), 1 + 0.01 * math.cos(i), at(i / 25)) for i in range(200)}
    assert len(ranges) == 1


@pytest.mark.parametrize("value", [0.0, 5.0, -1e-9, 1e12])
def test_a_flat_line_has_room_above_and_below(value):
    shown = AutoRange().fit(value, value, at(0))
    assert shown.bottom < value < shown.top


def test_nothing_known_leaves_the_range():
    auto = AutoRange()
    before = auto.fit(0, 1, at(0))
    assert auto.fit(math.nan, math.nan, at(1)) == before


@settings(max_examples=100, deadline=None)
@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_the_signal_fits_and_fills(low, span):
    shown = AutoRange().fit(low, low + span, at(0))
    assert shown.bottom <= low
    assert low + span <= shown.top
    assert span >= 0.4 * shown.span or span <= 1e-6 * abs(low)


def test_zooming_keeps_the_middle():
    zoomed = Range(0.0, 2.0).zoomed(2)
    assert (zoomed.bottom, zoomed.top) == pytest.approx((0.5, 1.5))


def test_lines_stand_at_round_values():
    assert list(Range(-0.9, 2.1).lines(4)) == pytest.approx([0.0, 1.0, 2.0])
