from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from monitor.core.conditioning import Conditioner
from monitor.core.errors import ConfigError
from tests.training.conftest import tiny
from training.config import FitConfig
from training.datasets import PARTS, Series, cut_windows, load_data, mark_samples

pytestmark = pytest.mark.filterwarnings("ignore:The inplace keyword")  # wfdb writes the test records with it


def series(length: int, at: list[int], kinds: list[int]) -> Series:
    values = np.arange(length, dtype=np.float32)[:, None]
    return Series("s", values, np.array(at, np.int64), np.array(kinds, np.int64))


def records(folder: Path, names: str, channels: int = 2) -> None:
    wfdb = pytest.importorskip("wfdb")
    for k, name in enumerate(names):
        random = np.random.default_rng(k)
        values = np.cumsum(random.standard_normal((4000, channels)), axis=0) / 50 + 10 * k
        leads = ["V5", "MLII"][:channels]
        wfdb.wrsamp(name, 360, ["mV"] * channels, leads, values, fmt=["16"] * channels, write_dir=str(folder))
        at = np.arange(500, 4000, 300)
        wfdb.wrann(name, "atr", at, ["N", "V", "+", "Q"] * 3, write_dir=str(folder))


def records_config(**data: Any) -> FitConfig:
    source = {"source": "records", "name": "test", "licence": "none", "folder": "db", "train": ["a", "b"],
              "validation": ["c"], "calibration": ["c"], "test": ["d"], **data}  # fmt: skip
    model = {"rate_hz": 72.0, "window": 12, "samples_per_step": 3, "hop": 1, "delay": 2, "classes": ["N", "V"]}
    tree = {"name": "r", "task": "beats", "data": source, "model": model, "train": {"first_step": 8},
            "conditioning": {"high_pass_hz": 0.5, "low_pass_hz": 28.0, "gain": "running-range"}}  # fmt: skip
    return msgspec.convert(tree, FitConfig)


def test_windows_and_what_follows_them() -> None:
    config = tiny(window=12)
    values, marks, ends = cut_windows(series(9000, [], []), config, hop=5, future=7)
    expected = sliding_window_view(np.arange(9000, dtype=np.float32), 19)[::5]
    np.testing.assert_array_equal(values[:, :, 0], expected)
    np.testing.assert_array_equal(ends, values[:, 11, 0] + 1)  # samples up to the end of the history
    assert marks.shape == (len(values), 19)


def test_parts_of_a_recording_do_not_overlap(tmp_path: Path) -> None:
    """Every sample has a value of its own, so that a window betrays where it comes from."""
    path = tmp_path / "ramp.csv"
    path.write_text("\n".join(str(i) for i in range(4000)))
    data = {"source": "recording", "path": str(path), "rate_hz": 50.0}
    base = tiny(window=12)
    config = msgspec.convert({**msgspec.to_builtins(base), "data": data}, FitConfig)
    loaded = load_data(config, None)
    seen: set[float] = set()
    for part, share in zip(PARTS, (2800, 400, 400, 400), strict=True):
        values, _, _ = cut_windows(loaded.parts[part][0], config, 1, config.model.horizon)
        own = set(np.unique(values).tolist())
        assert len(own) == share
        assert not own & seen
        seen |= own
    assert max(seen) == 3999


def test_simulated_parts_are_realisations_of_their_own() -> None:
    parts = load_data(tiny(), None).parts
    first = [parts[part][0].values[:200, 0] for part in PARTS]
    for i in range(4):
        for j in range(i):
            assert not np.array_equal(first[i], first[j])


def test_records_are_split_by_patient(tmp_path: Path) -> None:
    folder = tmp_path / "db"
    folder.mkdir()
    records(folder, "abcd")
    data = load_data(records_config(), tmp_path)
    assert [[s.name for s in data.parts[part]] for part in PARTS] == [["a", "b"], ["c"], ["c"], ["d"]]
    assert (data.rate_hz, data.channels, data.unit) == (72.0, 1, "mV")
    for one, other in (("train", "test"), ("train", "validation"), ("validation", "test")):
        lists = {"train": ["a"], "validation": ["b"], "calibration": ["c"], "test": ["d"]}
        leaking = records_config(**lists | {other: lists[one]})
        with pytest.raises(ConfigError, match=f"stand in both {one} and {other}"):
            load_data(leaking, tmp_path)
    with pytest.raises(ConfigError, match="expected records in each"):
        load_data(records_config(test=[]), tmp_path)


def test_records_are_conditioned_as_the_monitor_does(tmp_path: Path) -> None:
    folder = tmp_path / "db"
    folder.mkdir()
    records(folder, "abcd")
    config = records_config()
    got = load_data(config, tmp_path).parts["test"][0]

    from monitor.recordings import read_recording

    recording = read_recording(folder / "d")
    lead = recording.values[:, recording.channels.index("MLII")]
    conditioner = Conditioner(config.conditioning, 72.0, 1, 4)
    conditioner.start(2, 360.0)
    parts = [conditioner.push(np.array([2]), lead[None, i : i + 7, None])[1] for i in range(0, len(lead), 7)]
    np.testing.assert_allclose(got.values, np.concatenate(parts), atol=1e-5)
    # Labels: 360 Hz -> 72 Hz, less the second that the gain takes; "+" is no beat, Q is one of unknown class.
    kept = [i for i in range(12) if i % 4 != 2]
    at = np.round((500 + 300 * np.array(kept)) / 5).astype(int) - 72
    assert got.at.tolist() == at.tolist()
    assert got.kinds.tolist() == [{0: 0, 1: 1, 3: 0}[i % 4] for i in kept]


def test_copies_are_for_training_only(tmp_path: Path) -> None:
    folder = tmp_path / "db"
    folder.mkdir()
    records(folder, "abcd")
    records(tmp_path, "n")
    plain = load_data(records_config(), tmp_path)
    data = load_data(records_config(copies=2, noise=["n"]), tmp_path)
    assert len(data.parts["train"]) == 2 * 3 * 2
    assert sum(s.noisy for s in data.parts["train"]) == 6
    for part in ("validation", "calibration", "test"):
        np.testing.assert_array_equal(data.parts[part][0].values, plain.parts[part][0].values)
    assert data.digest == plain.digest
    assert len(plain.digest) == 64


def test_marks_of_a_classifier() -> None:
    marks = mark_samples(series(40, [10, 30], [1, 1]), tiny("classify", label_steps=5))
    expected = np.zeros(40, int)
    expected[10:15] = expected[30:35] = 1
    expected[15:19] = expected[35:39] = -1
    assert marks.tolist() == expected.tolist()


def test_a_gap_is_filled_before_it_is_learned_from(tmp_path: Path) -> None:
    path = tmp_path / "gap.csv"
    path.write_text("x,y\n" + "\n".join(f"{'' if 50 < i < 60 else i},{-i}" for i in range(2000)))
    data = {"source": "recording", "path": str(path), "rate_hz": 50.0}
    config = msgspec.convert({**msgspec.to_builtins(tiny()), "data": data}, FitConfig)
    got = load_data(config, None).parts["train"][0].values
    np.testing.assert_allclose(got[:, 0], np.arange(1400), atol=1e-3)
    np.testing.assert_allclose(got[:, 1], -np.arange(1400), atol=1e-3)


def test_spikes_put_into_records_are_where_their_labels_say(tmp_path: Path) -> None:
    folder = tmp_path / "db"
    folder.mkdir()
    records(folder, "abcd")
    config = records_config(spikes_per_minute=300, spike_sizes=(4.0, 6.0))
    tree = msgspec.to_builtins(config) | {"task": "classify", "conditioning": {}}
    tree["model"] |= {"classes": ["quiet", "spike"], "rate_hz": 360.0, "label_steps": 5, "delay": 0}
    data = load_data(msgspec.convert(tree, FitConfig), tmp_path)
    for series in data.parts["train"]:
        assert len(series.at) > 30
        assert set(series.kinds.tolist()) == {1}
        jumps = np.abs(np.diff(series.values[:, 0]))
        at_spikes = jumps[series.at[1:-1] - 1]
        assert np.median(at_spikes) > 20 * np.median(jumps)
