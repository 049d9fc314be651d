"""Why, export, signal quality, overview, list order, typed commands: the pure parts of what a watcher asks for."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest

from monitor.core.blocks import Kind, Note, State
from monitor.core.errors import MonitorError
from monitor.dashboard.choices import Choices
from monitor.dashboard.commands import COMMANDS, CommandError, clock_ns, parse, seconds_of
from monitor.dashboard.export import free_path, piece_of, write_csv, write_wfdb
from monitor.dashboard.listing import Order, listed
from monitor.dashboard.overview import draw_overview, tiling
from monitor.dashboard.palette import Ink
from monitor.dashboard.quality import bars, quality
from monitor.dashboard.raster import ASCII
from monitor.dashboard.state import Board
from monitor.dashboard.themes import PALETTES, palette_named, rgb
from monitor.dashboard.trace import Trace
from monitor.dashboard.typed import Typed
from monitor.dashboard.why import case_of, why_lines, why_picture
from tests.dashboard.making import T0, alarm, at, beat, block, event, forecast, score, state, status


def flagged_board() -> Board:
    board = Board()
    board.fold(status(latency_ms=4.0), 0.0)
    board.fold(state(newest_s=9.0), 0.0)
    board.fold(block(np.zeros(500), 0.0), 0.0)
    board.fold(forecast(4.99, np.zeros(100)), 0.0)
    board.fold(block(np.full(100, 0.5), 5.0), 0.0)
    board.fold(forecast(5.99, np.full(100, 0.5)), 0.0)
    board.fold(block(np.full(300, 0.5), 6.0), 0.0)
    board.fold(event(5.2, 5.6), 0.0)
    board.fold(alarm("a", 5.4, model="m@1", times=2), 0.0)
    board.fold_models([{
        "name": "m", "version": "1", "task": "classify", "cell": "gru", "hidden": 32, "parameters": 3400,
        "rate_hz": 75.0, "samples_per_step": 3, "window": 50, "metrics": {"Se": 0.997},
    }])  # fmt: skip
    return board


def text_of(lines) -> str:
    return "\n".join("".join(part.text for part in line) for line in lines)


def test_why_tells_score_model_window_forecast_and_latency():
    board = flagged_board()
    board.fold(Note("a-verdict", "s", at(5.4), 1, "a cable", alarm="a", verdict="false"), 0.0)
    case = case_of(board, Choices())
    text = text_of(why_lines(board, case, board.streams["s"], blocks=True))
    for said in (
        "V  s", "medium priority, active, rose 2 times; somebody said: false", "the classifier saw it",
        "0.900 against a threshold of 0.500", "m@1  classify, GRU-32, 3400 parameters; tested: Se 0.997",
        "50 steps at 25.0 Hz, 2 s to 13:46:45.600", "m@1 was off by 0.50 mV",
        "0% lay in its interval",
        "half within 4 ms", "a cable",
    ):  # fmt: skip
        assert said in text


def test_why_shows_what_came_and_what_the_model_had_seen():
    board = flagged_board()
    cells = why_picture(board, case_of(board, Choices()), board.streams["s"], Choices(), 14, 100)
    drawn = ["".join(map(chr, row)) for row in cells.glyph.tolist()]
    assert " window " in drawn[-1]
    assert "V 0.90" in "".join(drawn)
    assert (cells.ink == Ink.GHOST).any()


def test_why_of_what_nobody_can_explain():
    assert case_of(Board(), Choices()) is None
    board = Board()
    board.fold(alarm("a", stream="gone", threshold=math.nan), 0.0)
    text = text_of(why_lines(board, case_of(board, Choices()), None, blocks=False))
    assert "none: this needs no model" in text
    assert text.isascii()


# export


def piece():
    board = flagged_board()
    board.fold(beat(2.0, "V"), 0.0)
    board.fold(beat(5.4, "V"), 0.0)
    verdict = Note("a-verdict", "s", at(5.4), 1, alarm="a", verdict="false")
    return piece_of(board.streams["s"], at(1.0), at(6.0), [Note("n", "s", at(3.0), 1, "patient moved")], [verdict])


def test_what_is_exported_carries_labels_and_heeds_verdicts(tmp_path):
    found = piece()
    assert found.marks == ((100, "V"), (200, "patient moved"), (440, "N"))
    path = tmp_path / "seen.csv"
    write_csv(found, path)
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert len(rows) == 501
    assert rows[100]["label"] == "V"
    assert float(rows[0]["time"]) == pytest.approx(T0 / 1e9 + 1.0)
    assert rows[400]["ch1"] == "0.5"


def test_an_exported_csv_can_be_read_as_a_recording(tmp_path):
    from monitor.recordings import read_recording

    write_csv(piece(), tmp_path / "seen.csv")
    read = read_recording(tmp_path / "seen.csv")
    assert read.rate_hz == pytest.approx(100.0)
    assert read.values.shape == (501, 1)


def test_an_exported_wfdb_record_can_be_read_as_a_recording(tmp_path):
    pytest.importorskip("wfdb")
    from monitor.recordings import read_recording

    write_wfdb(piece(), tmp_path, "seen")
    read = read_recording(tmp_path / "seen")
    assert (read.rate_hz, read.unit, len(read.values)) == (100.0, "mV", 501)
    assert list(zip(read.label_samples.tolist(), read.label_symbols, strict=True)) == [(100, "V"), (440, "N")]


def test_nothing_is_overwritten_and_nothing_is_made_of_nothing(tmp_path):
    (tmp_path / "x.csv").touch()
    assert free_path(tmp_path, "x", ".csv").name == "x-2.csv"
    with pytest.raises(MonitorError, match="cannot be written"):
        write_csv(piece(), tmp_path / "x.csv")
    with pytest.raises(MonitorError, match="nothing to write"):
        piece_of(flagged_board().streams["s"], at(100.0), at(110.0), [], [])


# signal quality


@pytest.mark.parametrize(
    ("signal", "level", "fault"),
    [
        (np.sin(np.arange(500) / 10), 4, ""),
        (np.zeros(500), 0, "flat line"),
        (np.clip(3 * np.sin(np.arange(500) / 20), -1, 1), 1, "saturated"),
        (np.where(np.arange(500) % 10 < 9, np.sin(np.arange(500) / 10), np.nan), 2, "10% missing"),
        (np.full(500, np.nan), 0, "missing"),
        (np.resize([1.0, -1.01, 0.99, -1.0], 500) + np.linspace(0, 0.1, 500), 1, "noise"),
    ],
)
def test_signal_quality(signal, level, fault):
    trace = Trace(100.0, 1)
    trace.push(block(signal))
    assert quality(trace, 0) == (level, fault)


def test_signal_quality_is_not_known_at_once_and_is_drawn():
    trace = Trace(100.0, 1)
    trace.push(block([1.0, 2.0]))
    assert quality(trace, 0) is None
    assert (bars(2, blocks=True), bars(2, blocks=False)) == ("▂▄··", "12..")


# lists and the overview


def ward(count: int) -> Board:
    board = Board()
    board.fold(status(), 0.0)
    for i in range(count):
        board.fold(state(f"bed/{i:03d}", newest_s=9.0, heart_rate_bpm=60.0 + i % 30), 0.0)
    return board


def test_streams_are_filtered_and_sorted():
    board = ward(12)
    board.fold(alarm("a", stream="bed/007", priority="high"), 0.0)
    board.fold([score(8.9, 0.9, stream="bed/003")], 0.0)
    assert listed(board, Order.NAME, "00[1-2]") == ["bed/001", "bed/002"]
    assert listed(board, Order.TROUBLE, "")[:2] == ["bed/007", "bed/003"]
    assert listed(board, Order.NAME, "bed/01(") == []  # no regular expression, taken letter by letter
    board.fold(state("fast", rate_hz=500.0), 0.0)
    assert listed(board, Order.RATE, "")[0] == "fast"


@pytest.mark.parametrize("count", [1, 4, 30, 100])
def test_so_many_tiles_fit_on_a_large_screen(count):
    found = tiling(count, 50, 200)
    assert found.room >= count
    assert found.across * found.width <= 200
    assert found.down * found.height <= 50


def test_what_is_wrong_stands_out_among_a_hundred():
    board = ward(100)
    board.fold(alarm("a", stream="bed/042", priority="high"), 0.0)
    page = draw_overview(board, Choices(selected="bed/000"), 50, 200, 0.0)
    assert len(page.names) == 100
    at_tile = page.names.index("bed/042")
    row, column = (
        at_tile // page.tiling.across * page.tiling.height,
        at_tile % page.tiling.across * page.tiling.width,
    )
    red = page.cells.ground == Ink.BAND_HIGH
    assert red[row, column]
    assert red.sum() == red[row : row + page.tiling.height, column : column + page.tiling.width].sum()
    assert "▲▲▲ 72" in "".join(map(chr, page.cells.glyph[row].tolist()))


def test_a_tile_says_what_is_wrong_with_its_signal_instead_of_a_rate_that_was():
    board = ward(1)
    board.fold(alarm("a", stream="bed/000", kind=Kind.SIGNAL, label="lead-off"), 0.0)

    def top() -> str:
        page = draw_overview(board, Choices(selected="bed/000"), 12, 60, 0.0)
        return "".join(map(chr, page.cells.glyph[0].tolist()))

    assert top().rstrip().endswith("◆ lead off")
    board.fold(alarm("a", stream="bed/000", kind=Kind.SIGNAL, label="lead-off", state=State.CLEARED), 0.0)
    assert top().rstrip().endswith(" 60")


def test_a_tile_without_data_shows_no_rate_either():
    board = ward(1)
    board.fold(alarm("a", stream="bed/000", priority="high"), 0.0)
    board.fold(status(), 60.0)
    page = draw_overview(board, Choices(selected="bed/000"), 12, 60, 60.0)
    assert "▲▲▲ no data" in "".join(map(chr, page.cells.glyph[0].tolist()))


def test_an_overview_that_does_not_fit_shows_the_page_of_the_selected():
    page = draw_overview(ward(200), Choices(selected="bed/150", glyphs=ASCII), 18, 80, 0.0)
    assert "bed/150" in page.names
    assert len(page.names) < 200
    first = int(page.names[0][-3:])
    last_row = "".join(map(chr, page.cells.glyph[-1].tolist())).strip()
    assert last_row == f"{first + 1} to {first + len(page.names)} of 200 streams"
    assert (page.cells.glyph < 128).all()


# commands


def test_commands_are_found_by_their_beginning():
    assert parse("sil 30") == (next(c for c in COMMANDS if c.name == "silence"), "30")
    assert parse("time 8")[0].name == "time"
    with pytest.raises(CommandError, match="which one: test, true, time, theme"):
        parse("t")
    with pytest.raises(CommandError, match="no command 'xyz'"):
        parse("xyz")
    with pytest.raises(CommandError):
        parse("")


def test_every_command_can_be_carried_out():
    assert all(callable(getattr(Typed, f"do_{command.name}", None)) for command in COMMANDS)


def test_times_are_read():
    assert clock_ns("13:46:45", at(9.0)) == at(5.0)
    assert clock_ns("23:00", at(0.0)) < at(0.0)  # yesterday
    assert seconds_of("-3") == -3
    for bad in ("25:00", "1:2:3:4", "x:y", ""):
        with pytest.raises(CommandError):
            clock_ns(bad, at(0.0))


# themes


def test_every_theme_knows_every_ink():
    for palette in PALETTES:
        assert not palette.colours or set(palette.colours) == set(Ink)
        assert all(rgb(palette, ink).startswith("#") for ink in Ink)
    assert palette_named("col").name == "colour-blind safe"
    assert palette_named("") is None


@pytest.mark.parametrize("name", ["dark", "light", "ECG paper", "colour-blind safe"])
def test_every_trace_can_be_told_from_its_ground(name):
    """Contrast after WCAG: 3 to 1 for what is drawn, on paper and on bands; 4.5 for text."""
    palette = palette_named(name)

    def luminance(ink: Ink) -> float:
        channels = [int(rgb(palette, ink)[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(a: Ink, b: Ink) -> float:
        low, high = sorted((luminance(a), luminance(b)))
        return (high + 0.05) / (low + 0.05)

    for ground in (Ink.PAPER, Ink.BAND_MEDIUM):
        for ink in (Ink.TRACE, Ink.TRACE_2, Ink.TRACE_3, Ink.FORECAST):
            assert contrast(ink, ground) >= 3, (ink, ground)
    assert contrast(Ink.HIGH, Ink.BAND_HIGH) >= 3
    banners = (Ink.BANNER_HIGH, Ink.BANNER_MEDIUM, Ink.BANNER_LOW)
    for ink, ground in ((Ink.TEXT, Ink.PAPER), (Ink.TEXT, Ink.SELECTED), *((Ink.INVERSE, b) for b in banners)):
        assert contrast(ink, ground) >= 4.5, (ink, ground)
