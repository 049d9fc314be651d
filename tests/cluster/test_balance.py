from __future__ import annotations

from itertools import pairwise

import pytest

from monitor.cluster.balance import SILENT_S, alive, quota, surplus, wanted


@pytest.mark.parametrize("partitions", [1, 4, 7, 8, 64])
@pytest.mark.parametrize("workers", [1, 2, 3, 5, 70])
def test_every_partition_finds_a_worker_and_every_worker_stays_within_its_share(partitions, workers):
    """Whoever is asked first is given all that it wants; nobody wants too much for the others to be served."""
    owned, free = {worker: [] for worker in range(workers)}, list(range(partitions))
    for mine in owned.values():
        while free and free[0] in wanted(mine, partitions, workers):
            mine.append(free.pop(0))
        assert surplus(mine, partitions, workers) == []
    assert free == []
    assert max(map(len, owned.values())) == quota(partitions, workers)


def test_who_has_too_many_gives_away_the_rest_and_asks_for_no_more():
    assert surplus([5, 1, 3, 7], 8, 4) == [5, 7]
    assert wanted([5, 1, 3, 7], 8, 4) == [1, 3, 5, 7]
    assert wanted([5], 8, 4) == list(range(8))


def test_shares_never_grow_when_workers_come():
    shares = [quota(8, workers) for workers in range(10)]
    assert all(a >= b for a, b in pairwise(shares))


def test_who_has_been_silent_is_taken_for_dead():
    assert alive({"a": 10.0, "b": 10.0 - SILENT_S}, 10.1) == ["a"]
