from __future__ import annotations

import math

import numpy as np
import pytest

from monitor.core.blocks import Kind, State
from monitor.core.wire import LedgerCounts
from monitor.dashboard.bars import DISCLAIMER, KeyHint, Meter, banner, footer, header, keys, sign_of
from monitor.dashboard.beats import draw_beats
from monitor.dashboard.choices import Choices
from monitor.dashboard.digits import big
from monitor.dashboard.palette import Ink
from monitor.dashboard.past import PIECES, Past, draw_past
from monitor.dashboard.raster import ASCII, BRAILLE, Cells
from monitor.dashboard.readings import dominant_frequency, readings
from monitor.dashboard.state import Board
from monitor.dashboard.tables import alarm_table, count_text, first_row, numeral_lines, stream_table
from monitor.dashboard.trace import Trace
from tests.dashboard.making import alarm, at, beat, block, event, forecast, score, state, status

ADDRESS = "tcp://127.0.0.1:5601"


def board_with(*messages, now_s: float = 0.0) -> Board:
    board = Board()
    board.fold(status(latency_ms=3.4), now_s)
    for message in messages:
        board.fold(message, now_s)
    return board


def chosen(board: Board, **more) -> Choices:
    choices = Choices(**more)
    choices.settle(board.names)
    return choices


def line(parts) -> str:
    return "".join(part.text for part in parts)


def rows_of(cells: Cells) -> list[str]:
    return ["".join(text for text, _, _ in row) for row in cells.runs(list(range(len(cells.glyph))))]


# header and banner


def head(board: Board, choices: Choices | None = None, now_s: float = 0.0) -> str:
    return line(header(board, choices or chosen(board), Meter(25, 2.5), now_s, ADDRESS))


def test_the_header_of_a_live_stream():
    text = head(board_with(state(newest_s=5, ledger=LedgerCounts(missing=7))))
    for wanted in (
        "● LIVE",
        "s",
        "100 Hz",
        "1970-01-12 13:46:45",
        "scroll 6 s",
        "lag 3 ms",
        "missing 7",
        "25 fps",
        "m@1",
    ):
        assert wanted in text


def test_the_header_says_what_is_wrong_first():
    board = board_with(state())
    assert head(board, now_s=7.0).startswith(" ✖ DISCONNECTED 7 s ")
    assert f"nothing heard from {ADDRESS}" in head(Board())
    board.fold(status(), 7.0)
    assert head(board, now_s=8.0).startswith(" ◌ NO DATA 8 s")
    choices = chosen(board)
    choices.freeze(board, 8.0)
    assert head(board, choices, 8.0).startswith(" ❚❚ FROZEN ")
    assert head(board, choices, 20.0).startswith(" ✖ DISCONNECTED")


def test_the_banner_of_the_most_urgent_alarm():
    board = board_with(
        state(newest_s=12), alarm("a", 10.0, priority="high", score=0.97, threshold=0.8), alarm("b"), alarm("c")
    )
    text = line(banner(board, chosen(board), 0.0, ADDRESS))
    assert text == " ▲▲▲ V  s  score 0.97, limit 0.80  2 s ago   +2 more   [a] acknowledge   [m] silence   [w] why"


def test_only_a_high_priority_flashes():
    high, low = board_with(alarm("a", priority="high")), board_with(alarm("a", priority="low"))
    grounds = [{banner(b, chosen(b), t, ADDRESS)[0].ground for t in (0.0, 0.5, 1.0)} for b in (high, low)]
    assert grounds == [{Ink.BANNER_HIGH, Ink.BAND_HIGH}, {Ink.BANNER_LOW}]


def test_a_quiet_banner_says_what_this_is_not():
    board = board_with(state())
    assert line(banner(board, chosen(board), 0.0, ADDRESS)) == f" No alarm calls.  1 stream.  {DISCLAIMER}"


def test_a_lost_daemon_is_told_before_any_alarm():
    board = board_with(state(), alarm("a", priority="high"))
    assert "No word from the daemon" in line(banner(board, chosen(board), 10.0, ADDRESS))
    board.fold(status("offline"), 10.0)
    assert "The daemon has stopped" in line(banner(board, chosen(board), 10.0, ADDRESS))
    assert "is `monitor run`" in line(banner(Board(), Choices(), 10.0, ADDRESS))


@pytest.mark.parametrize(
    ("given", "sign"),
    [({"priority": "low"}, "▲"), ({"priority": "high"}, "▲▲▲"), ({"priority": "high", "kind": Kind.SIGNAL}, "◆")],
)
def test_priority_is_a_sign_and_not_only_a_colour(given, sign):
    assert sign_of(alarm("a", **given), Choices()) == sign
    assert sign_of(alarm("a", **given), Choices(glyphs=ASCII)).isascii()


def test_keys_that_fit_keep_quit_and_help():
    hints = [KeyHint(k, "Word", "act") for k in "abcdefqh"]
    assert [h.key for h in keys(hints, 200)] == list("abcdefqh")
    assert [h.key for h in keys(hints, 40)][-2:] == ["q", "h"]
    assert [h.key for h in keys(hints, 10)] == ["h"]
    assert len(line(footer(keys(hints, 40)))) <= 40


# tables


def table_text(table) -> list[str]:
    return [line(parts) for parts in table.lines]


def test_the_alarm_table():
    board = board_with(
        state(newest_s=60),
        alarm("a", 58.0, priority="high", score=0.97, threshold=0.8, model="ecg@2"),
        alarm("b", 1.0, acknowledged=True),
        alarm("c", 2.0, state=State.CLEARED, kind=Kind.DEVIATION, label="forecast"),
        alarm("d", 3.0, state=State.LATCHED, kind=Kind.LIMIT, label="heart-rate"),
    )
    table = alarm_table(board, chosen(board), 110, 9, focused=False)
    assert table.keys == ["", "a", "d", "b", "c"]
    text = table_text(table)
    assert text[1].split() == ["▲▲▲", "13:47:38.000", "V", "s", "active", "0.97/0.80", "2", "s", "ago", "ecg@2"]
    assert "latched" in text[2]
    assert "heart-rate limit" in text[2]
    assert "✓ seen" in text[3]
    assert "over" in text[4]
    assert "off the forecast" in text[4]


def test_the_selected_alarm_stands_out_and_stays_in_sight():
    board = board_with(*[alarm(f"a{i:02}", i) for i in range(30)])
    table = alarm_table(board, chosen(board, alarm_id="a05"), 80, 6, focused=True)
    assert "a05" in table.keys
    assert table.lines[table.keys.index("a05")][0].ground is Ink.SELECTED
    assert len(table.lines) == 6


@pytest.mark.parametrize("width", [1, 5, 20, 40, 80, 300])
def test_tables_of_any_width(width):
    board = board_with(state(newest_s=60), alarm("a"))
    for table in (
        alarm_table(board, chosen(board), width, 5, focused=False),
        stream_table(board, chosen(board), ["s"], width, 5, 0.0, focused=False),
    ):
        assert len({len(text) for text in table_text(table)}) == 1


def test_empty_tables_say_so():
    board = Board()
    assert "no alarms yet" in table_text(alarm_table(board, Choices(), 80, 5, focused=False))[1]
    assert "no streams yet" in table_text(stream_table(board, Choices(), [], 80, 5, 0.0, focused=False))[1]
    assert len(alarm_table(board, Choices(), 80, 1, focused=False).lines) == 1


def test_the_stream_table():
    ledger = LedgerCounts(received=123_456, missing=12)
    board = board_with(
        state("ecg/208", newest_s=1, rate_hz=360.0, ledger=ledger, events=3, heart_rate_bpm=72.4),
        state("new", newest_s=1, warming=True),
        state("quiet", newest_s=1),
        alarm("a", stream="quiet", priority="high"),
    )
    table = stream_table(board, chosen(board), ["ecg/208"], 90, 6, 0.0, focused=False)
    text = table_text(table)
    assert text[1].split() == ["▪", "ecg/208", "live", "72", "360", "123k", "12", "3"]
    assert "warming" in text[2]
    assert "high" in text[3]
    assert table.keys == ["", "ecg/208", "new", "quiet"]


def test_the_stream_table_when_nothing_comes():
    board = board_with(state(newest_s=1))
    assert "unknown" in table_text(stream_table(board, chosen(board), [], 70, 5, 10.0, focused=False))[1]
    board.fold(status(), 10.0)
    assert "no data" in table_text(stream_table(board, chosen(board), [], 70, 5, 10.0, focused=False))[1]


def test_a_stream_known_only_by_its_samples():
    board = board_with(block([1.0], stream="raw"))
    assert "raw" in table_text(stream_table(board, chosen(board), [], 70, 5, 0.0, focused=False))[1]


def test_of_many_streams_the_selected_is_in_sight():
    board = board_with(*[state(f"s{i:03}") for i in range(200)])
    table = stream_table(board, chosen(board, selected="s150"), [], 40, 8, 0.0, focused=False)
    assert "s150" in table.keys


def test_the_first_row_to_show():
    assert [first_row(i, 3, 10) for i in (-1, 0, 2, 3, 9)] == [0, 0, 0, 1, 7]
    assert first_row(5, 0, 10) == 6


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0"), (9999, "9999"), (10_000, "10k"), (1_234_567, "1.2M"), (5 * 10**10, "50G")]
)
def test_counts_are_short(count, text):
    assert count_text(count) == text


# large numbers


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


def test_numbers_that_are_not_live_are_pale():
    board = board_with(state(newest_s=1, heart_rate_bpm=60.0))
    assert {r.ink for r in readings(board.streams["s"], is_live=False)} == {Ink.OLD}
    assert readings(None)[0].value == "--"


def test_numbers_take_the_room_there_is():
    found = readings(board_with(state(newest_s=1, heart_rate_bpm=60.0)).streams["s"])
    assert [len(numeral_lines(found, 20, height, blocks=True)) for height in (3, 4, 16, 20, 24, 99)] == [
        0, 4, 16, 20, 24, 24,
    ]  # fmt: skip
    assert all(len(line(parts)) <= 18 for parts in numeral_lines(found, 18, 16, blocks=False)[1:4])


def test_large_digits():
    assert big("1.0") == ("▀█    █▀█", " █    █ █", "▀▀▀ ▀ ▀▀▀")
    assert "".join(big("-2e5", blocks=False)).isascii()
    assert big("x?") == ("", "", "")


# the past in little, and the beats


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
    assert rows_of(cells)[1].startswith("-10 min")
    assert rows_of(cells)[1].endswith("now")


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
    assert rows_of(cells)[0].startswith(" last 19 beats  1 odd")
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
