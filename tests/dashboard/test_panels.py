from __future__ import annotations

import pytest

from monitor.core.blocks import Kind, State
from monitor.core.published import LedgerCounts
from monitor.dashboard.bars import DISCLAIMER, KeyHint, Meter, ago_text, banner, footer, header, keys, sign_of
from monitor.dashboard.choices import Choices
from monitor.dashboard.palette import Ink
from monitor.dashboard.raster import ASCII
from monitor.dashboard.state import Board
from monitor.dashboard.tables import alarm_table, count_text, first_row, stream_table
from tests.dashboard.making import alarm, block, score, state, status

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


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "now"), (3.21, "3.2 s ago"), (112.7, "112 s ago"), (194.0, "3 min ago"), (9000, "2.5 h ago")],
)
def test_how_long_ago_in_few_characters(seconds, text):
    board = board_with(state(newest_s=10 + seconds))
    assert ago_text(board, alarm("a", 10.0), 0.0) == text


def test_an_alarm_grows_old_while_its_stream_is_silent():
    board = board_with(state(newest_s=12, silent_s=1.0), alarm("a", 12.0, kind=Kind.SIGNAL, label="stale"))
    board.fold(status(), 70.0)
    assert "stale  s  71 s ago" in line(banner(board, chosen(board), 70.0, ADDRESS))
    assert "71 s ago" in table_text(alarm_table(board, chosen(board), 110, 3, 70.0, focused=False))[1]
    assert ago_text(board, alarm("b", 2.0), 70.0) == "81 s ago"
    assert ago_text(board, alarm("c", 12.001), 70.0) == "70 s ago"  # of a sample that no state has told of yet
    board.fold(state(newest_s=80), 71.0)
    assert ago_text(board, alarm("a", 12.0), 72.0) == "68 s ago"


def test_an_alarm_of_a_recording_is_as_old_as_its_data():
    board = Board(length_s=60.0)
    board.fold(state(newest_s=12, silent_s=30.0), 0.0)
    assert ago_text(board, alarm("a", 2.0), 60.0) == "10 s ago"


def test_a_fault_that_is_or_is_not_there_has_no_score():
    board = board_with(state(newest_s=10), alarm("a", 1.0, kind=Kind.SIGNAL, label="lead-off"))
    text = line(banner(board, chosen(board), 0.0, ADDRESS))
    table = table_text(alarm_table(board, chosen(board), 110, 3, 0.0, focused=False))
    assert "lead-off  s  9 s ago" in text
    assert "/" not in table[1]
    board.fold(alarm("a", 1.0, kind=Kind.SIGNAL, label="noise", model="ecg-beats@1"), 0.0)
    assert "noise  s  score 0.90, limit 0.50" in line(banner(board, chosen(board), 0.0, ADDRESS))


def test_only_a_high_priority_flashes():
    high, low = board_with(alarm("a", priority="high")), board_with(alarm("a", priority="low"))
    grounds = [{banner(b, chosen(b), t, ADDRESS)[0].ground for t in (0.0, 0.5, 1.0)} for b in (high, low)]
    assert grounds == [{Ink.BANNER_HIGH, Ink.BAND_HIGH}, {Ink.BANNER_LOW}]


def test_a_quiet_banner_says_what_this_is_not():
    board = board_with(state())
    assert line(banner(board, chosen(board), 0.0, ADDRESS)) == f" No alarm calls.  1 stream.  {DISCLAIMER}"


def test_a_lost_daemon_is_told_before_any_alarm():
    board = board_with(state(), alarm("a", priority="high"))
    assert f"No word from {ADDRESS}" in line(banner(board, chosen(board), 10.0, ADDRESS))
    board.fold(status("offline"), 10.0)
    assert "The daemon has stopped" in line(banner(board, chosen(board), 10.0, ADDRESS))
    assert "is `monitor run`" in line(banner(Board(), Choices(), 10.0, ADDRESS))
    for seen in (board, board_with(state()), Board()):
        assert len(line(banner(seen, chosen(seen), 10.0, "tcp://127.0.0.1:5556"))) <= 80


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
    table = alarm_table(board, chosen(board), 110, 9, 0.0, focused=False)
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
    table = alarm_table(board, chosen(board, alarm_id="a05"), 80, 6, 0.0, focused=True)
    assert "a05" in table.keys
    assert table.lines[table.keys.index("a05")][0].ground is Ink.SELECTED
    assert len(table.lines) == 6


@pytest.mark.parametrize("width", [1, 5, 20, 40, 80, 300])
def test_tables_of_any_width(width):
    board = board_with(state(newest_s=60), alarm("a"))
    for table in (
        alarm_table(board, chosen(board), width, 5, 0.0, focused=False),
        stream_table(board, chosen(board), ["s"], width, 5, 0.0, focused=False),
    ):
        assert len({len(text) for text in table_text(table)}) == 1


def test_empty_tables_say_so():
    board = Board()
    assert "no alarms yet" in table_text(alarm_table(board, Choices(), 80, 5, 0.0, focused=False))[1]
    assert "no streams yet" in table_text(stream_table(board, Choices(), [], 80, 5, 0.0, focused=False))[1]
    assert len(alarm_table(board, Choices(), 80, 1, 0.0, focused=False).lines) == 1


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


def test_the_stream_table_while_a_signal_is_at_fault():
    board = board_with(
        state(newest_s=1, heart_rate_bpm=72.4), [score(1, 0.9)],
        alarm("a", kind=Kind.SIGNAL, label="lead-off", priority="medium"),
    )  # fmt: skip

    def row() -> str:
        return table_text(stream_table(board, chosen(board), [], 90, 5, 0.0, focused=False))[1]

    assert row().split()[:5] == ["s", "lead", "off", "--", "100"]
    assert "90%" not in row()
    board.fold(alarm("b", priority="high"), 0.0)
    assert row().split()[1] == "high"
    board.fold(alarm("a", kind=Kind.SIGNAL, label="lead-off", state=State.CLEARED), 0.0)
    assert row().split()[2] == "72"
    assert "90%" in row()


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
