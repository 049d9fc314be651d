from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.blocks import NS
from monitor.dashboard.trace import Playhead, Trace
from tests.dashboard.making import at, block


def values_of(trace: Trace) -> list[float]:
    return trace.between(0, trace.newest_ns)[1][:, 0].tolist()


def test_blocks_that_follow_each_other_are_one_line():
    trace = Trace(100.0, 1)
    trace.push(block([1, 2], 0.0))
    trace.push(block([3, 4], 0.02))
    times, values = trace.between(0, trace.newest_ns)
    assert values[:, 0].tolist() == [1, 2, 3, 4]
    assert times.tolist() == [at(0.01 * i) for i in range(4)]


def test_a_gap_is_nan_in_its_place():
    trace = Trace(100.0, 1)
    trace.push(block([1, 2], 0.0))
    trace.push(block([6], 0.05))
    np.testing.assert_array_equal(values_of(trace), [1, 2, np.nan, np.nan, np.nan, 6])
    assert trace.newest_ns == at(0.05)


@pytest.mark.parametrize("jitter_ms", [-12, -3, 3, 12])
def test_a_jittering_clock_is_no_gap(jitter_ms):
    trace = Trace(100.0, 1)
    trace.push(block([1, 2], 0.0))
    trace.push(block([3], 0.02 + jitter_ms / 1000))
    assert values_of(trace) == [1, 2, 3]


def test_what_comes_twice_changes_nothing():
    trace = Trace(100.0, 1)
    trace.push(block([1, 2, 3], 0.0, seq=0))
    trace.push(block([2, 3, 4], 0.01, seq=1))
    trace.push(block([1, 2], 0.0, seq=0))
    assert values_of(trace) == [1, 2, 3, 4]
    assert trace.newest_ns == at(0.03)


def test_a_jump_back_in_time_starts_anew():
    trace = Trace(100.0, 1)
    trace.push(block([1, 2, 3], 100.0, seq=0, run="a"))
    trace.push(block([7, 8], 0.0, seq=0, run="b"))
    assert values_of(trace) == [7, 8]
    assert trace.newest_ns == at(0.01)


def test_a_gap_longer_than_the_ring_starts_anew():
    trace = Trace(100.0, 1)
    trace.push(block([1, 2], 0.0))
    trace.push(block([5, 6], 1e6))
    assert values_of(trace) == [5, 6]


def test_a_block_without_a_time_continues():
    trace = Trace(100.0, 1)
    trace.push(block([1, 2], 3.0))
    trace.push(block([3], None))
    assert trace.newest_ns == at(3.02)


def test_memory_is_bounded_whatever_the_rate_and_channels():
    trace = Trace(100_000.0, 64)
    assert trace.capacity * 64 <= 1 << 20
    slow = Trace(1 / 300, 1)
    assert slow.capacity == 4096


def test_a_block_larger_than_the_ring_keeps_its_end():
    trace = Trace(0.01, 1)
    trace.push(block(np.arange(10_000), 0.0, rate_hz=0.01))
    assert trace.count == trace.capacity == 4096
    assert values_of(trace)[-1] == 9999
    assert values_of(trace)[0] == 10_000 - 4096


@settings(max_examples=60, deadline=None)
@given(
    cuts=st.lists(st.integers(1, 700), min_size=1, max_size=30), ask=st.tuples(st.floats(0, 1), st.floats(0, 1))
)
def test_however_it_is_cut_the_ring_holds_the_newest_samples(cuts, ask):
    trace = Trace(1.0, 1)  # capacity 4096
    n = 0
    for cut in cuts:
        trace.push(block(np.arange(n, n + cut), float(n), rate_hz=1.0, seq=n))
        n += cut
    held = np.arange(max(n - trace.capacity, 0), n)
    assert trace.count == len(held)
    low, high = (round(share * (n - 1)) for share in sorted(ask))
    times, values = trace.between(at(low), at(high))
    assert (values[:, 0] == (times - at(0)) / NS).all()
    wanted = held[(held >= low) & (held <= high)]
    assert set(wanted) <= set(values[:, 0].astype(int))
    assert len(values) <= len(wanted) + 2


def test_single_samples_by_time():
    trace = Trace(100.0, 2)
    trace.push(block([[1, 10], [2, 20], [3, 30]], 0.0))
    np.testing.assert_array_equal(
        trace.at(np.array([at(0.004), at(0.02), at(0.03), at(-0.01)])),
        [[1, 10], [3, 30], [np.nan, np.nan], [np.nan, np.nan]],
    )


def test_a_copy_does_not_move():
    trace = Trace(100.0, 1)
    trace.push(block([1, 2], 0.0))
    twin = trace.copy()
    trace.push(block([3, 4], 0.02))
    assert values_of(twin) == [1, 2]


# the playhead


def arrivals(head: Playhead, until_s: float, *, every_s=0.1, speed=1.0):
    t = 0.0
    while t <= until_s:
        head.arrive(at(t * speed), t)
        t += every_s
    return t - every_s


def test_now_moves_smoothly_between_arrivals():
    head = Playhead()
    shown, t = [], 0.0
    while t < 6.0:
        if round(t * 100) % 10 == 0:
            head.arrive(at(t), t)
        if t > 3 and round(t * 100) % 4 == 0:
            shown.append(head.at(t))
        t += 0.01
    steps = np.diff(shown) / NS
    assert (steps >= 0).all()
    assert steps.max() < 0.06  # a frame is 0.04 s; blocks come every 0.1 s
    assert abs(steps.mean() - 0.04) < 0.004


@pytest.mark.parametrize("speed", [0.5, 1.0, 20.0])
def test_now_never_passes_the_data_and_keeps_up_with_it(speed):
    head = Playhead()
    last_s = arrivals(head, 5.0, speed=speed)
    newest = at(last_s * speed)
    assert newest - round(0.25 * speed * NS) <= head.at(last_s + 0.05) <= newest


def test_when_nothing_comes_now_stands_at_the_newest_sample():
    head = Playhead()
    last_s = arrivals(head, 3.0)
    assert head.at(last_s + 60) == at(last_s)
    assert head.at(last_s + 600) == at(last_s)


def test_now_follows_a_stream_that_begins_anew():
    head = Playhead()
    arrivals(head, 3.0)
    head.arrive(at(-5000), 3.2)
    assert head.at(3.21) == at(-5000)


def test_before_anything_came():
    head = Playhead()
    assert head.at(5.0) == 0
