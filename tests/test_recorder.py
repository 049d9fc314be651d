from __future__ import annotations

import contextlib
import shutil

import numpy as np
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from monitor.core.blocks import NS, Alarm, Beat, Block, Event, Kind, State
from monitor.core.errors import ConfigError, RecordingError, StorageLost
from monitor.recorder import LONGEST_GAP_S, Recorder
from monitor.recordings import read_recording
from monitor.recordings_csv import CsvWriter
from monitor.recordings_edf import EdfWriter, read_edf, steps_for
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


@pytest.mark.parametrize("unit", ["mmHg", "mV"])
def test_each_channel_of_an_edf_file_has_a_range_of_its_own(unit, tmp_path):
    recorder = Recorder(tmp_path, "edf")
    wave = np.sin(np.arange(1280) / 9)
    recorder.block(block(np.stack((wave, 1000 * wave), 1), 0, unit=unit))
    recorder.close()
    (got,) = read_all(recorder)
    np.testing.assert_allclose(got.values[:, 0], wave, atol=6e-4)
    np.testing.assert_allclose(got.values[:, 1], 1000 * wave, atol=0.06)


@given(largest=st.floats(1e-5, 9e6), shares=st.lists(st.integers(-3000, 3000), min_size=1, max_size=50))
@example(largest=9e6, shares=[1000])
def test_an_edf_file_has_room_and_thousands_of_steps_for_what_it_began_with(largest, shares, tmp_path_factory):
    path = tmp_path_factory.mktemp("edf") / "a.edf"
    (step,) = steps_for(np.float32([[largest]]))
    writer = EdfWriter(path, 1.0, ("a",), "", T0, [step])
    values = (np.float32(shares) * np.float32(min(largest, 3e6) / 1000))[:, None]
    assert largest / step >= min(largest / 5e-9, 3999)
    assert step <= 300, "32000 of more are no number of seven digits"
    assert writer.fits(values)
    writer.write(values)
    writer.close()
    np.testing.assert_allclose(read_edf(path).values, values, rtol=2e-7, atol=0.5001 * step)


@pytest.mark.parametrize("value", [95.37, 99.99, 0.1234, 7.654])
def test_an_edf_file_keeps_four_digits(value, tmp_path):
    recorder = Recorder(tmp_path, "edf")
    recorder.block(block(np.full(1280, value), 0, unit="%"))
    recorder.close()
    assert (read_all(recorder)[0].values == np.float32(value)).all()


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("glitch", [3e38, -3e38, np.inf, 1e7])
@pytest.mark.parametrize("at", [0, 1500])
def test_what_no_edf_file_can_hold_is_clipped_and_leaves_the_rest_as_it_is(glitch, at, tmp_path):
    recorder = Recorder(tmp_path, "edf")
    values = np.stack((np.linspace(-1, 1, 2560), np.linspace(-9, 9, 2560)), 1)
    values[at, 0] = glitch
    for seq in range(0, 2560, 128):
        recorder.block(block(values[seq : seq + 128], seq, unit="V"))
    recorder.close()
    (got,) = read_all(recorder)
    assert 3 <= got.values[at, 0] * np.sign(glitch) <= 9
    got.values[at, 0] = values[at, 0] = 0
    np.testing.assert_allclose(got.values, values, atol=6e-4)


def test_a_writer_of_edf_clips_what_does_not_fit(tmp_path):
    writer = EdfWriter(tmp_path / "a.edf", 4.0, ("a", "b"), "mV", T0, [1e-3, 1.0])
    values = np.float32([[40, 40], [-40, -4e4], [33, 4e4], [1, np.nan]])
    assert not writer.fits(values)
    writer.write(values)
    writer.close()
    np.testing.assert_array_equal(
        read_edf(tmp_path / "a.edf").values, [[32, 40], [-32, -32000], [32, 32000], [1, np.nan]]
    )


def test_a_channel_that_begins_without_a_value_has_the_range_of_its_neighbour(tmp_path):
    recorder = Recorder(tmp_path, "edf")
    values = np.full((2560, 2), 50.0)
    values[:640, 0], values[640:1280, 0] = np.nan, 0
    for seq in range(0, 2560, 128):
        recorder.block(block(values[seq : seq + 128], seq, unit="%"))
    recorder.close()
    (got,) = read_all(recorder)
    np.testing.assert_array_equal(got.values, values)


def test_an_edf_file_of_before_is_still_read(tmp_path):
    """Then the range of every channel ended at 32767 steps."""
    writer = EdfWriter(tmp_path / "a.edf", 4.0, ("a",), "mV", T0, [1e-3])
    writer.write(np.float32([[1.234], [-32], [np.nan], [0]]))
    writer.close()
    raw = (tmp_path / "a.edf").read_bytes()
    for now, before in (
        (b"-32000  -32768  32000   32767   ", b"-32767  -32768  32767   32767   "),
        (b"-32     -1      32      1       ", b"-32.767 -1      32.767  1       "),
    ):
        assert now in raw
        raw = raw.replace(now, before)
    (tmp_path / "a.edf").write_bytes(raw)
    got = read_edf(tmp_path / "a.edf").values[:, 0]
    np.testing.assert_array_equal(got, np.float32([1.234, -32, np.nan, 0]))


@pytest.mark.parametrize("form", ["wfdb", "edf"])
@pytest.mark.parametrize("micro", ["\u00b5", "\u03bc"])
def test_microvolts_are_written_as_is_the_custom(form, micro, tmp_path):
    recorder = Recorder(tmp_path, form)
    recorder.block(block(np.ones(1280), 0, unit=f"{micro}V"))
    recorder.close()
    assert read_all(recorder)[0].unit == "uV"


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
    writer = EdfWriter(folder / "a.edf", 4.0, ("a",), "mV", T0, [1e-3])
    writer.write(np.zeros((20, 1), np.float32))
    writer.close()
    good = (folder / "a.edf").read_bytes()
    for broken in (raw, good[:at] + raw + good[at + len(raw) :], good[:length]):
        (folder / "b.edf").write_bytes(broken)
        with contextlib.suppress(RecordingError):
            assert read_edf(folder / "b.edf").values.ndim == 2


def test_records_of_edf_that_do_not_follow_on_have_gaps_between_them(tmp_path):
    writer = EdfWriter(tmp_path / "a.edf", 4.0, ("a",), "mV", T0 // NS * NS, [1e-3])
    writer.write(np.ones((12, 1), np.float32))
    writer.close()
    raw = (tmp_path / "a.edf").read_bytes()
    for second, later in ((b"+1.000000", b"+3.000000"), (b"+2.000000", b"+4.000000")):
        raw = raw.replace(second, later)
    (tmp_path / "a.edf").write_bytes(raw.replace(b"EDF+C", b"EDF+D"))
    got = read_recording(tmp_path / "a.edf")
    assert np.isnan(got.values[:, 0]).tolist() == [False] * 4 + [True] * 8 + [False] * 8
