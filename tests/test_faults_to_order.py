from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.core.blocks import NS, Block
from monitor.core.errors import ConfigError
from monitor.core.ledger import Ledger
from monitor.faults import Faults, Toll, with_faults, without_gaps

RATE = 10.0


def blocks(samples=400, size=7):
    values = np.arange(samples, dtype=np.float32)[:, None]
    for seq in range(0, samples, size):
        yield Block("s", values[seq : seq + size], "r", seq, seq * 10**8, RATE)


def sent(faults, **how):
    toll = Toll()
    return list(with_faults(blocks(**how), faults, toll)), toll


def samples_of(due):
    return [value for _, block in due for value in block.values[:, 0].tolist()]


def test_without_faults_every_block_comes_when_it_has_happened():
    due, toll = sent(Faults())
    assert samples_of(due) == list(range(400))
    assert [at for at, _ in due] == [((b.seq or 0) + len(b.values)) / RATE for _, b in due]
    assert toll == Toll()


def test_a_gap_is_cut_to_the_sample():
    due, toll = sent(Faults(gaps=((3.2, 1.5), (20.0, 2.0))))
    assert samples_of(due) == [*range(32), *range(47, 200), *range(220, 400)]
    assert toll.cut == 15 + 20
    for _, block in due:
        assert block.seq == block.values[0, 0]
        assert block.t0_ns == block.seq * 10**8


def test_lost_and_doubled_blocks_are_counted():
    due, toll = sent(Faults(drop=0.3, duplicate=0.2, seed=1), samples=7000)
    got = samples_of(due)
    assert 0.25 < toll.dropped / 7000 < 0.35
    assert 0.1 < toll.duplicated / 7000 < 0.18
    assert len(set(got)) + toll.dropped == 7000
    assert len(got) - len(set(got)) == toll.duplicated
    assert got == samples_of(sent(Faults(drop=0.3, duplicate=0.2, seed=1), samples=7000)[0])
    assert got != samples_of(sent(Faults(drop=0.3, duplicate=0.2, seed=2), samples=7000)[0])


def test_jitter_delays_and_changes_the_order():
    due, _ = sent(Faults(jitter_s=2.0))
    times = [at for at, _ in due]
    assert times == sorted(times)
    assert sorted(samples_of(due)) == list(range(400))
    seqs = [block.seq for _, block in due]
    assert seqs != sorted(seqs)
    late = [at - (block.seq + len(block.values)) / RATE for at, block in due]
    assert min(late) >= 0
    assert 1.5 < max(late) <= 2.0


@given(
    drop=st.floats(0, 0.9), duplicate=st.floats(0, 1), jitter=st.floats(0, 5), seed=st.integers(0, 99),
    gap=st.tuples(st.floats(0, 50), st.floats(0.1, 20)), size=st.integers(1, 60),
)  # fmt: skip
def test_the_ledger_accounts_for_all_of_it(drop, duplicate, jitter, seed, gap, size):
    faults = Faults(drop=drop, duplicate=duplicate, jitter_s=jitter, gaps=(gap,), seed=seed)
    due, toll = sent(faults, size=size)
    ledger = Ledger("s")
    for _, block in due:
        ledger.enter(block)
    counts = ledger.counts
    last = max((block.seq + len(block.values) for _, block in due), default=0)
    assert counts.received + counts.missing == last
    assert counts.duplicated + counts.late <= toll.duplicated + sum(len(b.values) for _, b in due)
    assert toll.dropped + toll.cut + len(set(samples_of(due))) == 400


def test_every_stream_of_a_fleet_has_faults_of_its_own():
    faults = Faults(drop=0.5)
    first, second = (list(with_faults(blocks(), faults, Toll(), number=n)) for n in (0, 1))
    assert samples_of(first) != samples_of(second)


@pytest.mark.parametrize(
    "wrong", [{"drop": 1.5}, {"duplicate": -1.0}, {"jitter_s": -1.0}, {"gaps": ((1.0, 0.0),)}]
)
def test_what_cannot_be_is_refused(wrong):
    with pytest.raises(ConfigError, match="expected"):
        next(iter(with_faults(blocks(), Faults(**wrong), Toll())), None)


def test_it_is_lazy():
    endless = (Block("s", np.zeros((1, 1), np.float32), "r", seq, 0, RATE) for seq in itertools.count())
    first = list(itertools.islice(with_faults(endless, Faults(jitter_s=1.0), Toll()), 50))
    assert len(first) == 50


def test_what_was_a_gap_in_a_recording_is_one_again():
    """A sample that no channel has is not sent; one that some channel has is, and says which is missing."""
    nan = np.nan
    values = np.float32([[1, 2], [nan, nan], [nan, 3], [4, 5], [nan, nan], [nan, nan]])
    parts = list(
        without_gaps(iter([Block("s", values, "r", 10, 0, RATE), Block("s", values[4:], "r", 16, 0, RATE)]))
    )
    assert [(part.seq, len(part.values), part.t0_ns) for part in parts] == [
        (10, 1, 0),
        (12, 2, round(2 * NS / RATE)),
    ]
    np.testing.assert_array_equal(parts[1].values, values[2:4])
