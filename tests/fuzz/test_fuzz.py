"""Every target of the fuzzer under hypothesis: any bytes, and damaged versions of what means something."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS, seeds

SEEDS = seeds()
SLOW = {"wfdb", "edf", "csv", "config", "keys"}


def test_every_target_has_something_to_begin_from():
    assert set(SEEDS) == set(TARGETS)
    for name, inputs in SEEDS.items():
        for data in inputs:
            TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
def test_any_bytes_end_well(name):
    @settings(max_examples=50 if name in SLOW else 200)
    @given(st.binary(max_size=400))
    def run(data):
        TARGETS[name](data)

    run()


@pytest.mark.parametrize("name", TARGETS)
def test_what_means_something_may_be_damaged_anyhow(name):
    @settings(max_examples=50 if name in SLOW else 200)
    @given(st.data())
    def run(data):
        content = bytearray(data.draw(st.sampled_from(SEEDS[name])))
        for _ in range(data.draw(st.integers(1, 6))):
            at = data.draw(st.integers(0, max(len(content) - 1, 0)))
            piece = data.draw(st.binary(max_size=8))
            content[at : at + data.draw(st.integers(0, 8))] = piece
        TARGETS[name](bytes(content))

    run()
