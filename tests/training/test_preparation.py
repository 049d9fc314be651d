"""Cleaning and features against known answers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import butter, sosfilt, sosfilt_zi

from monitor.core.errors import ConfigError, RecordingError
from training.preparation import (
    cut,
    dominant_frequencies,
    embed,
    fill_missing,
    find_outliers,
    low_pass,
    median_filter,
    min_max,
    z_score,
)

NAN = np.nan


def floats(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_missing_values_are_bridged_by_straight_lines_per_channel() -> None:
    filled, missing = fill_missing(floats(NAN, 1, NAN, NAN, 4, np.inf))
    assert filled.tolist() == [1, 1, 2, 3, 4, 4]
    assert missing.tolist() == [True, False, True, True, False, True]
    both = np.stack([floats(0, NAN, 2), floats(5, 5, NAN)], axis=1)
    assert fill_missing(both)[0].tolist() == [[0, 5], [1, 5], [2, 5]]
    assert np.isnan(both).sum() == 2  # the original is left alone
    with pytest.raises(RecordingError, match="channel 2: expected numbers"):
        fill_missing(np.stack([floats(0, 1), floats(NAN, NAN)], axis=1))


def test_outliers_are_far_values_and_not_the_peaks_of_a_heart_beat() -> None:
    beats = np.zeros(1000, np.float32)
    beats[::40] = 1.0  # a peak as rare and as high as an R wave
    beats += 0.01 * np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    assert not find_outliers(beats).any()
    beats[[10, 500]] = 40, -40
    beats[20] = NAN
    assert np.flatnonzero(find_outliers(beats)).tolist() == [10, 500]
    assert not find_outliers(np.full(50, 3, np.float32)).any()


def test_median_filter_removes_spikes_and_keeps_edges() -> None:
    assert median_filter(floats(0, 0, 9, 0, 0, 5, 5, 5), 3).tolist() == [0, 0, 0, 0, 0, 5, 5, 5]
    assert median_filter(np.stack([floats(1, 7, 1)] * 2, axis=1), 3).tolist() == [[1, 1]] * 3
    assert median_filter(floats(3, 1, 2), 1).tolist() == [3, 1, 2]
    with pytest.raises(ConfigError, match="odd width"):
        median_filter(floats(1, 2), 2)


def test_low_pass_is_the_causal_butterworth_of_the_monitor() -> None:
    values = np.random.default_rng(0).standard_normal(9000).astype(np.float32)
    sections = butter(2, 20, fs=360, output="sos")
    expected, _ = sosfilt(sections, values, zi=sosfilt_zi(sections) * values[0])
    assert np.allclose(low_pass(values, 20, 360), expected, atol=1e-5)
    slower = low_pass(np.stack([values, values], axis=1), 20, 360, 60)
    assert slower.shape == (1500, 2)
    assert np.allclose(slower[:, 1], expected[::6], atol=1e-5)


def test_scales_go_there_and_back() -> None:
    values = np.stack([floats(1, 2, 3, 6), floats(-10, 0, 10, 20)], axis=1)
    scaled = z_score(values).apply(values)
    assert np.allclose(scaled.mean(axis=0), 0, atol=1e-6)
    assert np.allclose(scaled.std(axis=0), 1, atol=1e-6)
    assert min_max(values).apply(values)[:, 0].tolist() == pytest.approx([0, 0.2, 0.4, 1])
    for scale in (z_score(values), min_max(values)):
        assert np.allclose(scale.undo(scale.apply(values)), values, atol=1e-5)
    for scaling in (z_score, min_max):
        with pytest.raises(RecordingError, match="channel 2: expected a signal, got the constant 4"):
            scaling(np.stack([floats(1, 2), floats(4, 4)], axis=1))


def test_dominant_frequencies_are_those_put_in() -> None:
    time = np.arange(8192) / 128
    values = 2 * np.sin(2 * np.pi * 5 * time) + np.sin(2 * np.pi * 17 * time) + 3
    (first, share), (second, less) = dominant_frequencies(values.astype(np.float32), 128, 2)
    assert (first, second) == (pytest.approx(5, abs=0.13), pytest.approx(17, abs=0.13))
    assert share == pytest.approx(4 * less, rel=0.05)  # the power goes with the square of the amplitude


def test_embedding_puts_delayed_copies_side_by_side() -> None:
    assert embed(floats(0, 1, 2, 3, 4, 5), 3, 2).tolist() == [[0, 2, 4], [1, 3, 5]]
    assert embed(floats(1, 2), 1, 5).tolist() == [[1], [2]]
    with pytest.raises(ConfigError, match="fit into 3 samples"):
        embed(floats(1, 2, 3), 3, 2)


def test_windows_overlap_and_are_followed_by_their_targets() -> None:
    windows, targets = cut(np.arange(10, dtype=np.float32), 4, 3, 2)
    assert windows[:, :, 0].tolist() == [[0, 1, 2, 3], [3, 4, 5, 6]]
    assert targets[:, :, 0].tolist() == [[4, 5], [7, 8]]
    long, _ = cut(np.arange(20_000, dtype=np.float32), 50, 1)
    assert long.shape == (19_950, 50, 1)
    assert (long[:, 0, 0] == np.arange(19_950)).all()
    with pytest.raises(RecordingError, match="expected 51 samples or more"):
        cut(np.arange(50, dtype=np.float32), 50, 1)
