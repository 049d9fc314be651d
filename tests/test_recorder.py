from __future__ import annotations

import contextlib
import shutil

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from monitor.core.blocks import NS, Alarm, Beat, Block, Event, Kind, State
from monitor.core.errors import ConfigError, RecordingError, StorageLost
from monitor.recorder import LONGEST_GAP_S, Recorder
from monitor.recordings import read_recording
from monitor.recordings_csv import CsvWriter
from monitor.recordings_edf import EdfWriter, read_edf
from monitor.recordings_wfdb import WfdbWriter

T0 = 1_700_000_000_250_000_000
RATE = 128.0
FORMS = ("wfdb", "edf", "csv")

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


def block(values, seq, *, stream="ecg/1", t0_ns=None, run="r", rate_hz=RATE, unit="mV"):
    values = np.asarray(values, np.float32).reshape(len(values), -1)
    at_ns = T0 + round(seq * NS / rate_hz) if t0_ns is None else t0_ns
    channels = tuple("ab"[: values.shape[1]])
    return Block(stream, values, run, seq, at_ns, rate_hz, channels, unit)


def read_all(recorder):
    return [read_recording(path) for path in recorder.files]


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=12)
@given(
    cuts=st.lists(st.integers(1, 300), min_size=1, max_size=12), lost=st.sets(st.integers(0, 11)),
    width=st.integers(1, 2), seed=st.integers(0, 99),
)  # fmt: skip
def test_what_was_taken_in_is_what_is_read(form, cuts, lost, width, seed, tmp_path_factory):
    random = np.random.default_rng(seed)
    recorder = Recorder(tmp_path_factory.mktemp("rec"), form)
    whole = np.round(random.normal(size=(sum(cuts), width)), 3).astype(np.float32)
    kept = np.zeros(len(whole), bool)
    at = 0
    for i, cut in enumerate(cuts):
        if i not in lost:
            recorder.block(block(whole[at : at + cut], at))
            kept[at : at + cut] = True
        at += cut
    recorder.close()
    if kept.sum() < 2:
        return
    first, last = np.flatnonzero(kept)[[0, -1]]
    expected = np.where(kept[:, None], whole, np.nan)[first : last + 1]
    (got,) = read_all(recorder)
    values = got.values[: len(expected)]
    np.testing.assert_allclose(values, expected, atol=1e-6)
    assert np.isnan(got.values[len(expected) :]).all(), "EDF fills its last record"
    assert (got.rate_hz, got.channels) == (RATE, ("a", "b")[:width])
    assert got.start_ns == pytest.approx(T0 + first * NS / RATE, abs=1000)
    assert (recorder.samples, recorder.missing) == (kept.sum(), len(expected) - kept[first : last + 1].sum())


@pytest.mark.parametrize("form", ["wfdb", "csv"])
@given(values=st.lists(st.floats(-200, 200, width=32), min_size=200, max_size=300))
@settings(max_examples=10)
def test_values_of_any_kind_come_back_to_a_millionth(form, values, tmp_path_factory):
    recorder = Recorder(tmp_path_factory.mktemp("rec"), form)
    recorder.block(block(values, 0))
    recorder.close()
    np.testing.assert_allclose(
        read_all(recorder)[0].values[:, 0], np.float32(values), atol=1e-6 if form == "wfdb" else 0
    )


@pytest.mark.parametrize("form", FORMS)
def test_what_was_flagged_is_annotated(form, tmp_path):
    recorder = Recorder(tmp_path, form)
    recorder.block(block(np.zeros(1280), 0))

    def at(seconds):
        return T0 + round(seconds * NS)

    recorder.notice(Beat("ecg/1", at(6.0), "V", 0.9, 0.8, 70.0))
    recorder.notice(Beat("ecg/1", at(5.0), "N", 0.9, 0.8, 70.0))
    recorder.notice(Event("ecg/1", Kind.SIGNAL, "gap", at(7), at(7), at(8), 1, 1, detail="9 samples missing"))
    recorder.notice(Event("ecg/2", Kind.SIGNAL, "gap", at(7), at(7), at(8), 1, 1, detail="of nobody's"))
    recorder.notice(
        Alarm("id", "ecg/1", Kind.CLASS, "V", "medium", State.ACTIVE, at(6), at(6.5), 0.9, 0.5, acknowledged=True)
    )
    recorder.block(block(np.zeros(1280), 1280))
    recorder.close()
    (got,) = read_all(recorder)
    labels = dict(zip(got.label_samples.tolist(), got.label_symbols, strict=True))
    noted = {**labels, **dict(got.remarks)}
    assert noted == {
        640: "N",
        768: "V",
        832: "alarm class:V active, acknowledged (medium)",
        896: "signal:gap 9 samples missing",
    }
    assert labels.items() >= {640: "N", 768: "V"}.items()


@pytest.mark.parametrize("form", FORMS)
def test_what_was_synced_survives_the_recorder(form, tmp_path):
    recorder = Recorder(tmp_path / "rec", form)
    values = np.round(np.sin(np.arange(128 * 100) / 20), 3)
    for seq in range(0, len(values), 100):
        recorder.block(block(values[seq : seq + 100], seq))
        if seq % 2000 == 0:
            recorder.notice(Beat("ecg/1", T0 + round(max(seq - 50, 0) * NS / RATE), "V", 0.9, 0.8, 70.0))
        if seq == 9000:
            recorder.sync()
            shutil.copytree(tmp_path / "rec", tmp_path / "found")
    got = read_recording(tmp_path / "found" / recorder.files[0].name)
    least = {"wfdb": 9100, "edf": 9088, "csv": 9100 - 640}[form]
    assert len(got.values) >= least - 1
    np.testing.assert_allclose(got.values[:, 0], np.float32(values[: len(got.values)]), atol=1e-6)
    assert got.label_samples.tolist() == [at for at in (0, 1950, 3950, 5950, 7950) if at < len(got.values)]
    recorder.close()


def test_late_annotations_are_put_in_order_even_far_apart(tmp_path):
    writer = WfdbWriter(tmp_path / "r", 10.0, ("a",), "mV", T0, 1e-6)
    for second in range(300):
        writer.write(np.zeros((10, 1), np.float32))
        if second % 100 == 50:
            writer.note(second * 10, "V", "")
            writer.note(second * 10 - 300, "N", "")
        if second == 200:
            writer.note(0, "A", "too late by far")
        writer.sync()
    writer.close()
    got = read_recording(tmp_path / "r")
    assert list(zip(got.label_samples.tolist(), got.label_symbols, strict=True)) == [
        (200, "N"), (500, "V"), (1200, "N"), (1200, "A"), (1500, "V"), (2200, "N"), (2500, "V"),
    ]  # fmt: skip


def test_another_recording_begins_where_one_cannot_go_on(tmp_path):
    recorder = Recorder(tmp_path, "wfdb")
    ten = np.zeros(10)
    recorder.block(block(ten, 0))
    recorder.block(block(ten, 10, t0_ns=T0 + round((LONGEST_GAP_S + 60) * NS)))  # too long a gap
    recorder.block(block(ten, 0, run="s", t0_ns=T0 + 5 * NS))  # a clock that went back
    recorder.block(block(ten, 10, run="s", rate_hz=64.0, t0_ns=T0 + 6 * NS))
    recorder.block(block(ten, 20, run="s", rate_hz=64.0, t0_ns=T0 + 7 * NS, unit="V"))
    recorder.block(block(np.zeros((10, 2)), 30, run="s", rate_hz=64.0, t0_ns=T0 + 8 * NS, unit="V"))
    recorder.close()
    assert [len(got.values) for got in read_all(recorder)] == [10] * 6
    assert len(set(recorder.files)) == 6


def test_values_too_large_for_the_file_begin_another_one(tmp_path):
    for form, large in (("wfdb", 5e4), ("edf", 40.0)):
        recorder = Recorder(tmp_path / form, form)
        recorder.block(block(np.ones(128), 0))
        recorder.block(block(np.full(128, large), 128))
        recorder.close()
        first, second = read_all(recorder)
        assert (first.values == 1).all()
        np.testing.assert_allclose(second.values, large, rtol=1e-4)


def test_a_clock_that_strays_is_followed_and_what_comes_twice_is_left_out(tmp_path):
    recorder = Recorder(tmp_path, "csv")
    stray_ns = 0
    for seq in range(0, 1280, 10):
        stray_ns += 600_000
        recorder.block(block(np.arange(seq, seq + 10), seq, t0_ns=T0 + round(seq * NS / RATE) + stray_ns))
    recorder.block(block(np.arange(1260, 1290), 1260))
    recorder.close()
    (got,) = read_all(recorder)
    assert got.values[:, 0].tolist() == list(range(1290))


def test_only_what_is_wanted_is_recorded(tmp_path):
    recorder = Recorder(tmp_path, "csv", ("ecg/*", "vital/1"))
    for stream in ("ecg/1", "ecg/2", "vital/1", "vital/2"):
        recorder.block(block(np.zeros(10), 0, stream=stream))
    recorder.close()
    assert sorted(path.name.rpartition("-")[0] for path in recorder.files) == ["ecg-1", "ecg-2", "vital-1"]


def test_an_edf_file_of_a_small_signal_keeps_its_digits(tmp_path):
    recorder = Recorder(tmp_path, "edf")
    values = 1e-3 * np.sin(np.arange(2560) / 9)
    for seq in range(0, 2560, 64):
        recorder.block(block(values[seq : seq + 64], seq, unit="V"))
    recorder.close()
    (got,) = read_all(recorder)
    np.testing.assert_allclose(got.values[:, 0], values, atol=6e-7)


def test_a_disk_that_is_full_is_told(tmp_path, monkeypatch):
    recorder = Recorder(tmp_path, "csv")
    recorder.block(block(np.zeros(2000), 0))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(CsvWriter, "write", full)
    with pytest.raises(StorageLost, match="No space left"):
        recorder.block(block(np.zeros(10), 2000))
    monkeypatch.setattr(CsvWriter, "sync", full)
    with pytest.raises(StorageLost, match="No space left"):
        recorder.sync()
    monkeypatch.undo()
    recorder.close()
    assert len(read_all(recorder)[0].values) == 2000, "what was durable still is"


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="expected a folder"):
        Recorder(tmp_path / "file")


@given(raw=st.binary(max_size=2000), at=st.integers(0, 1200), length=st.integers(0, 3000))
@settings(max_examples=60, phases=[Phase.explicit, Phase.generate])
def test_any_bytes_are_an_edf_recording_or_refused(raw, at, length, tmp_path_factory):
    folder = tmp_path_factory.mktemp("edf")
    writer = EdfWriter(folder / "a.edf", 4.0, ("a",), "mV", T0, 1e-3)
    writer.write(np.zeros((20, 1), np.float32))
    writer.close()
    good = (folder / "a.edf").read_bytes()
    for broken in (raw, good[:at] + raw + good[at + len(raw) :], good[:length]):
        (folder / "b.edf").write_bytes(broken)
        with contextlib.suppress(RecordingError):
            assert read_edf(folder / "b.edf").values.ndim == 2


def test_records_of_edf_that_do_not_follow_on_have_gaps_between_them(tmp_path):
    writer = EdfWriter(tmp_path / "a.edf", 4.0, ("a",), "mV", T0 // NS * NS, 1e-3)
    writer.write(np.ones((12, 1), np.float32))
    writer.close()
    raw = (tmp_path / "a.edf").read_bytes()
    for second, later in ((b"+1.000000", b"+3.000000"), (b"+2.000000", b"+4.000000")):
        raw = raw.replace(second, later)
    (tmp_path / "a.edf").write_bytes(raw.replace(b"EDF+C", b"EDF+D"))
    got = read_recording(tmp_path / "a.edf")
    assert np.isnan(got.values[:, 0]).tolist() == [False] * 4 + [True] * 8 + [False] * 8
