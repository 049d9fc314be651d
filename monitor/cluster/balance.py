"""Who should have how many partitions: the one thing in the cluster that is decided here and not by NATS.

Every worker decides for itself, from what it last heard of the others. A wrong decision costs delay: a partition
waits until somebody asks for it, or moves once too often. It cannot cost data, for a partition belongs to whom the
server gives it, and counts what its last commit says.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

SILENT_S = 0.9
"""A worker that has not been heard of for so long is taken for dead."""


def quota(partitions: int, workers: int) -> int:
    """Partitions that one of `workers` should have at most."""
    return -(-partitions // max(workers, 1))


def alive(heard_s: Mapping[str, float], now_s: float) -> list[str]:
    """Workers that were heard of lately."""
    return sorted(name for name, at_s in heard_s.items() if now_s - at_s < SILENT_S)


def surplus(owned: Collection[int], partitions: int, workers: int) -> list[int]:
    """Partitions to give away."""
    return sorted(owned)[quota(partitions, workers) :]


def wanted(owned: Collection[int], partitions: int, workers: int) -> list[int]:
    """Partitions to ask for: our own, and all others while we have fewer than we should."""
    if len(owned) < quota(partitions, workers):
        return list(range(partitions))
    return sorted(owned)
