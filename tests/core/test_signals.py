from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.ecg import Ecg
from monitor.core.ecg_rhythm import Episode
from monitor.core.errors import ConfigError
from monitor.core.signals import STEP_RAD, LongDependency, NoisySine, Signal, open_signal
from monitor.core.vitals import VitalSign

SIMULATED: dict[str, Callable[[int], Signal]] = {
    "noisy sine": lambda seed: open_signal("noisy-sine", seed=seed, spikes_per_minute=150.0),
    "long dependency": lambda seed: open_signal("long-dependency", seed=seed),
    "ecg": lambda seed: Ecg(seed=seed, pvcs_per_minute=6, svcs_per_minute=6, episodes=[Episode("noise", 4.2, 3)]),
    "vital sign": lambda seed: VitalSign(rate_hz=50, seed=seed, drift_at_s=10, stale_at_s=20, stale_s=5),
}


@pytest.mark.parametrize("name", SIMULATED)
@settings(max_examples=15)
@given(cuts=st.lists(st.integers(1, 700), min_size=1, max_size=20), seed=st.integers(0, 5))
def test_chunks_do_not_show(name: str, cuts: list[int], seed: int) -> None:
    whole, labels = SIMULATED[name](seed).next(4000)
    signal, parts, seen, left = SIMULATED[name](seed), [], [], 4000
    for cut in [*cuts, left]:
        values, new = signal.next(min(cut, left))
        left -= len(values)
        parts.append(values)
        seen += new
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert seen == labels


def test_the_exercise() -> None:
    values, labels = NoisySine(noise=0.0).next(1000)
    np.testing.assert_allclose(values[:, 0], np.sin(np.linspace(0, 100, 1000)), atol=1e-5)
    assert values.shape == (1000, 1)
    assert values.dtype == np.float32
    assert labels == []
    noisy, _ = NoisySine(seed=1).next(20_000)
    clean = np.sin(STEP_RAD * np.arange(20_000))
    assert np.std(noisy[:, 0] - clean) == pytest.approx(0.1, rel=0.03)


def test_the_long_dependency() -> None:
    t = np.arange(500)
    values, labels = LongDependency(noise=0.0).next(500)
    np.testing.assert_allclose(values[:, 0], np.sin(0.1 * t) + 0.5 * np.sin(2 * t + np.pi / 4), atol=1e-6)
    assert labels == []


def test_seeds() -> None:
    first, second, other = (NoisySine(seed=seed, spikes_per_minute=20).next(5000) for seed in (4, 4, 5))
    np.testing.assert_array_equal(first[0], second[0])
    assert first[1] == second[1]
    assert not np.array_equal(first[0], other[0])


def test_spikes_are_where_the_labels_say() -> None:
    samples = 50 * 60 * 60
    spiky, labels = NoisySine(seed=2, noise=0.0, spikes_per_minute=30).next(samples)
    clean, _ = NoisySine(seed=2, noise=0.0).next(samples)
    added = (spiky - clean)[:, 0]
    on = np.abs(added) > 0.1
    starts = np.flatnonzero(on & ~np.concatenate(([False], on[:-1])))
    assert [index for index, _ in labels] == starts.tolist()
    assert {name for _, name in labels} == {"spike"}
    assert len(labels) == pytest.approx(1800, rel=0.1)
    lengths = np.flatnonzero(on & ~np.concatenate((on[1:], [False]))) - starts + 1
    assert set(lengths) == {1, 2, 3, 4, 5}
    assert 0.5 <= np.abs(added[on]).min() < 0.6
    assert 3.4 < np.abs(added[on]).max() <= 3.51
    assert 0.4 < np.mean(added[on] > 0) < 0.6


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("noisy-sine", {"rate_hz": 0.0}),
        ("noisy-sine", {"rate_hz": float("nan")}),
        ("noisy-sine", {"noise": -1.0}),
        ("noisy-sine", {"spikes_per_minute": 1e6}),
        ("long-dependency", {"spikes_per_minute": 1.0}),
        ("sinus", {}),
    ],
)
def test_impossible_signals_are_refused(name: str, wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"expected|no spikes"):
        open_signal(name, **wrong)  # type: ignore[arg-type]
