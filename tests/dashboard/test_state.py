from __future__ import annotations

import math

import pytest

from monitor.core.blocks import State
from monitor.core.published import LedgerCounts
from monitor.dashboard.state import MAX_ALARMS, MAX_STREAMS, Board
from tests.dashboard.making import alarm, at, beat, block, board_with, event, forecast, score, state, status

# connection


def test_nobody_is_there_before_the_first_status():
    board = Board()
    assert not board.is_connected(0.0)
    assert board.silence_s(5.0) is None


def test_silence_of_three_seconds_means_disconnected():
    board = board_with(status(), now_s=10.0)
    assert board.is_connected(12.9)
    assert not board.is_connected(13.1)
    assert board.silence_s(15.0) == 5.0
    board.fold(status(), 20.0)
    assert board.is_connected(20.0)


def test_a_goodbye_counts_at_once():
    board = board_with(status(), status("offline"), now_s=10.0)
    assert not board.is_connected(10.0)


def test_other_messages_do_not_count_as_a_sign_of_life():
    board = board_with(status(), now_s=0.0)
    board.fold(block([1.0]), 10.0)
    assert not board.is_connected(10.0)


def test_the_first_overview_counts_as_a_word_later_ones_do_not():
    board = Board()
    board.fold_overview(status(), [state()], 5.0)
    assert board.is_connected(6.0)
    board.fold_overview(status(), [state()], 50.0)
    assert not board.is_connected(50.0)


def test_every_change_changes_the_version():
    board = Board()
    seen = {board.version}
    for message in (
        block([1.0]),
        state(),
        status(),
        event(0, 1),
        alarm("a"),
        beat(0),
        [score(0, 1)],
        forecast(0, [1]),
    ):
        board.fold(message, 0.0)
        assert board.version not in seen
        seen.add(board.version)


# streams


def test_streams_are_in_order_of_their_names():
    board = board_with(state("b"), state("a/2"), state("a/1"))
    assert board.names == ["a/1", "a/2", "b"]


def test_an_overview_begins_anew():
    board = board_with(state("old"), alarm("x", stream="old"), block([1.0], stream="s"))
    board.fold_overview(status(), [state("s"), state("t")], 0.0)
    assert board.names == ["s", "t"]
    assert board.alarms == []
    assert board.streams["s"].trace is None


def test_the_number_of_streams_is_bounded():
    board = Board()
    board.streams = {f"s{i:05}": board._view("s00000") for i in range(MAX_STREAMS)}
    board.fold(state("z"), 0.0)
    assert len(board.streams) == MAX_STREAMS
    assert "z" in board.streams


def test_a_stream_is_stale_when_its_data_stand_still():
    board = board_with(state(newest_s=1.0), now_s=10.0)
    view = board.streams["s"]
    assert view.stale_s(12.0) is None
    board.fold(state(newest_s=1.0), 15.0)  # the daemon lives, the stream does not
    assert view.stale_s(16.0) == 6.0
    board.fold(state(newest_s=1.5), 17.0)
    assert view.stale_s(18.0) is None


def test_how_long_a_stream_was_silent_before_is_what_the_daemon_says():
    board = Board()
    board.fold_overview(status(), [state(newest_s=1.0, silent_s=600.0)], 10.0)
    view = board.streams["s"]
    assert view.stale_s(10.5) == 600.5
    board.fold_history("s", [block([1.0, 2.0], 0.99)], [], [])
    assert view.stale_s(10.5) == 600.5
    board.fold(state(newest_s=1.0, silent_s=601.5), 11.0)  # the newest word counts
    assert view.stale_s(12.0) == 602.5
    board.fold(state(newest_s=1.0), 30.0)  # nor is it less than what was seen here
    assert view.stale_s(31.0) == 21.0
    board.fold(state(newest_s=1.0, silent_s=700.0), 32.0)
    board.fold(block([1.0], 1.5), 32.5)
    assert view.stale_s(33.0) is None


def test_a_slow_stream_is_given_its_time():
    board = board_with(state(newest_s=1.0, rate_hz=0.1), now_s=0.0)
    assert board.streams["s"].stale_s(30.0) is None
    assert board.streams["s"].stale_s(40.0) == 40.0


def test_samples_without_a_rate_wait_for_the_state_that_tells_it():
    board = board_with(block([1.0], rate_hz=None))
    assert board.streams["s"].trace is None
    board.fold(state(rate_hz=50.0), 0.0)
    board.fold(block([1.0], rate_hz=None), 0.0)
    assert board.streams["s"].trace.rate_hz == 50.0


@pytest.mark.parametrize("rate_hz", [0.0, -1.0, math.nan, 1e-300, 1e300])
def test_an_impossible_rate_is_as_good_as_none(rate_hz):
    board = board_with(state(rate_hz=rate_hz), block([1.0], rate_hz=rate_hz or None))
    assert board.streams["s"].trace is None
    assert board.streams["s"].rate_hz == 0.0


def test_channel_names_come_from_the_state_or_are_numbers():
    board = board_with(block([[1, 2]]))
    assert board.streams["s"].channels == ("1", "2")
    board.fold(state(channels=("I", "II")), 0.0)
    assert board.streams["s"].channels == ("I", "II")
    board.fold(block([[1, 2]], 0.01), 0.0)
    assert board.streams["s"].channels == ("I", "II")


def test_another_number_of_channels_begins_another_trace():
    board = board_with(block([[1, 2]]), block([[1, 2, 3]], 0.01))
    assert board.streams["s"].trace.channels == 3
    assert len(board.streams["s"].channels) == 3


def test_what_is_released_keeps_its_counts_but_no_samples():
    board = board_with(state(events=4), block([1.0]), forecast(0, [1.0]), [score(0, 1.0)], event(0, 1))
    board.release("s")
    view = board.streams["s"]
    assert view.trace is None
    assert view.forecast is None
    assert view.top_score is None
    assert view.state.events == 4
    assert len(view.bands) == 1
    board.release("unknown")


def test_a_snapshot_does_not_move():
    board = board_with(block([1.0, 2.0]), event(0, 0.5), beat(0.0), forecast(0.01, [1.0]))
    frozen = board.streams["s"].snapshot()
    for message in (
        block([3.0], 0.02),
        event(0.4, 0.9),
        beat(1.0),
        forecast(0.02, [5.0]),
        alarm("a", priority="high"),
    ):
        board.fold(message, 0.0)
    assert frozen.trace.newest_ns == at(0.01)
    assert (frozen.bands[0].to_ns, frozen.bands[0].rank) == (at(0.5), 2)
    assert len(frozen.beats) == 1
    assert frozen.forecast.made_ns == at(0.01)
    assert frozen.alarms == {}


# history


def test_history_goes_before_what_has_come_since():
    board = board_with(block([5.0, 6.0], 0.04), beat(0.05), event(0.04, 0.05))
    board.fold_history(
        "s",
        [block([1.0, 2.0], 0.0), block([3.0, 4.0, 5.0], 0.02)],
        [event(0.0, 0.01, label="S")],
        [beat(0.0), beat(0.05)],
    )
    view = board.streams["s"]
    _, values = view.trace.between(0, view.trace.newest_ns)
    assert values[:, 0].tolist() == [1, 2, 3, 4, 5, 6]
    assert [b.t_ns for b in view.beats] == [at(0.0), at(0.05)]
    assert [b.label for b in view.bands] == ["S", "V"]


def test_history_alone_fills_the_screen():
    board = board_with(state(newest_s=0.01), now_s=3.0)
    board.fold_history("s", [block([1.0, 2.0], 0.0)], [], [])
    assert board.streams["s"].trace.count == 2
    assert board.streams["s"].moved_s == 3.0


def test_an_empty_history_takes_nothing_away():
    board = board_with(block([1.0]))
    board.fold_history("s", [], [], [])
    assert board.streams["s"].trace.count == 1


# alarms


def test_alarms_by_urgency_then_newness():
    board = board_with(
        alarm("over", 9, priority="high", state=State.CLEARED),
        alarm("low", 8, priority="low"),
        alarm("high-seen", 7, priority="high", acknowledged=True),
        alarm("medium-old", 1),
        alarm("high", 2, priority="high", state=State.LATCHED),
        alarm("medium-new", 3),
    )
    assert [a.id for a in board.alarms] == ["high", "medium-new", "medium-old", "low", "high-seen", "over"]
    assert [a.id for a in board.calling] == ["high", "medium-new", "medium-old", "low"]


def test_an_alarm_alone_makes_no_stream_but_waits_for_it():
    board = board_with(status(), alarm("a", stream="gone", state=State.CLEARED), alarm("b", stream="late"))
    assert [a.id for a in board.alarms] == ["b", "a"]
    assert board.names == []
    board.fold(state("late"), 0.0)
    assert board.names == ["late"]
    assert set(board.streams["late"].alarms) == {"b"}


def test_pending_alarms_do_not_call():
    board = board_with(alarm("a", state=State.PENDING, priority="high"), alarm("b", priority="low"))
    assert [a.id for a in board.calling] == ["b"]


def test_an_alarm_changes_in_place():
    board = board_with(alarm("a"), alarm("a", acknowledged=True))
    assert len(board.alarms) == 1
    assert board.calling == []


def test_a_replay_may_raise_the_same_alarm_again():
    board = board_with(alarm("a", 1, state=State.CLEARED, changed_ns=at(9)), alarm("a", 1))
    assert board.alarms[0].state is State.ACTIVE


def test_an_answer_does_not_undo_what_was_published_since():
    board = board_with(alarm("a", 1, state=State.CLEARED, changed_ns=at(9)))
    board.fold_alarms([alarm("a", 1), alarm("b", 2)])
    assert {a.id: a.state for a in board.alarms} == {"a": State.CLEARED, "b": State.ACTIVE}


def test_the_least_urgent_alarm_makes_room():
    board = board_with(alarm("high", priority="high"))
    for i in range(MAX_ALARMS + 50):
        board.fold(alarm(f"a{i}", i, state=State.CLEARED), 0.0)
    assert len(board.alarms) == MAX_ALARMS
    assert board.alarms[0].id == "high"
    assert board.alarm("a0") is None


def test_the_rank_of_a_stream_is_that_of_its_most_urgent_live_alarm():
    board = board_with(alarm("a", priority="low"), alarm("b"), alarm("c", priority="high", state=State.CLEARED))
    assert board.rank("s") == 2
    assert board.rank("other") == 0


def test_counts_come_from_the_state():
    board = board_with(state(ledger=LedgerCounts(received=7, missing=2)))
    assert board.streams["s"].state.ledger.missing == 2


def test_refused_messages_are_counted():
    board = Board()
    board.refuse()
    assert board.refused == 1
