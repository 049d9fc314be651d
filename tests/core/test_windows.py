from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view

from monitor.core.windows import Windows, seconds_to_samples


def push_all(windows: Windows, slots, streams, cuts):
    """Push each stream's samples in the pieces its cuts make; windows by stream."""
    found = {slot: [] for slot in slots}
    pieces = [np.split(values, sorted(at)) for values, at in zip(streams, cuts, strict=True)]
    for turn in range(max(len(p) for p in pieces)):
        part = [p[turn] if turn < len(p) else p[0][:0] for p in pieces]
        counts = np.array([len(p) for p in part])
        rows, ends, due = windows.push(np.array(slots), counts, np.concatenate(part))
        for row, end, window in zip(rows, ends, due, strict=True):
            found[slots[row]].append((int(end), window.copy()))
    return found


@given(st.data())
def test_windows_equal_numpys_however_samples_are_cut(data):
    window, hop = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 15))
    channels = data.draw(st.integers(1, 2))
    lengths = data.draw(st.lists(st.integers(0, 90), min_size=1, max_size=3))
    cuts = [data.draw(st.lists(st.integers(0, n), max_size=8)) for n in lengths]
    rng = np.random.default_rng(0)
    streams = [rng.normal(size=(n, channels)).astype(np.float32) for n in lengths]
    slots = [5, 0, 3][: len(lengths)]
    found = push_all(Windows(window, hop, channels, 6), slots, streams, cuts)
    for slot, values in zip(slots, streams, strict=True):
        expected = []
        if len(values) >= window:
            expected = sliding_window_view(values, window, axis=0)[::hop].transpose(0, 2, 1)
        assert [end for end, _ in found[slot]] == [window + i * hop for i in range(len(expected))]
        for (_, got), want in zip(found[slot], expected, strict=True):
            np.testing.assert_array_equal(got, want)


def test_a_window_never_spans_a_segment():
    windows = Windows(4, 1, 1, 2)
    slot = np.array([1])
    windows.push(slot, np.array([3]), np.full((3, 1), 7, np.float32))
    windows.start(1)
    rows, ends, due = windows.push(slot, np.array([5]), np.arange(5, dtype=np.float32)[:, None])
    assert rows.tolist() == [0, 0]
    assert ends.tolist() == [4, 5]
    assert due[:, :, 0].tolist() == [[0, 1, 2, 3], [1, 2, 3, 4]]


@pytest.mark.parametrize(("seconds", "rate_hz", "samples"), [(0.7, 360, 252), (0.1, 50, 5), (0.0, 50, 0)])
def test_seconds_are_rounded_not_cut(seconds, rate_hz, samples):
    assert seconds_to_samples(seconds, rate_hz) == samples
