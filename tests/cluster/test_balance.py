from __future__ import annotations

from itertools import pairwise

import pytest

from monitor.cluster.balance import SILENT_S, STEADY_S, Heard, alive, order, quota, surplus, wanted

ALWAYS = float("-inf")


def heard(at_s=0.0, partitions=(), back_s=ALWAYS):
    return Heard(at_s, back_s, frozenset(partitions))


def told(owned, me):
    return {name: heard(partitions=mine) for name, mine in owned.items() if name != me}


@pytest.mark.parametrize("partitions", [1, 4, 7, 8, 64])
@pytest.mark.parametrize("workers", [1, 2, 3, 5, 70])
def test_every_partition_finds_a_worker_and_every_worker_stays_within_its_share(partitions, workers):
    """They come at the same time, and know of each other what they had a turn ago."""
    owned = {f"w{worker:02}": [] for worker in range(workers)}
    for _ in range(workers):
        asked = {me: wanted(me, mine, told(owned, me), partitions, 0.0) for me, mine in owned.items()}
        for me, numbers in asked.items():
            taken = {number for mine in owned.values() for number in mine}
            owned[me] += [number for number in numbers if number not in taken]
    assert sorted(number for mine in owned.values() for number in mine) == list(range(partitions))
    assert max(map(len, owned.values())) <= quota(partitions, workers)
    assert all(surplus(me, mine, told(owned, me), partitions, 0.0) == [] for me, mine in owned.items())


def test_those_who_come_at_the_same_time_ask_for_different_ones():
    names = ["a", "b", "c"]
    asked = [wanted(me, [], {n: heard() for n in names if n != me}, 6, 0.0) for me in names]
    assert asked == [[0, 1], [2, 3], [4, 5]]


def test_who_has_too_many_gives_away_what_the_others_would_rather_have():
    others = {"b": heard()}
    assert surplus("a", range(6), others, 6, 0.0) == [3, 4, 5]
    assert wanted("a", range(6), others, 6, 0.0) == [0, 1, 2]
    assert surplus("b", range(6), {"a": heard()}, 6, 0.0) == [0, 1, 2]
    assert wanted("b", [3], {"a": heard(partitions=[0, 1, 2])}, 6, 0.0) == [3, 4, 5]


def test_what_a_dead_worker_had_is_asked_for_and_what_a_living_one_has_is_not():
    others = {"b": heard(partitions=[2, 3])}
    assert wanted("a", [0, 1], others, 4, SILENT_S - 0.1) == [0, 1]
    assert wanted("a", [0, 1], others, 4, SILENT_S) == [0, 1, 2, 3]


def test_one_that_was_only_late_with_its_word_is_given_nothing_for_a_while():
    late = heard(0.0, [2, 3]).again(1.0, [])
    assert surplus("a", range(4), {"b": late}, 4, 1.0) == []
    steady = late
    for tenth in range(round(10 * STEADY_S) + 1):
        steady = steady.again(1.0 + tenth / 10, [])
    assert surplus("a", range(4), {"b": steady}, 4, 1.0 + STEADY_S) == [2, 3]
    assert surplus("a", range(4), {"b": heard(1.0)}, 4, 1.0) == [2, 3], "a new one is given its share at once"


def test_shares_never_grow_when_workers_come():
    shares = [quota(8, workers) for workers in range(10)]
    assert all(a >= b for a, b in pairwise(shares))


def test_who_has_been_silent_is_taken_for_dead():
    assert list(alive({"a": heard(10.0), "b": heard(10.0 - SILENT_S)}, 10.1)) == ["a"]


def test_the_order_names_every_partition_once():
    assert order("b", ["a", "c"], 7) == [2, 3, 4, 5, 6, 0, 1]
