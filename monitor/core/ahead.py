"""Early warning: whether a stream's values are out of their range, and whether a forecast says they will be.

A score of 1 is the limit itself; it grows by 1 with each width of the range beyond it (where only one side is
limited, with each size of that limit). It is that of the channel that is worst off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.core.blocks import Floats, Ints
from monitor.core.card import Card

Doubles = NDArray[np.float64]
Range = tuple[float, float]
ANY_CHANNEL = "*"


def sees_values(card: Card) -> bool:
    """Whether a model forecasts in the stream's own units, as limits are given."""
    return card.task == "forecast" and card.conditioning.gain == "none" and not card.conditioning.high_pass_hz


@dataclass(frozen=True, slots=True)
class Outlook:
    """How rows of distinct streams stand to their ranges; scores are NaN where a stream has none."""

    now: Doubles
    """(n,) score of the newest sample."""
    ahead: Doubles
    """(n,) the highest score of the forecast; 0 while the sample itself is out of range: that is no warning."""
    lead_s: Doubles
    """(n,) until the forecast first leaves the range; NaN where it does not."""
    channels: Ints
    """(n, 2) which channel is worst off: now, and ahead."""
    is_below: NDArray[np.bool_]
    """(n, 2) at its lower end: now, and ahead."""


class Ranges:
    """The ranges that the values of up to `capacity` streams should keep to."""

    def __init__(self, card: Card, capacity: int) -> None:
        self._rate_hz = card.rate_hz
        self._bounds = np.full((capacity, 2, card.channels), np.nan)  # low, high
        self._scale = np.ones((capacity, card.channels))
        self._names: dict[int, tuple[str, ...]] = {}
        self._can = sees_values(card)

    def __bool__(self) -> bool:
        return bool(self._names)

    def limit(self, slot: int, channels: tuple[str, ...], limits: Mapping[str, Range]) -> None:
        """The stream in `slot` has these channels; `limits` by channel name, "*" for all that it does not name."""
        names = (*channels, *("",) * self._bounds.shape[2])[: self._bounds.shape[2]]
        self._names.pop(slot, None)
        self._bounds[slot] = np.nan
        for i, name in enumerate(names if self._can else ()):
            if (known := limits.get(name, limits.get(ANY_CHANNEL))) is not None:
                self._bounds[slot, :, i] = known
                ends = np.abs(np.array([one for one in known if np.isfinite(one)]))
                width = known[1] - known[0]
                self._scale[slot, i] = max(width if np.isfinite(width) else ends.max(initial=0.0), 1e-9)
                self._names[slot] = names

    def look(self, slots: Ints, windows: Floats, forecast: Floats) -> Outlook:
        """How windows (n, time, channel), and the forecasts (n, horizon, channel) that follow on them, stand."""
        path = np.concatenate([windows[:, -1:], forecast], axis=1).astype(np.float64)
        low, high = (self._bounds[slots, i][:, None] for i in (0, 1))
        beyond = np.stack([low - path, path - high]) / self._scale[slots][:, None]  # (side, n, time, channel)
        score = 1 + np.where(np.isnan(beyond), -np.inf, beyond).max(axis=0)
        none = np.isnan(low).all(axis=(1, 2))
        out = (score[:, 1:] >= 1).any(axis=2)
        now, ahead = score[:, 0].max(axis=1), score[:, 1:].max(axis=(1, 2))
        first = np.where(out.any(axis=1), out.argmax(axis=1), 0)
        rows = np.arange(len(slots))
        channels = np.stack([score[:, 0].argmax(axis=1), score[rows, 1 + first].argmax(axis=1)], axis=1)
        at = np.stack([np.zeros(len(slots), np.int64), 1 + first], axis=1)
        is_below: NDArray[np.bool_] = beyond[0][rows[:, None], at, channels] >= 0
        return Outlook(
            np.where(none, np.nan, np.maximum(now, 0.0)),
            np.where(none, np.nan, np.where(now >= 1, 0.0, np.maximum(ahead, 0.0))),
            np.where(out.any(axis=1) & ~none, (1 + first) / self._rate_hz, np.nan),
            channels,
            is_below,
        )

    def said(self, slot: int, outlook: Outlook, row: int, which: int) -> str:
        """A limit in words: `which` 0 of what is now, 1 of what is ahead."""
        channel = int(outlook.channels[row, which])
        is_below = bool(outlook.is_below[row, which])
        name = self._names.get(slot, ("",) * (channel + 1))[channel] or "value"
        limit = self._bounds[slot, 0 if is_below else 1, channel]
        text = f"{name} {'below' if is_below else 'above'} {limit:g}"
        return f"{text} in {outlook.lead_s[row]:.3g} s" if which else text
