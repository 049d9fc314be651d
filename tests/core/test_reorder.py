"""Late blocks are put in order within `reorder_s`; what a restart keeps, and what a reload changes."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.core.blocks import NS, Alarm, Block, Event
from monitor.core.engine import Engine
from monitor.core.errors import SchemaError
from monitor.core.memory import Saved
from monitor.core.stream import Plan
from tests.core.test_engine import RATE, cut, make_engine, run_through, signal, spike_model


class Intake:
    """An engine without models, and everything that came out of it."""

    def __init__(self, **plan):
        self.engine = Engine({}, lambda _: Plan(**plan), max_streams=2)
        self.taken: list[Block] = []
        self.events: list[Event] = []
        self.refused = 0

    def push(self, block, now_ns=0):
        self._note(block, now_ns)
        self.tick(now_ns)

    def tick(self, now_ns):
        while (held := self.engine.due(now_ns)) is not None:
            self._note(held.block, held.arrived_ns, is_due=True)

    def _note(self, block, now_ns, **how):
        try:
            taken, events = self.engine.push(block, now_ns, 0, **how)
        except SchemaError:
            self.refused += 1
            return
        self.taken += [taken] if taken is not None else []
        self.events += events

    @property
    def ledger(self):
        return self.engine.states()[0].ledger

    @property
    def values(self):
        return np.concatenate([block.values[:, 0] for block in self.taken])


def numbered(order, size=10, run="r", **changes):
    values = np.arange(1000, dtype=np.float32)[:, None]
    return [
        Block("s", values[i * size : (i + 1) * size], run, i * size, round(i * size * NS / RATE), RATE, **changes)
        for i in order
    ]


@given(st.lists(st.integers(0, 4), min_size=30, max_size=30))
def test_whatever_came_late_within_reorder_s_is_as_if_it_had_been_in_time(delays):
    """Each of 30 blocks of 0.2 s is late by up to four places; a second is enough for that."""
    order = sorted(range(1, 30), key=lambda i: (i + delays[i], i))
    intake = Intake(reorder_s=1.0)
    for block in numbered([0, *order]):
        intake.push(block)
    np.testing.assert_array_equal(intake.values, np.arange(300))
    assert [block.t0_ns for block in intake.taken] == [round(b.seq * NS / RATE) for b in intake.taken]
    assert (intake.ledger.missing, intake.ledger.late, intake.ledger.duplicated) == (0, 0, 0)
    assert intake.events == []


@given(st.permutations(range(1, 12)), st.sampled_from([0.0, 0.5, 5.0]))
def test_the_books_balance_in_any_order(order, reorder_s):
    intake = Intake(reorder_s=reorder_s)
    for block in numbered([0, *order, *order[:3]]):
        intake.push(block)
    intake.tick(100 * NS)
    ledger = intake.ledger
    assert ledger.received + ledger.missing == 120
    assert ledger.duplicated + ledger.late >= 30
    if reorder_s == 5.0:
        assert (ledger.received, ledger.missing, ledger.duplicated, ledger.late) == (120, 0, 30, 0)


def test_without_reorder_s_nothing_waits():
    intake = Intake()
    for block in numbered([0, 2, 1]):
        intake.push(block)
    assert (intake.ledger.received, intake.ledger.missing, intake.ledger.late) == (20, 10, 10)
    assert len(intake.taken) == 2


def test_what_stays_away_is_given_up_when_the_stream_has_gone_on_for_reorder_s():
    intake = Intake(reorder_s=1.0)
    blocks = numbered(range(10))
    for block in (blocks[0], *blocks[2:6]):
        intake.push(block)
    assert len(intake.taken) == 1  # it has gone on for 1.0 s from where the hole begins, with the next for 1.2 s
    intake.push(blocks[6])
    assert len(intake.taken) == 6
    assert [event.label for event in intake.events] == ["gap", "segment"]
    assert (intake.ledger.missing, intake.ledger.gaps) == (10, 1)
    intake.push(blocks[1])
    assert intake.ledger.late == 10


def test_what_stays_away_is_given_up_when_the_stream_falls_silent():
    intake = Intake(reorder_s=1.0)
    blocks = numbered(range(4))
    intake.push(blocks[0])
    intake.push(blocks[3], now_ns=5 * NS)
    intake.tick(5 * NS + NS // 2)
    assert intake.ledger.received == 10
    intake.tick(6 * NS)
    assert (intake.ledger.received, intake.ledger.missing) == (20, 20)


def test_a_new_run_ends_the_waiting():
    intake = Intake(reorder_s=10.0)
    old, new = numbered(range(4)), numbered(range(2), run="next")
    for block in (old[0], old[2], new[0], new[1]):
        intake.push(block)
    ledger = intake.ledger
    assert (ledger.runs, ledger.received, ledger.missing) == (2, 40, 10)
    assert [event.label for event in intake.events] == ["gap", "segment", "restart"]
    intake.push(old[3])
    assert intake.refused == 1


def test_blocks_without_a_number_keep_their_place():
    intake = Intake(reorder_s=10.0)
    first, _, third = numbered(range(3))
    nameless = msgspec.structs.replace(third, seq=None, t0_ns=None, values=third.values + 100)
    for block in (first, third, nameless):
        intake.push(block)
    assert len(intake.taken) == 1
    intake.tick(10 * NS)
    assert intake.values.tolist() == [*range(10), *range(20, 30), *range(120, 130)]


def test_no_more_than_so_many_are_held():
    intake = Intake(reorder_s=1e6)
    block = numbered([0], size=1)[0]
    intake.push(block)
    for i in range(2000):
        intake.push(msgspec.structs.replace(block, seq=2 + i))
    assert intake.ledger.received > 900


def halves(make_card, blocks, at):
    """Run the first blocks through one engine, hand over, and the rest through another."""
    first, second = make_engine(make_card), make_engine(make_card)
    run_through(first, blocks[:at])
    saved = msgspec.msgpack.decode(
        msgspec.msgpack.encode([*first.memory.learn(first.memory.save())]), type=list[Saved]
    )
    second.memory.resume(saved)
    flagged, _ = run_through(second, blocks[at:])
    return first, second, flagged


def test_ledger_and_calibration_survive_a_restart(make_card):
    blocks = cut(signal(1000, ()), range(0, 1000, 10))
    blocks = [*blocks[:30], *blocks[33:60], blocks[31], blocks[50], *blocks[60:]]
    whole = make_engine(make_card)
    run_through(whole, blocks)
    first, second, _ = halves(make_card, blocks, 70)
    assert second.states()[0].ledger == whole.states()[0].ledger
    assert first.states()[0].ledger.missing == 30
    (before,), (after,) = [*first.memory.learn(first.memory.save())], second.memory.learn(second.memory.save())
    assert set(before.calibration) == {"tiny@1"}
    assert after.calibration["tiny@1"]["hops"] > before.calibration["tiny@1"]["hops"] > 40


def test_a_block_that_was_held_is_not_lost_with_the_books(make_card):
    blocks = cut(signal(100, ()), range(0, 100, 10))
    first = make_engine(make_card, reorder_s=5.0)
    run_through(first, [*blocks[:3], blocks[4], blocks[5]])
    (saved,) = [*first.memory.learn(first.memory.save())]
    assert (saved.ledger.next_seq, len(saved.early)) == (30, 2)


def test_a_calibration_of_another_model_is_not_taken_over(make_card):
    engine = make_engine(make_card)
    engine.memory.resume(
        [Saved("s", msgspec.structs.replace(_books(make_card), run="r"), (), {"other@2": {"usual": 9.0}})]
    )
    run_through(engine, cut(signal(100, ()), [0, 50], seq=0))
    (saved,) = [*engine.memory.learn(engine.memory.save())]
    assert saved.calibration["tiny@1"]["usual"] != 9.0


def _books(make_card):
    return make_engine_with(make_card, 10).memory.save()[0].ledger


def make_engine_with(make_card, samples):
    engine = make_engine(make_card)
    run_through(engine, cut(signal(samples, ()), []))
    return engine


@pytest.mark.parametrize("bad", [{"usual": float("nan")}, {"usual": -1.0}, {"hops": float("inf")}, {"x": 1.0}])
def test_a_calibration_that_is_none_is_ignored(make_card, bad):
    engine = make_engine(make_card)
    engine.memory.resume([Saved("s", _books(make_card), (), {"tiny@1": bad})])
    flagged, _ = run_through(engine, cut(signal(300, (200,)), [], run="next"))
    assert any(n.kind == "class" for n in flagged)


# --- reload -----------------------------------------------------------------------------------------------------


def reloaded(make_card, change, rules=(), at=117, **plan):
    """A spike's alarm is active when the engine gets other cards or plans."""
    values = signal(300, (110,))
    engine = make_engine(make_card)
    before, _ = run_through(engine, cut(values[:at], []))
    assert engine.waiting() == 0
    cards = change({"spikes": make_card("classify", unit="mV"), "forecast": make_card("forecast")})
    new = Plan(**{"models": ("spikes", "forecast"), "quality": False, **plan})
    over = engine.reload(cards, lambda name: new if name.startswith("s") else None, rules)
    after, _ = run_through(engine, cut(values[at:], [], seq=at))
    return engine, before, over, after


def test_a_model_of_the_same_shape_takes_over_without_a_break(make_card):
    newer = {"spikes": make_card("classify", unit="mV", version="2"), "forecast": make_card("forecast")}
    engine, before, over, after = reloaded(make_card, lambda _: newer)
    whole, _ = run_through(make_engine(make_card), cut(signal(300, (110,)), []))
    alarms = [n for n in before + after if isinstance(n, Alarm) and n.kind == "class"]
    assert [(a.id, a.state, a.changed_ns) for a in alarms] == [
        (a.id, a.state, a.changed_ns) for a in whole if isinstance(a, Alarm) and a.kind == "class"
    ]
    assert over == []
    state = engine.states()[0]
    assert state.models == ("tiny@2", "tiny@1")
    assert (state.ledger.received, state.ledger.missing, state.windows) == (300, 0, 2 * 59)


def test_a_model_of_another_shape_warms_up_and_no_sample_is_lost(make_card):
    def change(cards):
        return {**cards, "spikes": make_card("classify", unit="mV", window=20)}

    engine, _, over, _ = reloaded(make_card, change)
    assert [alarm.state.value for alarm in over] == ["cleared"]  # its judge has gone
    state = engine.states()[0]
    assert (state.ledger.received, state.ledger.missing) == (300, 0)
    assert state.windows < 2 * 59


def test_a_stream_that_no_entry_names_any_more_is_still_accounted_for(make_card):
    values = signal(200, ())
    engine = make_engine_with(make_card, 100)
    engine.reload({}, lambda _: None, ())
    engine.push(cut(values[100:], [], seq=100)[0], 0, 0)
    state = engine.states()[0]
    assert (state.ledger.received, state.models) == (200, ())
    with pytest.raises(SchemaError, match=r"no \[\[streams\]\] entry"):
        engine.push(cut(values, [], stream="s2")[0], 0, 0)


def test_a_model_that_is_new_to_a_stream_begins_with_it(make_card):
    engine = Engine({}, lambda _: Plan(), max_streams=2)
    blocks = cut(signal(300, (250,)), range(0, 300, 10))
    for block in blocks[:15]:
        engine.push(block, 0, 0)
    plan = Plan(models=("spikes",))
    engine.reload({"spikes": make_card("classify", unit="mV")}, lambda _: plan, ())
    for block in blocks[15:]:
        engine.push(block, 0, 0)
    batch = engine.ready("spikes", 1000)
    flagged = engine.conclude(batch, spike_model(batch.windows)).notices
    assert any(isinstance(n, Event) and n.label == "spike" and 4.9 * NS < n.t_ns < 5.2 * NS for _, n in flagged)


def test_what_will_be_delivered_again_is_waited_for_however_far_the_stream_has_gone_on():
    intake = Intake()
    blocks = numbered(range(30))
    for block in (blocks[0], *blocks[3:]):
        intake._note(block, 0, patience_s=5.0)
        intake.tick(NS)
    assert intake.ledger.received == 10
    for block in blocks[1:3]:
        intake._note(block, 2 * NS, patience_s=5.0)
    intake.tick(2 * NS)
    assert (intake.ledger.received, intake.ledger.missing, intake.ledger.late) == (300, 0, 0)
    intake._note(numbered([40])[0], 10 * NS, patience_s=5.0)
    intake.tick(14 * NS)
    assert intake.ledger.missing == 0
    intake.tick(15 * NS)
    assert intake.ledger.missing == 100


def test_windows_are_in_step_again_after_whole_hops_and_windows_of_every_model(make_card):
    from monitor.core.lanes import Lane
    from monitor.core.ledger import Ledger
    from monitor.core.stream import Places, Stream

    def align(rate_hz, *shapes):
        cards = [make_card(rate_hz=hz, window=window, hop=hop) for hz, window, hop in shapes]
        lanes = [Lane("m", card, 2, 10) for card in cards]
        places = Places(1)
        places.rate_hz[0] = rate_hz
        return Stream("s", 0, Plan(), lanes, 1, Ledger("s"), places).align

    assert align(50.0, (50.0, 50, 5)) == 50
    assert align(360.0, (72.0, 150, 3)) == 750
    assert align(360.0, (72.0, 150, 3), (360.0, 50, 5)) == 750
    assert align(360.0, (72.0, 149, 3), (72.0, 151, 4)) == 60  # of the hops alone: windows meet too seldom
    assert align(250.0) == 1
