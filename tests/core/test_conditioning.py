from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from monitor.core.conditioning import Conditioner, Conditioning, butterworth_sections
from monitor.core.errors import ConfigError

SPECS = [
    Conditioning(),
    Conditioning(low_pass_hz=20.0),
    Conditioning(high_pass_hz=0.5, low_pass_hz=15.0, order=4),
    Conditioning(high_pass_hz=0.5, gain="running-range"),
]


def condition(spec, rate_in, rate_out, values, cuts):
    conditioner = Conditioner(spec, rate_out, values.shape[2], 4)
    slots = np.array([3, 1])
    for slot in slots:
        conditioner.start(slot, rate_in)
    parts = [[], []]
    for piece in np.split(values, sorted(set(cuts)), axis=1):
        if piece.shape[1]:
            counts, out = conditioner.push(slots, piece)
            for i, part in enumerate(np.split(out, [counts[0]])):
                parts[i].append(part)
    return [np.concatenate(part) for part in parts]


@pytest.mark.parametrize("kind", ["low", "high"])
@pytest.mark.parametrize("order", [2, 4, 6])
def test_the_design_is_scipys(kind, order):
    noise = np.random.default_rng(0).normal(size=500)
    ours = signal.sosfilt(butterworth_sections(order, 28, 360, kind), noise)
    theirs = signal.sosfilt(signal.butter(order, 28, kind, fs=360, output="sos"), noise)
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_the_filter_is_scipys_started_at_rest():
    values = np.random.default_rng(0).normal(3, 1, size=(2, 700, 1)).astype(np.float32)
    spec = Conditioning(high_pass_hz=0.5, low_pass_hz=28.0)
    got = condition(spec, 360.0, 360.0, values, [100, 333])
    sos = np.concatenate(
        [signal.butter(2, 0.5, "high", fs=360, output="sos"), signal.butter(2, 28, "low", fs=360, output="sos")]
    )
    for stream, out in zip(values, got, strict=True):
        rest = signal.sosfilt_zi(sos) * stream[0, 0]
        np.testing.assert_allclose(out[:, 0], signal.sosfilt(sos, stream[:, 0], zi=rest)[0], atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    spec=st.sampled_from(SPECS),
    rates=st.sampled_from([(360.0, 72.0), (250.0, 72.0), (50.0, 50.0), (50.0, 72.0), (128.0, 50.0)]),
    cuts=st.lists(st.integers(1, 899), max_size=20),
)
def test_the_cut_does_not_matter(spec, rates, cuts):
    values = np.random.default_rng(1).normal(size=(2, 900, 2)).astype(np.float32)
    whole = condition(spec, *rates, values, [])
    pieces = condition(spec, *rates, values, cuts)
    for a, b in zip(whole, pieces, strict=True):
        assert len(a) == len(b)
        np.testing.assert_allclose(a, b, atol=2e-6)


def test_one_rate_and_no_filter_changes_no_bit():
    values = np.random.default_rng(2).normal(size=(2, 50, 1)).astype(np.float32)
    for stream, out in zip(values, condition(Conditioning(), 50.0, 50.0, values, [7]), strict=True):
        np.testing.assert_array_equal(stream, out)


def test_a_slow_sine_survives_resampling():
    t_in, t_out = np.arange(2000) / 250, np.arange(560) / 72
    values = np.tile(np.sin(2 * np.pi * 2 * t_in)[None, :, None], (2, 1, 1)).astype(np.float32)
    out = condition(Conditioning(low_pass_hz=28.0), 250.0, 72.0, values, [])[0][:560, 0]
    delay_s = 0.0080  # of the low-pass at 2 Hz
    np.testing.assert_allclose(out[100:], np.sin(2 * np.pi * 2 * (t_out[100:] - delay_s)), atol=0.01)


def test_the_gain_is_the_median_of_the_last_ranges():
    rate = 20
    heights = [1.0, 1.0, 1.0, 9.0, 1.0, 1.0]
    second = np.tile([0.0, 1.0], rate // 2)
    values = np.concatenate([h * second for h in heights])[None, :, None].repeat(2, axis=0).astype(np.float32)
    spec = Conditioning(gain="running-range")
    out = condition(spec, float(rate), float(rate), values, [33])[0][:, 0]
    assert len(out) == len(values[0]) - rate  # the first second only taught the gain
    assert out[2 * rate : 3 * rate].max() == 9.0  # one odd second does not turn the gain
    assert out[-rate:].max() == 1.0


def test_an_impossible_filter_is_refused():
    with pytest.raises(ConfigError, match="between 0 and 25 Hz"):
        butterworth_sections(2, 30, 50, "low")
    with pytest.raises(ConfigError):
        Conditioner(Conditioning(high_pass_hz=40.0), 50.0, 1, 1).start(0, 50.0)
