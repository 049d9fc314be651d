"""What a beat is like among the beats before it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.core.blocks import NS
from monitor.core.rhythm import AFTER, BEFORE, FEATURES, Recent, Surroundings

ONE = np.array([0])
NORMAL = np.array([[0.9, 0.05, 0.03, 0.02]])
EARLY, BEFORE_IT, SLOW = 0, 1, 3
"""Columns: RR interval against the usual one, the interval before, the interval against the slow one;"""
ALIKE, BEST_ALIKE = 16, 17
"""and twice the correlation with the usual beat: of all, and of the QRS complex shifted to where it is best."""


def shape(width: float = 3.0, height: float = 1.0, seed: int = 0) -> np.ndarray:
    """A narrow or wide beat on a little noise, (1, BEFORE + AFTER)."""
    time = np.arange(-BEFORE, AFTER)
    noise = 0.02 * np.random.default_rng(seed).standard_normal(BEFORE + AFTER)
    beat = height * np.exp(-0.5 * (time / width) ** 2) * np.sin(time / width + 1.2)
    return (beat + noise)[None].astype(np.float32)


def heard(rr_s, shapes=None, heat: float = 0.9, slots: np.ndarray = ONE, among: Surroundings | None = None):
    """Rows of beats that follow at `rr_s`, (n, FEATURES)."""
    among = among or Surroundings(1, 4)
    rows, now_ns = [], 0
    for i, rr in enumerate(rr_s):
        now_ns += round(rr * NS)
        looks = shape(seed=i) if shapes is None else shapes[i]
        rows.append(among.step(slots, np.array([now_ns]), looks, NORMAL, np.array([heat]))[0])
    return np.array(rows)


def test_an_early_beat_is_early_and_the_pause_after_it_long():
    rows = heard([0.8] * 20 + [0.5, 1.1, 0.8])
    assert rows.shape == (23, FEATURES)
    assert np.abs(rows[5:20, EARLY]).max() < 0.01
    assert rows[20, EARLY] == pytest.approx(3 * np.log(0.5 / 0.8), abs=1e-3)
    assert rows[21, EARLY] == pytest.approx(3 * np.log(1.1 / 0.8), abs=1e-3)
    assert rows[21, BEFORE_IT] == pytest.approx(3 * np.log(0.5 / 0.8), abs=1e-3)
    assert rows[20, SLOW] < -1


def test_what_looks_unlike_the_usual_beat_is_told():
    shapes = [shape(seed=i) for i in range(20)] + [shape(width=7, seed=99), shape(seed=100)]
    rows = heard([0.8] * 22, shapes)
    assert rows[10:20, BEST_ALIKE].min() > 1.9  # twice the correlation
    assert rows[20, BEST_ALIKE] < 1.8
    assert rows[21, BEST_ALIKE] > 1.9  # one odd beat is not yet the usual


@pytest.mark.parametrize("height", [1e5, 1e8])
def test_an_artefact_beyond_what_is_remembered_is_no_more_than_an_odd_beat(height):
    shapes = [shape(seed=i) for i in range(20)]
    shapes[12] = shape(height=height, width=7)
    rows = heard([0.8] * 20, shapes)
    assert np.isfinite(rows).all()
    np.testing.assert_allclose(rows[13:, BEST_ALIKE], heard([0.8] * 20)[13:, BEST_ALIKE], atol=0.1)
    first = heard([0.8] * 20, [shapes[12], *shapes[:12], *shapes[13:]])  # as the only one that is known
    assert np.isfinite(first).all()
    assert first[1, BEST_ALIKE] < 1.9 < first[10, BEST_ALIKE]


def test_the_first_beat_is_its_own_measure():
    rows = heard([0.8])
    assert np.isfinite(rows).all()
    assert rows[0, EARLY] == 0
    assert rows[0, ALIKE] == pytest.approx(2, abs=1e-2)


def test_a_weak_candidate_changes_nothing_but_how_near_the_last_one_is():
    among = Surroundings(1, 4)
    heard([0.8] * 20, among=among)
    now_ns = round(20 * 0.8 * NS)
    among.step(ONE, np.array([now_ns + NS // 4]), shape(width=9), NORMAL, np.array([0.2]))
    row = among.step(ONE, np.array([now_ns + round(0.8 * NS)]), shape(seed=7), NORMAL, np.array([0.9]))[0]
    assert row[EARLY] == pytest.approx(0, abs=1e-3)
    assert row[BEST_ALIKE] > 1.9
    assert row[7] < -0.3  # the candidate before stood close by


def test_what_a_stream_is_like_depends_on_nothing_but_itself():
    alone = heard([0.8, 0.7, 0.9, 0.6])
    together = Surroundings(3, 4)
    rows, now = [], np.zeros(3)
    for i, rr in enumerate([0.8, 0.7, 0.9, 0.6]):
        now += [rr, 0.5, 1.2]
        shapes = np.concatenate([shape(seed=i), shape(7, 2, i), shape(4, -1, i)])
        all_rows = together.step(
            np.arange(3), np.rint(now * NS).astype(np.int64), shapes, np.repeat(NORMAL, 3, 0), np.full(3, 0.9)
        )
        rows.append(all_rows[0])
    np.testing.assert_allclose(rows, alone, atol=1e-5)


def test_after_a_gap_nothing_is_known():
    among = Surroundings(1, 4)
    heard([0.8] * 10, among=among)
    among.start(ONE)
    again = among.step(ONE, np.array([99 * NS]), shape(seed=0), NORMAL, np.array([0.9]))
    np.testing.assert_array_equal(again[0], heard([0.8])[0])


@given(st.lists(st.integers(0, 2), min_size=1, max_size=60))
def test_windows_hold_the_last_rows_and_begin_with_the_first(order):
    recent, said = Recent(5, 3), {0: [], 1: [], 2: []}
    for i, slot in enumerate(order):
        row = np.full((1, FEATURES), i, np.float32)
        said[slot].append(i)
        window = recent.push(np.array([slot]), row)[0, :, 0]
        padded = [said[slot][0]] * 5 + said[slot]
        assert window.tolist() == padded[-5:]
    recent.start(np.array([order[-1]]))
    assert (recent.push(np.array([order[-1]]), np.full((1, FEATURES), -1, np.float32)) == -1).all()
