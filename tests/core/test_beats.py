"""Two tiers: the first finds what might be beats, the second says what they are."""

from __future__ import annotations

import numpy as np
import pytest

from monitor.core.beats import BeatPicker, SecondTier
from monitor.core.blocks import NS, Beat, Block, Event
from monitor.core.card import KnownAnswer, Noisiness, Second, Stepping, Tensor
from monitor.core.engine import Engine
from monitor.core.errors import ModelError
from monitor.core.rhythm import AFTER, BEFORE, FEATURES
from monitor.core.stream import Plan

RATE_HZ, FOLD, DELAY = 72.0, 3, 8
NOTHING = KnownAnswer(Tensor.of(np.zeros((1, 2, FEATURES), np.float32)), {})


def two_tiers(make_card, **changes):
    second = Second(
        cell="gru", hidden=2, parameters=10, window=4, features=FEATURES, candidate_level=0.1, known_answer=NOTHING
    )
    given = {
        "rate_hz": RATE_HZ,
        "window": 50,
        "samples_per_step": FOLD,
        "hop": 1,
        "delay": DELAY,
        "second": second,
    }
    given |= {"classes": ("N", "S", "V", "F"), "thresholds": {"V": 0.5}, "beat_level": 0.5}
    return make_card("beats", **{**given, **changes})


def first_tier(windows):
    """Sees a beat where the signal is above 0.5, the surer the higher."""
    step = windows.shape[1] - DELAY * FOLD - FOLD  # the first sample of the step it speaks of
    heat = windows[:, step : step + FOLD, 0].max(axis=1, keepdims=True) / 2
    return {"beat": np.clip(heat, 0, 1), "probabilities": np.tile(np.float32([0.9, 0, 0.1, 0]), (len(windows), 1))}


class Judging:
    """A second tier that says what the test wants, and remembers what it was asked."""

    def __init__(self, answer):
        self.asked, self.answer = [], answer

    def __call__(self, windows):
        self.asked.append(windows.copy())
        return np.array([self.answer(window) for window in windows], np.float32)


def beats_of(card, values, ask, cut=40, batch=16):
    engine = Engine({"b": card}, lambda _: Plan(models=("b",), quality=False), max_streams=1, seconds={"b": ask})
    found = []
    for start in range(0, len(values), cut):
        block = Block("s", values[start : start + cut], "r", start, round(start / RATE_HZ * NS), RATE_HZ)
        engine.push(block, 0, 0)
        while (ready := engine.ready("b", batch)) is not None:
            found += [notice for _, notice in engine.conclude(ready, first_tier(ready.windows)).notices]
    return found


def signal(places, heights, samples=3000):
    values = np.zeros((samples, 1), np.float32)
    values[places, 0] = heights
    return values


def test_the_second_tier_has_the_last_word(make_card):
    places = np.arange(301, 2700, 60)
    heights = np.full(len(places), 1.8)
    heights[7] = 0.5  # hardly a beat for the first tier
    heights[11] = 0.6
    early = places.copy()
    early[20] -= 20

    def answer(window):
        if window[-1, 15] < -0.3:  # the first tier's own doubt: twice its probability, less one
            return [0, 0, 0, 0, 1]
        return [0.1, 0, 0.9, 0, 0] if window[-1, 0] < -1 else [0.8, 0.1, 0.1, 0, 0]

    found = beats_of(two_tiers(make_card), signal(early, heights), Judging(answer))
    beats = [notice for notice in found if isinstance(notice, Beat)]
    told = np.array([round(beat.t_ns * RATE_HZ / NS) for beat in beats])
    expected = np.delete(early, [7, 11])
    assert len(told) == len(expected)
    assert np.abs(told - expected).max() <= FOLD
    assert [i for i, beat in enumerate(beats) if beat.label == "V"] == [18]
    assert beats[3].likely == pytest.approx((0.8, 0.1, 0.1, 0), abs=1e-6)
    (event,) = [notice for notice in found if isinstance(notice, Event)]
    assert (event.label, event.t_ns) == ("V", beats[18].t_ns)
    # RR intervals are those between beats that were told, not between candidates.
    assert beats[7].rr_s == pytest.approx(2 * 60 / RATE_HZ, abs=0.03)


def test_it_does_not_matter_how_samples_and_windows_come(make_card):
    places = np.cumsum(np.random.default_rng(1).integers(40, 80, 40))
    values = signal(places, 1.5, 2600)
    values += 0.05 * np.random.default_rng(2).standard_normal(values.shape).astype(np.float32)
    asked = []
    for cut, batch in ((2600, 512), (1, 1), (97, 13)):
        judging = Judging(lambda window: [*np.abs(window[-1, :4]), 0.1])
        found = beats_of(two_tiers(make_card), values, judging, cut, batch)
        asked.append((np.concatenate(judging.asked), repr(found)))
    for windows, found in asked[1:]:
        np.testing.assert_array_equal(windows, asked[0][0])
        assert found == asked[0][1]


def test_candidates_of_many_hops_are_asked_about_at_once(make_card):
    """What they are asked is the same as hop by hop, with gaps and noise that comes and goes, too."""
    noise = Noisiness(weights=(10.0, 0, 0, 0, 0, 0), bias=25.0, level=0.5)  # by the median step
    card = two_tiers(make_card, noise=noise)
    random = np.random.default_rng(3)
    signals = [signal(np.cumsum(random.integers(40, 70, 60)), 1.5, 4500) for _ in range(3)]
    signals[1][1500:2300, 0] += 0.6 * random.random(800).astype(np.float32)

    def beats(together):
        judging = Judging(lambda window: [*np.abs(window[-1, :4]), 0.1])
        plan = Plan(models=("b",), quality=False)
        engine = Engine({"b": card}, lambda _: plan, max_streams=3, seconds={"b": judging})
        found = []
        for start in range(0, 4500, 45):
            for nth, values in enumerate(signals):
                seq = start + 1000 * (nth == 2 and start >= 2000)  # a gap
                t_ns = round(seq / RATE_HZ * NS)
                engine.push(Block(f"s{nth}", values[start : start + 45], "r", seq, t_ns, RATE_HZ), 0, 0)
            told = []
            while (ready := engine.ready("b", 3)) is not None:
                told.append((ready, first_tier(ready.windows)))
            groups = [told] if together else [[one] for one in told]
            for group in groups:
                found += (
                    [notice for one in engine.conclusions(group) for _, notice in one.notices] if group else []
                )
        return found, judging.asked

    (one_by_one, asked), (at_once, asked_at_once) = beats(together=False), beats(together=True)
    assert sorted(map(repr, at_once)) == sorted(map(repr, one_by_one))
    labels = [notice.label for notice in at_once]
    assert labels.count("noise") >= 2  # began and ended
    assert len(labels) > 120
    assert len(asked_at_once) < 0.8 * len(asked)

    once, again = np.concatenate(asked), np.concatenate(asked_at_once)
    assert once.shape == again.shape
    for window in once:
        assert np.abs(again - window).max(axis=(1, 2)).min() < 1e-4


def test_a_gap_begins_anew(make_card):
    places = np.arange(301, 1400, 60)
    values = signal(places, 1.8, 1500)
    judging = Judging(lambda _: [1, 0, 0, 0, 0])
    engine = Engine(
        {"b": two_tiers(make_card)},
        lambda _: Plan(models=("b",), quality=False),
        max_streams=1,
        seconds={"b": judging},
    )
    for seq in (0, 5000):
        engine.push(Block("s", values, "r", seq, round(seq / RATE_HZ * NS), RATE_HZ), 0, 0)
        while (ready := engine.ready("b", 64)) is not None:
            engine.conclude(ready, first_tier(ready.windows))
    half = len(judging.asked) // 2
    for before, after in zip(judging.asked[:half], judging.asked[half:], strict=True):
        np.testing.assert_array_equal(before, after)


def test_a_second_tier_is_shown_what_lies_around_the_beat(make_card):
    card = two_tiers(make_card)
    tier = SecondTier(card, 1, lambda windows: windows)
    picker = BeatPicker(card, 1)
    ramp = np.arange(3000, dtype=np.float32)[:, None]
    slot, seen = np.array([0]), []
    tier._surroundings.step = lambda *given: seen.append(given[2]) or np.zeros((1, FEATURES), np.float32)
    for step, heat in enumerate([0, 0, 0.2, 0.8, 0.2, 0]):
        end = 600 + step * FOLD
        outputs = {"beat": np.array([[heat]]), "probabilities": np.array([[1.0, 0, 0, 0]])}
        t_ns = np.array([round((end - 1) / RATE_HZ * NS)])
        picked = picker.step(slot, np.array([step > 0]), t_ns, outputs)
        if len(picked.rows):
            tier.rows(slot, picked, t_ns, ramp[None, end - 150 : end])
    at = 600 + 3 * FOLD - 1 - DELAY * FOLD - 1  # the middle of the step that the fourth row speaks of
    np.testing.assert_array_equal(seen, [ramp[None, at - BEFORE : at + AFTER, 0]])


def test_a_card_with_a_second_tier_wants_it(make_card):
    with pytest.raises(ModelError, match="second tier"):
        Engine({"b": two_tiers(make_card)}, lambda _: None)


class Whole:
    """A model that is asked with windows of several lengths."""

    def __init__(self):
        self.asked = []

    def run(self, windows):
        self.asked += [window[:, 0].tolist() for window in windows]
        return first_tier(windows)


def test_a_beat_at_the_beginning_is_told_as_soon_as_the_model_may_answer(make_card):
    card = two_tiers(make_card, second=None, stepping=Stepping(width=4, first=26))
    values = signal([60, 120, 180], 1.8, 300)
    values[:, 0] += np.arange(300) * 1e-4  # every sample another one
    engine, model, beats = Engine({"b": card}, lambda _: Plan(models=("b",)), max_streams=1), Whole(), []
    for start in range(0, 300, 17):
        block = Block("s", values[start : start + 17], "r", start, round(start / RATE_HZ * NS), RATE_HZ)
        engine.push(block, 0, 0)
        while (ready := engine.ready("b", 16)) is not None:
            conclusion = engine.conclude(*engine.infer(ready, model))
            beats += [notice for _, notice in conclusion.notices if isinstance(notice, Beat)]
    lengths = [len(asked) for asked in model.asked]
    assert lengths == [*range(78, 150, FOLD), *[150] * 51]
    expected = values[:, 0].astype(np.float32)
    for asked, end in zip(model.asked, range(78, 301, FOLD), strict=True):
        np.testing.assert_allclose(asked, expected[end - len(asked) : end], atol=1e-6)
    assert [round(beat.t_ns * RATE_HZ / NS / 60) for beat in beats] == [1, 2, 3]
