from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.core.blocks import Block
from monitor.core.errors import SchemaError
from monitor.core.ledger import Ledger


def block(seq, n, run="a"):
    return Block("s", np.zeros((n, 1), np.float32), run, seq)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 12)), min_size=1, max_size=30))
def test_received_and_missing_are_all_there_ever_was(blocks):
    """Any blocks in any order: lost, doubled, overlapping, late."""
    ledger, seen, handed_out = Ledger("s"), 0, 0
    for seq, n in blocks:
        verdict = ledger.enter(block(seq, n))
        handed_out += n - verdict.skip
        seen = max(seen, seq + n)
        counts = ledger.counts
        assert counts.received + counts.missing == seen
        assert counts.received == handed_out
        assert counts.late <= counts.missing or counts.late == 0
    brought = sum(n for _, n in blocks)
    assert ledger.counts.received + ledger.counts.duplicated + ledger.counts.late == brought


def test_loss_and_duplication_are_told_apart():
    ledger = Ledger("s")
    ledger.enter(block(0, 10))
    verdict = ledger.enter(block(15, 5))
    assert (verdict.gap, verdict.skip) == (5, 0)
    assert ledger.enter(block(15, 5)).skip == 5
    assert ledger.enter(block(8, 4)).skip == 4  # two known, two that were given up
    counts = ledger.counts
    assert (counts.received, counts.missing, counts.duplicated, counts.late, counts.gaps) == (15, 5, 7, 2, 1)


def test_a_late_sample_that_comes_twice_is_late_once():
    ledger = Ledger("s")
    for seq in (0, 20, 10, 10):
        ledger.enter(block(seq, 10))
    assert (ledger.counts.late, ledger.counts.duplicated, ledger.counts.missing) == (10, 10, 10)


def test_a_block_that_overlaps_gives_only_what_is_new():
    ledger = Ledger("s")
    ledger.enter(block(0, 10))
    assert ledger.enter(block(5, 10)).skip == 5
    assert ledger.counts.received == 15


def test_a_sender_that_begins_again_is_not_a_duplicate():
    ledger = Ledger("s")
    ledger.enter(block(0, 10, "a"))
    verdict = ledger.enter(block(0, 10, "b"))
    assert verdict.new_run
    assert verdict.skip == 0
    assert (ledger.counts.received, ledger.counts.duplicated, ledger.counts.runs) == (20, 0, 2)


def test_what_was_sent_before_we_came_is_missing_and_said_to_be_so():
    ledger = Ledger("s")
    ledger.enter(block(100, 10))
    assert (ledger.counts.missing, ledger.counts.before_first, ledger.counts.gaps) == (100, 100, 0)


def test_a_block_without_a_number_continues():
    ledger = Ledger("s")
    ledger.enter(block(0, 10))
    assert ledger.enter(block(None, 5)).gap == 0
    assert ledger.counts.received == 15


def test_two_senders_of_one_name_are_refused():
    ledger = Ledger("s")
    ledger.enter(block(0, 10, "a"))
    ledger.enter(block(0, 10, "b"))
    with pytest.raises(SchemaError, match="one sender a stream"):
        ledger.enter(block(10, 10, "a"))
    assert ledger.counts.received == 20
