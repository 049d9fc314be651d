"""Carried states against windows that are read anew, with a small recurrence in numpy in place of onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.blocks import NS, Block
from monitor.core.card import OUTPUTS, Stepping
from monitor.core.engine import Engine
from monitor.core.errors import ModelError
from monitor.core.lanes import Lane
from monitor.core.leapfrog import Leapfrog
from monitor.core.stream import Plan

RATE = 50.0
WIDTH = 5


class Recurrence:
    """tanh of a fixed mixture of state and input; the answer also looks at the `lead` samples before a step."""

    def __init__(self, fold, lead=0, channels=1):
        rng = np.random.default_rng(0)
        self.fold, self.lead = fold, lead
        self.turn = (0.4 * rng.standard_normal((WIDTH, WIDTH))).astype(np.float32)
        self.read = (0.5 * rng.standard_normal((fold * channels, WIDTH))).astype(np.float32)
        self.calls = 0
        self.many = []
        """Steps and rows of the calls over many steps."""

    def step(self, window, state, seen, answers):
        self.calls += 1
        new = window[:, seen:]
        for steps in new.reshape(len(new), -1, self.fold * new.shape[2]).transpose(1, 0, 2):
            state = np.tanh(state @ self.turn + steps @ self.read)
        return self.head(window[:answers, -self.fold - self.lead :], state[:answers]), state

    def along(self, window, state, keep, asked):
        self.many.append((len(keep), len(window)))
        answers = []
        for start, kept in enumerate(keep):
            newest = window[:, start * self.fold : (start + 1) * self.fold]
            state = np.tanh(state @ self.turn + newest.reshape(len(newest), -1) @ self.read)
            answers.append(self.head(newest, state))
            state = np.where(kept[:, None], state, 0)
        assert len(window[0]) == len(keep) * self.fold
        return {name: np.concatenate([one[name] for one in answers])[asked] for name in answers[0]}, state

    def run(self, windows):
        state = np.zeros((len(windows), WIDTH), np.float32)
        state = self.step(windows, state, 0, 0)[1]
        return self.head(windows[:, -self.fold - self.lead :], state)

    def head(self, newest, state):
        mean = (state.sum(axis=1) + newest.sum(axis=(1, 2)))[:, None, None]
        return {"forecast": mean, "lower": mean - 1, "upper": mean + 1}


def stepping(card_of, *, window=12, first=4, hop=1, fold=1, lead=0, **changes):
    steps = Stepping(width=WIDTH, lead=lead, first=first, **changes)
    return card_of("forecast", window=window, hop=hop, samples_per_step=fold, horizon=1, stepping=steps)


def counts(window, states, position, hop=1):
    """Steps that the answering state has seen after `position` steps of a segment, told without any state."""
    begins = [round(k * window / states) for k in range(states)]
    in_step = sorted({hop * round(k * window / states / hop) for k in range(states)})
    if window % hop == 0 and len(in_step) == states and in_step[-1] < window:
        begins = in_step
    return max((position - 1 - b) % window + 1 if position > b else position for b in begins)


def run(lane, model, blocks, batch=7):
    """Push (slot, values) in turn; (slot, segment, end in samples, forecast) of all that was told."""
    told = []
    for slot, values in blocks:
        lane.feed(np.array([slot]), values[None], np.zeros(1, np.int64))
        told += drained(lane, model, batch)
    return told


def drained(lane, model, batch, together=1):
    """What is told of all that waits, in batches of so many rows, so many batches at a time."""
    told = []
    while lane.waiting():
        batches = [ready for _ in range(together) if (ready := lane.take(batch)) is not None]
        for rows, outputs in lane.infer_all(batches, model):
            told += zip(
                rows.slots.tolist(),
                rows.segments.tolist(),
                rows.ends.tolist(),
                outputs["forecast"][:, 0, 0],
                strict=True,
            )
    return told


def all_of(lane, model, hops):
    """The ends and the forecasts that so many hops tell."""
    ends, forecasts = [], []
    for _ in range(hops):
        rows, outputs = lane.infer(lane.take(1000), model)
        ends += rows.ends.tolist()
        forecasts += list(outputs["forecast"])
    return ends, forecasts


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_an_answer_is_that_to_the_window_of_so_many_steps(make_card, data):
    """Whatever the cut, the batch, the hop, the phases of the streams, and where segments begin."""
    states = data.draw(st.integers(1, 4), "states")
    window = data.draw(st.integers(4, 13), "window")
    fold = data.draw(st.integers(1, 3), "fold")
    lead = data.draw(st.integers(0, fold), "lead")
    hop = data.draw(st.integers(1, max(1, (window * fold - lead) // fold // 2)), "hop")
    along = lead == 0 and data.draw(st.booleans(), "along")
    card = stepping(make_card, window=window, first=1 + (lead > 0), hop=hop, fold=fold, lead=lead, along=along)
    try:
        leapfrog = Leapfrog(card, 1, states)
    except ModelError:
        return  # too few steps for what it looks back at
    lane, model = Lane("m", card, 3, 10_000, states), Recurrence(fold, lead)
    rng = np.random.default_rng(data.draw(st.integers(0, 99), "seed"))
    series = {}  # (slot, segment) -> all samples
    current, told = {}, []
    for _ in range(data.draw(st.integers(1, 25), "blocks")):
        slot = data.draw(st.integers(0, 2))
        if slot not in current or data.draw(st.integers(0, 9)) == 0:
            current[slot] = current.get(slot, 0) + 1
            lane.start(slot, card.rate_hz, 0)
        values = rng.standard_normal((data.draw(st.integers(1, 40)), 1)).astype(np.float32)
        series.setdefault((slot, current[slot]), []).append(values)
        lane.feed(np.array([slot]), values[None], np.zeros(1, np.int64))
        if data.draw(st.booleans()):
            told += drained(lane, model, data.draw(st.integers(1, 9)), data.draw(st.integers(1, 15)))
    told += drained(lane, model, 3, 15)
    got = {(slot, segment, end): value for slot, segment, end, value in told}
    assert len(got) == len(told)
    wanted = {}
    for (slot, segment), parts in series.items():
        samples = np.concatenate(parts)
        for end in range((window - 1) % hop + 1, len(samples) // fold + 1, hop):
            n = counts(window, states, end, hop)
            if n < leapfrog.least:
                continue
            piece = samples[(end - n) * fold : end * fold]
            before = samples[
                max(end * fold - fold - lead, 0) : (end - n) * fold
            ]  # a lead may reach past the window
            state = model.step(piece[None], np.zeros((1, WIDTH), np.float32), 0, 0)[1]
            newest = np.concatenate((before, piece))[None, -fold - lead :]
            wanted[slot, segment, end * fold] = model.head(newest, state)["forecast"][0, 0, 0]
    assert got.keys() == wanted.keys()
    for key, value in wanted.items():
        assert got[key] == pytest.approx(value, abs=1e-6)


def test_many_hops_are_one_call_but_for_streams_that_begin_anew(make_card):
    told, many = [], []
    for together in (1, 12):
        lane, model = Lane("m", stepping(make_card, along=True), 3, 1000, 2), Recurrence(1)
        found = []
        for samples in (40, 12):
            for slot in range(3):
                values = np.sin(slot + np.arange(samples, dtype=np.float32))[:, None]
                if samples == 12 and slot == 1:  # goes on for some hops, then begins anew
                    lane.feed(np.array([slot]), values[None, :5], np.zeros(1, np.int64))
                if samples == 40 or slot == 1:
                    lane.start(slot, 50.0, 0)
                lane.feed(np.array([slot]), values[None], np.zeros(1, np.int64))
            model.many.clear()
            found += drained(lane, model, 3, together)
        told.append(sorted(found))
        many.append(model.many)
    assert [row[:3] for row in told[0]] == [row[:3] for row in told[1]]
    assert [row[3] for row in told[1]] == pytest.approx([row[3] for row in told[0]], abs=1e-6)
    assert many == [[], [(12, 2 * 2)]]  # two states each of two streams


@pytest.mark.parametrize("hop", [1, 2])
@pytest.mark.parametrize("skipped", [None, 0, 4])
@pytest.mark.parametrize("limit", [4, 2])
def test_many_hops_in_one_call_tell_what_hop_by_hop_tells(make_card, hop, skipped, limit):
    """Also where a hop was skipped, before them or among them, and where batches cut a turn in two."""
    spread = tuple(float(13 - n) for n in range(4, 13))
    card = stepping(make_card, hop=hop, fold=2, along=True, spread=spread)
    told, calls = [], []
    for together in (False, True):
        lane, model = Lane("m", card, 4, 1000, 2), Recurrence(2)
        values = np.random.default_rng(0).standard_normal((4, 60, 1)).astype(np.float32)
        for slot in range(4):
            lane.start(slot, card.rate_hz, 0)
        found = []
        for start, end in ((0, 40), (40, 60)):
            lane.feed(np.arange(4), values[:, start:end], np.zeros(4, np.int64))
            batches = iter(lambda lane=lane: lane.take(limit), None)
            batches = [ready for nth, ready in enumerate(batches) if start == 0 or nth != skipped]
            for some in [batches] if together else [[batch] for batch in batches]:
                for batch, outputs in lane.infer_all(some, model):
                    rows = zip(batch.slots.tolist(), batch.ends.tolist(), strict=True)
                    answers = np.concatenate([outputs[name][:, 0, 0] for name in OUTPUTS["forecast"]])
                    found += zip(rows, answers.reshape(3, -1).T.tolist(), strict=True)
        told.append(dict(found))
        calls.append(model.many)
    assert told[0].keys() == told[1].keys()
    for row, answers in told[0].items():
        assert told[1][row] == pytest.approx(answers, abs=1e-5)
    assert calls[0] == []
    assert bool(calls[1]) == (hop == 1 or (skipped is None and limit == 4))  # five hops are many


def test_another_segment_does_not_go_on_where_the_last_one_ended(make_card):
    """Though the hops that were skipped make it look as if it did."""
    told = []
    for together in (1, 12):
        lane, model = Lane("m", stepping(make_card, along=True), 1, 1000, 2), Recurrence(1)
        for samples, skipped in ((20, 0), (30, 20)):
            lane.start(0, 50.0, 0)
            lane.feed(np.zeros(1, np.int64), np.ones((1, samples, 1), np.float32), np.zeros(1, np.int64))
            for _ in range(skipped):
                lane.take(1)
            model.many.clear()
            told.append(drained(lane, model, 1, together))
        assert model.many == []
    assert told[1] == told[3]


@pytest.mark.parametrize(("states", "least"), [(1, 1), (2, 26), (3, 34), (5, 41)])
def test_on_how_many_steps_answers_rest(make_card, states, least):
    card = stepping(make_card, window=50, first=1)
    assert Leapfrog(card, 1, states).least == least
    assert min(counts(50, states, position) for position in range(50, 500)) == least
    assert max(counts(50, states, position) for position in range(50, 500)) == 50


def test_hops_that_were_skipped_make_a_stream_warm_up_again(make_card):
    card = stepping(make_card)
    lane, model = Lane("m", card, 1, 1000, 2), Recurrence(1)
    lane.start(0, card.rate_hz, 0)
    samples = np.random.default_rng(0).standard_normal((60, 1)).astype(np.float32)
    lane.feed(np.zeros(1, np.int64), samples[None], np.zeros(1, np.int64))
    first = all_of(lane, model, 30)[0]
    assert first == list(range(7, 31))
    for _ in range(5):
        lane.take(1)  # five hops that are never inferred
    rest, outputs = all_of(lane, model, 25)
    seen = [max(end - max(end - 1 - (end - 1 - b) % 12, 35) for b in (0, 6)) for end in range(36, 61)]
    assert rest == [end for end, n in zip(range(36, 61), seen, strict=True) if n >= 7]
    last = model.run(samples[None, 60 - counts(12, 2, 60) :])["forecast"]
    assert outputs[-1] == pytest.approx(last[0], abs=1e-6)


def test_streams_in_step_take_one_call_a_hop(make_card):
    card = stepping(make_card, fold=3)
    lane, model = Lane("m", card, 500, 10_000, 2), Recurrence(3)
    for slot in range(500):
        lane.start(slot, card.rate_hz, 0)
    for _ in range(20):
        for slot in range(500):
            lane.feed(np.array([slot]), np.zeros((3, 1), np.float32)[None], np.zeros(1, np.int64))
        while (ready := lane.take(500)) is not None:
            lane.infer(ready, model)
    assert model.calls == 20


def test_intervals_are_widened_by_what_fewer_steps_cost(make_card):
    spread = tuple(float(13 - n) for n in range(4, 13))  # 9 at four steps, 1 at twelve
    card = stepping(make_card, spread=spread)
    lane, model = Lane("m", card, 1, 1000, 2), Recurrence(1)
    lane.start(0, card.rate_hz, 0)
    lane.feed(np.zeros(1, np.int64), np.zeros((40, 1), np.float32)[None], np.zeros(1, np.int64))
    told = [lane.infer(lane.take(1000), model) for _ in range(40)]
    half = [float((outputs["upper"] - outputs["lower"])[0, 0, 0]) / 2 for rows, outputs in told if len(rows)]
    assert half == pytest.approx([13 - counts(12, 2, end) for end in range(7, 41)])


def test_what_cannot_leapfrog_says_so(make_card):
    with pytest.raises(ModelError, match="it has no state that could be carried on"):
        Leapfrog(make_card("forecast"), 1)
    with pytest.raises(ModelError, match="2 states answer on 7 to 12 steps, it was trained for 8"):
        Leapfrog(stepping(make_card, first=8), 1, 2)
    with pytest.raises(ModelError, match="exceed its window"):
        Leapfrog(stepping(make_card, hop=12, lead=3), 1)
    with pytest.raises(ModelError, match="1 to 12 states, got 13"):
        Leapfrog(stepping(make_card), 1, 13)


def test_the_engine_serves_both_ways_with_one_card(make_card):
    """A constant signal is the same to both; leapfrog answers sooner, for it does not wait for a whole window."""
    card = stepping(make_card, window=10, first=4, hop=2)
    plan, told = Plan(models=("m",), quality=False), {}
    for mode, leapfrog in (("window", {}), ("leapfrog", {"m": 2})):
        engine, model = Engine({"m": card}, lambda _: plan, max_streams=2, leapfrog=leapfrog), Recurrence(1)
        engine.push(Block("s", np.ones((5, 1), np.float32), "r", 0, 0, RATE), 0, 0)
        assert engine.states()[0].warming
        engine.push(Block("s", np.ones((55, 1), np.float32), "r", 5, NS // 10, RATE), 0, 0)
        told[mode] = []
        while (ready := engine.ready("m", 8)) is not None:
            conclusion = engine.conclude(*engine.infer(ready, model))
            told[mode] += [engine.forecast(conclusion, row) for row in range(len(conclusion.batch))]
        (state,) = engine.states()
        assert not state.warming
        assert state.forecasts == state.windows == len(told[mode])
    made = {mode: [round(f.made_ns * RATE / NS) + 1 for f in forecasts] for mode, forecasts in told.items()}
    assert made == {"window": list(range(10, 61, 2)), "leapfrog": list(range(6, 61, 2))}


def test_under_overload_few_streams_lose_all_rather_than_all_a_little(make_card):
    card = stepping(make_card)
    lane, model = Lane("m", card, 10, 100, 2), Recurrence(1)
    for slot in range(10):
        lane.start(slot, card.rate_hz, 0)
    told = np.zeros(10, np.int64)
    for _ in range(200):
        for slot in range(10):
            lane.feed(np.array([slot]), np.zeros((3, 1), np.float32)[None], np.zeros(1, np.int64))
        for _ in range(2):  # two thirds of what comes
            rows, _ = lane.infer(lane.take(10), model)
            np.add.at(told, rows.slots, 1)
    lost = lane.skipped
    assert told.sum() + lost.sum() < 10 * 600  # the rest warmed up
    assert 10 * 190 < lost.sum() < 10 * 400  # a batch of few streams is not full, which costs some more
    assert lost.max() < 2 * lost.min()  # they take turns
    assert told.min() > 150


def test_after_a_reload_the_states_of_the_other_model_are_forgotten(make_card):
    card = stepping(make_card)
    plan = Plan(models=("m",))
    engine, model = Engine({"m": card}, lambda _: plan, max_streams=1, leapfrog={"m": 2}), Recurrence(1)
    values = np.random.default_rng(1).standard_normal((40, 1)).astype(np.float32)
    ends = []
    for start in range(0, 40, 20):
        engine.push(Block("s", values[start : start + 20], "r", start, start * NS // 50, RATE), 0, 0)
        ends.append([])
        while (ready := engine.ready("m", 100)) is not None:
            ends[-1] += engine.infer(ready, model)[0].ends.tolist()
        other = stepping(make_card, spread=(1.0,) * 9)
        engine.reload({"m": other}, lambda _: plan, (), {"m": 2})
    assert ends[0] == list(range(7, 21))
    assert ends[1][0] > 26
