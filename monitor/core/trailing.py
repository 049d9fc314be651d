"""The mean of each stream's last values, for scores that speak of a while and not of a moment."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from monitor.core.blocks import Ints

Doubles = NDArray[np.float64]


class Trailing:
    """The last `length` values of up to `capacity` streams."""

    def __init__(self, capacity: int, length: int) -> None:
        self._ring = np.zeros((capacity, length), np.float32)
        self._count = np.zeros(capacity, np.int64)

    def step(self, slots: Ints, values: Doubles) -> Doubles:
        """The mean with `values` (n,), one for each of distinct streams; NaN until there are `length` of them.

        A value that is NaN says that the row of values is broken: it begins anew.
        """
        length = self._ring.shape[1]
        known = ~np.isnan(values)
        self._ring[slots, self._count[slots] % length] = np.nan_to_num(values)
        self._count[slots] = np.where(known, self._count[slots] + 1, 0)
        full = self._count[slots] >= length
        return np.where(full, self._ring[slots].mean(axis=1, dtype=np.float64), np.nan)
