from __future__ import annotations

import numpy as np
import pytest

from monitor.core.blocks import NS
from tests.dashboard.making import at, timing


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
