from __future__ import annotations

import math

import numpy as np
import pytest

from monitor.core.blocks import Kind, State
from monitor.dashboard.digits import big
from monitor.dashboard.palette import Ink
from monitor.dashboard.readings import Reading, dominant_frequency, readings
from monitor.dashboard.state import Board
from monitor.dashboard.tables import numeral_lines
from monitor.dashboard.trace import Trace
from tests.dashboard.making import alarm, beat, block, board_with, forecast, score, state


def values(board: Board, name: str = "s") -> dict[str, tuple[str, str]]:
    return {r.title.split()[-1]: (r.value, r.note) for r in readings(board.streams.get(name))}


def test_heart_rate_comes_from_the_beats():
    board = board_with(
        state(newest_s=10, heart_rate_bpm=70.0), *[beat(i, "V" if i == 4 else "N") for i in range(10)]
    )
    board.fold(beat(9.8, rate_bpm=75.4), 0.0)
    assert values(board)["HR"] == ("75", "V 1/min")
    assert readings(board.streams["s"])[0].title == "♥ HR"


def test_heart_rate_without_fresh_beats_comes_from_the_daemon():
    board = board_with(beat(1.0, rate_bpm=75.0), state(newest_s=60, heart_rate_bpm=31.0))
    assert values(board)["HR"][0] == "31"
    board.fold(state(newest_s=61, heart_rate_bpm=math.nan), 0.0)
    assert values(board)["HR"][0] == "--"


def test_a_heart_that_was_not_heard_yet_has_no_frequency():
    board = board_with(block(np.sin(np.arange(1000)), 0.0), state(newest_s=9))
    (pace, *_) = readings(board.streams["s"], is_heart=True)
    assert (pace.title, pace.value, pace.note) == ("♡ HR", "--", "")


def test_a_stream_without_a_heart_has_a_frequency():
    t = np.arange(1000) / 50
    board = board_with(block(np.sin(2 * math.pi * 1.3 * t) + 3 * t, 0.0, rate_hz=50.0))
    assert float(values(board)["FREQUENCY"][0]) == pytest.approx(1.3, abs=0.02)


@pytest.mark.parametrize("signal", [np.zeros(500), np.full(500, np.nan), np.ones(10)])
def test_where_there_is_no_frequency(signal):
    trace = Trace(50.0, 1)
    trace.push(block(signal, 0.0, rate_hz=50.0))
    assert math.isnan(dominant_frequency(trace))


def test_an_anomaly_has_the_colour_of_its_alarm():
    board = board_with([score(1, 0.9, 0.8, kind=Kind.CLASS, label="V")])
    assert values(board)["ANOMALY"] == ("0.90", "≥ 0.80 V")
    assert readings(board.streams["s"])[1].ink is Ink.MEDIUM
    board.fold(alarm("a", 1, priority="high"), 0.0)
    assert readings(board.streams["s"])[1].ink is Ink.HIGH
    board.fold([score(2, 0.2, 0.8, kind=Kind.CLASS, label="V")], 0.0)
    assert values(board)["ANOMALY"] == ("0.20", "of 0.80 V")


def test_warming_up_is_not_a_score_of_zero():
    assert values(board_with(state(warming=True)))["ANOMALY"] == ("--", "warming up")


def test_forecast_skill_and_error():
    board = board_with(block([0.0], 0.0), forecast(0.0, [1, 2, 3]), block([1.02, 2.02, 3.02], 0.01))
    found = {r.title: r for r in readings(board.streams["s"])}
    assert found["SKILL"].value == "+100"
    assert found["SKILL"].note == "100% in interval"
    assert (found["ERROR"].value, found["ERROR"].unit) == ("20", "MAE µV")
    board.fold(state(newest_s=0.03, skill=0.42), 0.0)
    assert values(board)["SKILL"][0] == "+42"


def test_while_the_signal_is_at_fault_nothing_of_it_is_known():
    board = board_with(block([0.0], 0.0), forecast(0.0, [1, 2, 3]), block([1, 2, 3], 0.01))
    board.fold([score(0, 0.2, 0.8)], 0.0)
    board.fold(beat(0.0), 0.0)
    before = values(board)
    assert "--" not in {value for value, _ in before.values()}
    board.fold(alarm("a", kind=Kind.SIGNAL, label="lead-off"), 0.0)
    assert set(values(board).values()) == {("--", "lead off")}
    assert {r.ink for r in readings(board.streams["s"])} == {Ink.OLD}
    board.fold(alarm("a", kind=Kind.SIGNAL, label="lead-off", state=State.CLEARING), 0.0)
    assert values(board) == before


def test_a_score_of_before_a_gap_says_nothing_of_what_warms_up():
    board = board_with([score(1, 0.2, 0.8)], state(newest_s=60, warming=False))
    assert values(board)["ANOMALY"][0] == "0.20"
    board.fold(state(newest_s=60, warming=True), 0.0)
    assert values(board)["ANOMALY"] == ("--", "warming up")


def test_numbers_that_are_not_live_are_dashes():
    board = board_with(state(newest_s=1, heart_rate_bpm=60.0))
    found = readings(board.streams["s"], is_live=False)
    assert {(r.value, r.note, r.ink) for r in found} == {("--", "not live", Ink.OLD)}
    assert readings(None)[0].value == "--"


def test_numbers_take_the_room_there_is():
    found = readings(board_with(state(newest_s=1, heart_rate_bpm=60.0)).streams["s"])
    assert [len(numeral_lines(found, 20, height, blocks=True)) for height in (3, 4, 16, 20, 24, 99)] == [
        0, 4, 16, 20, 24, 24,
    ]  # fmt: skip
    assert all(
        sum(len(part.text) for part in parts) <= 18 for parts in numeral_lines(found, 18, 16, blocks=False)[1:4]
    )


def test_a_number_is_never_cut_off():
    reading = Reading("FREQUENCY", "Hz", "0.798", "", Ink.GOOD)
    for width, value in ((24, "0.798"), (18, "0.80"), (12, "0.8")):
        for blocks in (True, False):
            lines = numeral_lines([reading], width, 5, blocks=blocks)[1:4]
            assert ["".join(part.text for part in parts)[2:] for parts in lines] == list(big(value, blocks=blocks))


def test_large_digits():
    assert big("1.0") == ("▀█    █▀█", " █    █ █", "▀▀▀ ▀ ▀▀▀")
    assert "".join(big("-2e5", blocks=False)).isascii()
    assert big("x?") == ("", "", "")
