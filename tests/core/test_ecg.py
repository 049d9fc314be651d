from __future__ import annotations

import numpy as np
import pytest

from monitor.core.ecg import RAIL_MV, Ecg
from monitor.core.ecg_rhythm import Episode, FaultKind
from monitor.core.errors import ConfigError
from monitor.core.vitals import VitalSign

RATE = 360


def beats(labels, symbols="NVA"):
    return np.array([at for at, name in labels if name in tuple(symbols)]) / RATE


def make(seconds, **how):
    return Ecg(**how).next(round(seconds * RATE))


def test_a_seed_is_a_patient():
    first, again, other = (make(10, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first[0], again[0])
    assert first[1] == again[1]
    assert not np.allclose(first[0], other[0], atol=0.05)
    assert first[0].dtype == np.float32
    assert first[0].shape == (3600, 1)


def test_beats_stand_at_r_peaks_whatever_the_rate():
    for rate_hz in (128.0, 250.0, 360.0, 1000.0):
        values, labels = Ecg(rate_hz=rate_hz, seed=5, noise=0.0).next(round(60 * rate_hz))
        at = np.array([index for index, _ in labels])
        assert len(at) == pytest.approx(70, abs=3)
        reach = round(0.1 * rate_hz)
        for index in at[(at > reach) & (at < len(values) - reach)]:
            peak = int(values[index - reach : index + reach, 0].argmax()) - reach
            assert abs(peak) <= max(0.006 * rate_hz, 1)


def test_the_heart_rate_varies_with_breath_and_mayer_waves():
    _, labels = make(600, seed=3, heart_rate_bpm=75)
    at = beats(labels)
    rr = np.diff(at)
    assert 60 / rr.mean() == pytest.approx(75, rel=0.03)
    even = np.interp(np.arange(5, 590, 0.25), at[1:], rr)
    power = np.abs(np.fft.rfft((even - even.mean()) * np.hanning(len(even)))) ** 2
    hz = np.fft.rfftfreq(len(even), 0.25)

    def density(low, high):
        return power[(hz >= low) & (hz < high)].mean()

    assert density(0.21, 0.29) > 4 * density(0.32, 0.45)
    assert density(0.08, 0.12) > 4 * density(0.14, 0.19)


def test_the_heart_rate_changes_to_order():
    _, labels = make(240, seed=3, heart_rate_bpm=[(60, 60.0), (180, 150.0)])
    at = beats(labels)
    rates = [60 / np.median(np.diff(at[(at > t - 10) & (at < t + 10)])) for t in (30, 120, 210)]
    assert rates == pytest.approx([60, 105, 150], rel=0.05)


def test_the_equation_of_mcsharry_is_what_comes_out():
    """The closed form against plain integration of dz/dt, wave by wave, with steps of 0.1 ms."""
    rate_hz, fine = 250.0, 40
    ecg = Ecg(rate_hz=rate_hz, seed=4, noise=0.0)
    got = ecg.next(1000)[0][:, 0]
    ecg = Ecg(rate_hz=rate_hz, seed=4, noise=0.0)
    ecg.next(1)
    ecg._plan(6)
    shapes = ecg._shapes.reshape(-1, 3)
    t = np.arange(1000 * fine) / rate_hz / fine
    apart = (t[:, None] - shapes[:, 0]) / shapes[:, 1]
    pull = (-shapes[:, 2] * apart / shapes[:, 1] * np.exp(-0.5 * apart**2)).sum(axis=1)
    z0 = ecg._wander * (ecg._respiration(t) + sum(slow(t) for slow in ecg._slow))
    z = np.empty(len(t))
    z[0] = got[0]
    dt = 1 / rate_hz / fine
    for i in range(1, len(t)):
        z[i] = z[i - 1] + dt * (pull[i - 1] - (z[i - 1] - z0[i - 1]))
    np.testing.assert_allclose(got[250:], z[::fine][250:], atol=0.01)


def test_premature_beats():
    _, labels = make(900, seed=2, pvcs_per_minute=4, svcs_per_minute=3)
    names = [name for _, name in labels]
    at = beats(labels)
    assert names.count("V") == pytest.approx(60, rel=0.3)
    assert names.count("A") == pytest.approx(45, rel=0.35)
    rr = np.diff(at)
    usual = np.median(rr)
    for i in range(1, len(names) - 1):
        if names[i] != "N":
            assert rr[i - 1] < 0.85 * usual
            pair = (rr[i - 1] + rr[i]) / usual
            assert pair > 1.75 if names[i] == "V" else pair < 1.9, "only a ventricular beat is compensated"
            assert names[i + 1] == "N"


def test_a_ventricular_beat_is_wide_and_has_no_p_wave():
    values, labels = make(300, seed=8, noise=0.0, wander=0.0, pvcs_per_minute=8)

    def steepness(symbol):
        rows = [values[at - 36 : at + 37, 0] for at, name in labels if name == symbol and 400 < at < 107_000]
        return np.median([np.abs(np.diff(row)).max() / np.ptp(row) for row in rows])

    assert steepness("V") < 0.6 * steepness("N")


def test_episodes_come_when_they_are_ordered():
    order = [Episode("bigeminy", 20, 12), Episode("run", 45, 4), Episode("pause", 60, 3.0)]
    _, labels = make(80, seed=3, episodes=order)
    rhythms = [(at / RATE, name) for at, name in labels if not name.isalpha() or name == "pause"]
    assert [name for _, name in rhythms] == ["(B", "(N", "(VT", "(N", "pause"]
    assert [at for at, _ in rhythms] == pytest.approx([20, 32, 45, 50, 60], abs=2)
    within = [name for at, name in labels if rhythms[0][0] <= at / RATE < rhythms[1][0] and name in "NV"]
    assert within == ["N", "V"] * (len(within) // 2)
    run = [at / RATE for at, name in labels if rhythms[2][0] <= at / RATE < rhythms[3][0] and name == "V"]
    assert len(run) >= 10
    assert 140 < 60 / np.median(np.diff(run)) < 190
    assert np.diff(beats(labels)).max() == pytest.approx(3.0, abs=0.1)
    assert not [name for at, name in labels if at / RATE < 20 and name == "V"]


@pytest.mark.parametrize("kind", ["lead-off", "flat", "saturation", "noise", "gap"])
def test_faults_come_when_they_are_ordered(kind: FaultKind):
    values, labels = make(30, seed=1, episodes=[Episode(kind, 10, 5)])
    clean, all_labels = make(30, seed=1)
    during = slice(10 * RATE, 15 * RATE)
    np.testing.assert_array_equal(values[: 10 * RATE], clean[: 10 * RATE])
    np.testing.assert_allclose(values[15 * RATE :], clean[15 * RATE :], atol=1e-6)
    bad = values[during, 0]
    seen = {
        "lead-off": np.mean(bad == RAIL_MV) > 0.9,
        "flat": np.ptp(bad) == 0,
        "saturation": np.mean(np.abs(bad) == RAIL_MV) > 0.05 and np.ptp(bad) > 1,
        "noise": np.std(np.diff(bad)) > 5 * np.std(np.diff(clean[during, 0])),
        "gap": np.isnan(bad).all(),
    }
    assert seen[kind]
    names = [name for at, name in labels if 10 * RATE <= at <= 15 * RATE]
    assert (names[0], names[-1]) == (kind, "clean")
    shown = [label for label in all_labels if kind == "noise" or not 10 * RATE <= label[0] < 15 * RATE]
    assert [label for label in labels if label[1] in ("N", "V", "A")] == shown


def test_a_vital_sign_drifts_to_its_limit_and_goes_stale():
    values, labels = VitalSign(seed=1, drift_at_s=300, drift_per_minute=-2, limit=90).next(900)
    assert [name for _, name in labels] == ["drift", "limit"]
    at = labels[1][0]
    assert values[at, 0] < 90 <= values[300:at, 0].min()
    assert at == pytest.approx(300 + 210, abs=30)
    stale, labels = VitalSign(seed=1, stale_at_s=100, stale_s=50).next(300)
    assert labels == [(100, "stale"), (150, "clean")]
    assert np.ptp(stale[99:150]) == 0
    assert max(np.diff(np.flatnonzero(np.diff(stale[150:, 0])))) < 20


@pytest.mark.parametrize(
    "wrong",
    [
        {"rate_hz": 0.0}, {"rate_hz": float("nan")}, {"heart_rate_bpm": 0.0},
        {"heart_rate_bpm": []}, {"heart_rate_bpm": [(0, 70.0), (9, 251.0)]},
        {"heart_rate_bpm": [(9, 70), (9, 80)]}, {"noise": -1.0}, {"wander": 9.0},
        {"variability": 1.0}, {"pvcs_per_minute": -1.0}, {"svcs_per_minute": 99.0},
        {"episodes": [Episode("run", -1, 1)]}, {"episodes": [Episode("sleep", 1, 1)]},  # type: ignore[arg-type]
        {"episodes": [Episode("run", 1, 0)]},
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(wrong):
    with pytest.raises(ConfigError, match="expected"):
        Ecg(**wrong)


def test_a_vital_sign_that_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="vital sign: expected"):
        VitalSign(step=0)


def test_a_pacemaker_makes_wide_beats_after_a_stimulus_each():
    values, labels = Ecg(seed=1, noise=0, wander=0, paced=True, pvcs_per_minute=3).next(360 * 60)
    names = [name for _, name in labels]
    assert set(names) == {"/", "V"}
    assert names.count("/") > 50
    plain, _ = Ecg(seed=1, noise=0, wander=0).next(360 * 60)
    first = next(at for at, name in labels if name == "/" and at > 360)
    stimulus = values[first - 45 : first - 30, 0]
    assert np.ptp(stimulus) > 1 > np.ptp(plain[first - 45 : first - 30, 0])
    wide = np.abs(values[first - 29 : first + 30, 0]) > 0.5
    assert wide.sum() > 15  # 40 ms at the very least
