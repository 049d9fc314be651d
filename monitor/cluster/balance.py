"""Who should have how many partitions: the one thing in the cluster that is decided here and not by NATS.

Every worker decides for itself, from what it last heard of the others. A wrong decision costs delay: a partition
waits until somebody asks for it, or moves once too often. It cannot cost data, for a partition belongs to whom the
server gives it, and counts what its last commit says.

- A worker asks for what nobody has, as much as its share allows, each beginning somewhere else in the row: so
  those who come at the same time ask for different ones.
- It gives away what exceeds its share; but not to one who was only silent for a while. On a busy machine a worker
  may be late with its word, and what it has would go to and fro.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

SILENT_S = 0.9
"""A worker that has not been heard of for so long is taken for dead."""
STEADY_S = 5.0
"""One that was, and is heard again, is given nothing of others' for so long."""


Others = Mapping[str, "Heard"]


class Heard(NamedTuple):
    """What is known of another worker."""

    at_s: float
    """When it was last heard."""
    back_s: float
    """When it came back from a silence; minus infinity where it has not been silent."""
    partitions: frozenset[int]
    """What it had then."""

    def again(self, now_s: float, partitions: Collection[int]) -> Heard:
        """It is heard once more."""
        back_s = now_s if now_s - self.at_s >= SILENT_S else self.back_s
        return Heard(now_s, back_s, frozenset(partitions))


def alive(others: Others, now_s: float) -> dict[str, Heard]:
    """Those that were heard of lately."""
    return {name: one for name, one in others.items() if now_s - one.at_s < SILENT_S}


def quota(partitions: int, workers: int) -> int:
    """Partitions that one of `workers` should have at most."""
    return -(-partitions // max(workers, 1))


def order(me: str, others: Collection[str], partitions: int) -> list[int]:
    """All partitions, in the order in which a worker would have them."""
    workers = sorted({me, *others})
    first = workers.index(me) * partitions // len(workers)
    return [(first + n) % partitions for n in range(partitions)]


def surplus(
    me: str, owned: Collection[int], others: Mapping[str, Heard], partitions: int, now_s: float
) -> list[int]:
    """Partitions to give away."""
    steady = [name for name, one in alive(others, now_s).items() if now_s - one.back_s >= STEADY_S]
    mine = [number for number in order(me, steady, partitions) if number in owned]
    return mine[quota(partitions, 1 + len(steady)) :]


def wanted(
    me: str, owned: Collection[int], others: Mapping[str, Heard], partitions: int, now_s: float
) -> list[int]:
    """Partitions to ask for: our own, and of those that nobody has as many as are missing from our share."""
    there = alive(others, now_s)
    taken = {number for one in there.values() for number in one.partitions}.union(owned)
    free = [number for number in order(me, there, partitions) if number not in taken]
    room = max(quota(partitions, 1 + len(there)) - len(owned), 0)
    given_away = surplus(me, owned, others, partitions, now_s)
    return [*(number for number in owned if number not in given_away), *free[:room]]
