from __future__ import annotations

import itertools
import math

import msgspec
import numpy as np
import pytest

from monitor.core.blocks import Kind, State
from monitor.dashboard.state import Board
from monitor.dashboard.stream import MAX_ALARMS, MAX_BEATS, MAX_EVENTS
from tests.dashboard.making import alarm, at, beat, block, board_with, event, forecast, score

# bands


def test_flagged_spans_that_touch_are_one_band():
    board = board_with(event(0.0, 1.0, score=0.6), event(1.02, 2.0, score=0.8), event(3.0, 4.0))
    bands = list(board.streams["s"].bands)
    assert [(b.from_ns, b.to_ns, b.score) for b in bands] == [(at(0), at(2), 0.8), (at(3), at(4), 0.9)]


def test_labels_and_kinds_are_kept_apart():
    board = board_with(
        event(0, 1), event(0, 1, label="S"), event(0, 1, kind=Kind.SIGNAL, label="gap"), event(0.5, 1.5)
    )
    assert [b.label for b in board.streams["s"].bands] == ["V", "S", "gap"]


def test_a_band_is_as_urgent_as_its_alarm():
    board = board_with(event(0, 1), event(10, 11))
    assert [b.rank for b in board.streams["s"].bands] == [2, 2]  # medium, until an alarm says otherwise
    board.fold(alarm("a", 10.5, priority="high"), 0.0)
    assert [b.rank for b in board.streams["s"].bands] == [2, 3]
    board.fold(event(12, 13), 0.0)  # while the alarm goes on
    assert board.streams["s"].bands[-1].rank == 3


def test_the_alarm_may_come_before_its_event():
    board = board_with(alarm("a", 0.5, priority="low"), event(0, 1))
    assert board.streams["s"].bands[0].rank == 1


def test_an_alarm_that_is_over_says_nothing_of_later_events():
    over = alarm("a", 0.5, priority="high", state=State.CLEARED, changed_ns=at(3))
    board = board_with(over, event(0, 1), event(5, 6))
    assert [b.rank for b in board.streams["s"].bands] == [3, 2]


def test_a_band_stays_as_urgent_as_its_alarm_was_when_many_others_have_come():
    board = board_with(event(1, 2), alarm("high", 1, priority="high", state=State.CLEARED, changed_ns=at(2)))
    for i in range(MAX_ALARMS + 1):
        board.fold(alarm(str(i), 10 + i, priority="low", state=State.CLEARED), 0.0)
    assert board.streams["s"].bands[0].rank == 3


def test_a_fault_lasts_as_long_as_its_alarm_whatever_is_heard_of_earlier_ones():
    def of(id: str, at_s: float, state: State):  # noqa: A002
        return alarm(id, at_s, kind=Kind.SIGNAL, label="noise", state=state)

    board = board_with(block([1.0]), of("new", 9, State.ACTIVE), of("old", 1, State.CLEARED))
    assert board.streams["s"].fault == of("new", 9, State.ACTIVE)
    board.fold(of("new", 9, State.CLEARING), 0.0)
    assert board.streams["s"].fault is None


def test_technical_events_have_no_rank():
    board = board_with(alarm("a", kind=Kind.SIGNAL, label="gap"), event(0, 1, kind=Kind.SIGNAL, label="gap"))
    assert board.streams["s"].bands[0].rank == 0


def test_bands_beats_and_scores_are_bounded():
    board = Board()
    for i in range(5000):
        board.fold(event(2 * i, 2 * i + 1), 0.0)
        board.fold(beat(i), 0.0)
        board.fold([score(i, 1.0, label=f"l{i}")], 0.0)
    view = board.streams["s"]
    assert (len(view.bands), len(view.beats), len(view.scores)) == (MAX_EVENTS, MAX_BEATS, 64)


# beats and scores


def test_beats_come_in_order_and_once():
    board = board_with(beat(1.0), beat(2.0), beat(2.0), beat(1.5))
    assert [b.t_ns for b in board.streams["s"].beats] == [at(1.0), at(2.0)]


def test_beats_of_a_stream_that_begins_anew():
    board = board_with(beat(1000.0), beat(1.0), beat(2.0))
    assert [b.t_ns for b in board.streams["s"].beats] == [at(1.0), at(2.0)]


def test_the_top_score_is_the_one_nearest_its_threshold():
    board = board_with([score(1, 3.0, 4.0), score(1, 0.9, 0.8, kind=Kind.CLASS, label="V")])
    assert board.streams["s"].top_score.label == "V"


def test_a_score_of_long_ago_is_not_the_top_score():
    board = board_with([score(1, 0.9, 0.8, kind=Kind.CLASS, label="V")], [score(60, 1.0, 4.0)])
    assert board.streams["s"].top_score.label == "forecast"


def test_a_value_within_its_limits_is_no_anomaly():
    inside = score(1, 0.9, 1.0, kind=Kind.LIMIT, label="heart-rate")
    board = board_with([inside])
    assert board.streams["s"].top_score is None
    board.fold([msgspec.structs.replace(inside, value=1.2)], 0.0)
    assert board.streams["s"].top_score.value == 1.2


# forecasts


def test_a_right_forecast_has_no_error_and_all_skill():
    board = board_with(block([0.0], 0.0), forecast(0.0, [1, 2, 3]), block([1, 2, 3], 0.01))
    skill = board.streams["s"].skill()
    assert (skill.error, skill.against_persistence, skill.inside) == (0, 1, 1)


def test_persistence_has_no_skill():
    board = board_with(block([5.0], 0.0), forecast(0.0, [5, 5]), block([6, 8], 0.01))
    skill = board.streams["s"].skill()
    assert (skill.error, skill.against_persistence, skill.inside) == (2, 0, 0)


def test_a_forecast_is_judged_once_all_of_it_has_come():
    board = board_with(block([0.0], 0.0), forecast(0.0, [1, 2, 3]), block([1, 2], 0.01))
    assert math.isnan(board.streams["s"].skill().error)
    board.fold(block([3], 0.03), 0.0)
    assert board.streams["s"].skill().error == 0


def test_forecasts_are_judged_one_after_the_other():
    board = board_with(block([0.0], 0.0))
    for i in range(1, 50):
        board.fold(forecast((i - 1) / 100, np.arange(i, i + 10)), 0.0)
        board.fold(block([float(i)], i / 100), 0.0)
    times = [g.times_ns for g in board.streams["s"].hindsight.ghosts]
    assert 3 <= len(times) <= 5
    assert all(before[-1] <= after[0] for before, after in itertools.pairwise(times))


def test_a_forecast_at_another_rate_than_the_samples():
    board = board_with(
        block(np.arange(0, 11), 0.0), forecast(0.10, [20, 30], rate_hz=10.0), block(np.arange(11, 40), 0.11)
    )
    assert board.streams["s"].skill().error == 0


def test_samples_that_are_missing_do_not_spoil_the_error():
    board = board_with(block([0.0], 0.0), forecast(0.0, [1, 2, 3]), block([1, math.nan, 4], 0.01))
    assert board.streams["s"].skill().error == pytest.approx(0.5)


def test_a_forecast_of_a_time_that_was_left_is_forgotten():
    board = board_with(block([0.0], 1000.0), forecast(1000.0, [1.0]))
    board.fold(block([0.0], 0.0, run="next"), 0.0)
    board.fold(forecast(0.0, [1.0]), 0.0)
    board.fold(block([1.0], 0.01, run="next"), 0.0)
    board.fold(forecast(0.01, [2.0]), 0.0)
    board.fold(block([2.0], 0.02, run="next"), 0.0)
    assert board.streams["s"].skill().error == 0


@pytest.mark.parametrize("rate_hz", [0.0, math.nan, math.inf, -1.0])
def test_a_forecast_without_a_rate_is_not_drawn(rate_hz):
    board = board_with(forecast(0.0, [1.0], rate_hz=rate_hz))
    assert board.streams["s"].forecast is None
