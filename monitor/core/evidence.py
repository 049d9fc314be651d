"""What a model had seen when it raised an alarm, so that the alarm can say why for as long as it is remembered.

A row that raises costs a copy of its window. All other rows cost nothing, but for those of a forecaster: what it
foretold of the last window is kept for every stream, hop by hop, which is a few stores a batch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, MutableMapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from monitor.core.batches import Batch
from monitor.core.blocks import NS, Alarm, Floats, State
from monitor.core.card import Card
from monitor.core.stream import Stream

MOST_VALUES = 4096
"""Of one array in the evidence; of a longer window the newest part is kept."""


class Foreseen(msgspec.Struct, frozen=True):
    """What had been forecast, against what came: (time, channel) float32 arrays as raw little-endian bytes.

    Each hop of the past is as it was foretold one hop before, which is what the monitor judges; after `end_ns`
    comes the newest forecast whole.
    """

    model: str
    end_ns: int
    """Time of the last sample that came."""
    rate_hz: float
    channels: int
    unit: str
    came: bytes
    mean: bytes
    """As long as `came`, and then as long as the horizon."""
    lower: bytes
    upper: bytes

    def __post_init__(self) -> None:
        """Raises ValueError where its parts do not fit each other, which a decoder makes its own error of."""
        _check(self.rate_hz, self.channels, self.came, self.mean, self.lower, self.upper)
        if not len(self.came) <= len(self.mean) == len(self.lower) == len(self.upper):
            raise ValueError("expected a mean and bounds of one length, not shorter than what came")


class Evidence(msgspec.Struct, frozen=True):
    """Why an alarm was raised: the numbers, the window the model saw, and what had been forecast."""

    alarm: str
    stream: str
    model: str
    """NAME@VERSION."""
    score: float
    """When it was raised; the alarm itself tells the highest since."""
    threshold: float
    end_ns: int
    """Time of the window's last sample."""
    rate_hz: float
    channels: int
    unit: str
    """Empty where the model's card has the signal scaled."""
    window: bytes
    """(time, channel) raw little-endian float32, conditioned as the model's card says."""
    foreseen: Foreseen | None = None

    def __post_init__(self) -> None:
        """See Foreseen."""
        _check(self.rate_hz, self.channels, self.window)


def _check(rate_hz: float, channels: int, *arrays: bytes) -> None:
    if not 0 < rate_hz < math.inf:
        raise ValueError(f"expected a rate above 0 Hz, got {rate_hz:g}")
    if channels < 1 or any(len(raw) % (4 * channels) for raw in arrays):
        raise ValueError(
            f"expected float32 arrays of {channels} channels, got {[len(raw) for raw in arrays]} bytes"
        )


def array_of(raw: bytes, channels: int) -> Floats:
    """(time, channel) of what an Evidence carries."""
    return np.frombuffer(raw, "<f4").reshape(-1, channels)


def bytes_of(values: Floats) -> bytes:
    """The newest part of (time, channel) values, at most MOST_VALUES of them, as an Evidence carries them."""
    most = max(MOST_VALUES // values.shape[1], 1)
    return np.ascontiguousarray(values[-most:], "<f4").tobytes()


class Foresight:
    """What one forecaster foretold of the last window of up to `capacity` streams."""

    def __init__(self, card: Card, capacity: int) -> None:
        self.card = card
        self._hop, width = card.hop_samples, 3 * card.channels
        self._told = min(self._hop, card.horizon)
        self._hops = max(min(card.window_samples, MOST_VALUES // card.channels) // self._hop, 1)
        # Zeros that nobody has written to take no memory; `_count` says what of them is true.
        self._newest = np.zeros((capacity, card.horizon, width), np.float32)
        self._past = np.zeros((capacity, self._hops, self._hop, width + card.channels), np.float32)
        self._count = np.full(capacity, -1, np.int64)  # hops that were foretold, one after the other
        self._segment = np.full(capacity, -1, np.int64)
        self._end = np.zeros(capacity, np.int64)
        self._t_ns = np.zeros(capacity, np.int64)

    def note(self, part: Batch, outputs: dict[str, Floats]) -> None:
        """Windows of our model, of distinct streams, and what it says comes after each."""
        told = np.concatenate([outputs["forecast"], outputs["lower"], outputs["upper"]], axis=2)
        slots, ends, wide = part.slots, part.ends, told.shape[2]
        follows: NDArray[np.bool_] = self._segment[slots] == part.segments
        follows &= self._end[slots] + self._hop == ends
        self._count[slots] = np.where(follows, self._count[slots] + 1, 0)
        hop = np.full((len(part), self._hop, self._past.shape[3]), np.nan, np.float32)
        hop[:, : self._told, :wide] = self._newest[slots, : self._told]
        hop[:, :, wide:] = part.windows[:, -self._hop :]
        self._past[slots, (self._count[slots] - 1) % self._hops] = hop
        self._newest[slots] = told
        self._segment[slots], self._end[slots], self._t_ns[slots] = part.segments, ends, part.t_ns

    def is_behind(self, slot: int, t_ns: int) -> bool:
        """Whether a window may come that ends by `t_ns` and is newer than the newest."""
        hop_ns = NS * self._hop / self.card.rate_hz
        return bool(self._count[slot] < 0 or self._t_ns[slot] <= t_ns - hop_ns)

    def of(self, slot: int, t_ns: int, unit: str) -> Foreseen | None:
        """What was foretold of a stream, as of its newest window; None where that is long before `t_ns`."""
        card, count = self.card, min(int(self._count[slot]), self._hops)
        if count < 0 or abs(t_ns - self._t_ns[slot]) > NS * card.window_samples / card.rate_hz:
            return None
        turns = (self._count[slot] - count + np.arange(count)) % self._hops
        past = self._past[slot, turns].reshape(-1, self._past.shape[3])  # (time, 4 * channel)
        wide = card.channels
        foretold = np.concatenate([past[:, : 3 * wide], self._newest[slot]])
        mean, lower, upper = (
            np.ascontiguousarray(foretold[:, i * wide : (i + 1) * wide], "<f4").tobytes() for i in range(3)
        )
        came = np.ascontiguousarray(past[:, 3 * wide :], "<f4").tobytes()
        end_ns = int(self._t_ns[slot])
        return Foreseen(
            card.ident, end_ns, card.rate_hz, wide, unit_of(card, unit), came, mean, lower, upper,
        )  # fmt: skip


class Foresights:
    """Those of all forecasters, and what they make of alarms.

    In a backlog one model is done with all of it before the next begins: what a classifier raises waits for the
    forecaster to come as far.
    """

    def __init__(self, cards: Mapping[str, Card], capacity: int) -> None:
        self._cards = dict(cards)
        self._of = {name: Foresight(card, capacity) for name, card in cards.items() if card.task == "forecast"}
        self._waiting: list[tuple[str, int, int, str, Evidence]] = []  # forecaster, slot, time, unit

    def note(self, batch: Batch, outputs: dict[str, Floats]) -> list[Evidence]:
        """See Foresight.note; other models foretell nothing. The evidence that has waited for this."""
        if (foresight := self._of.get(batch.model)) is None:
            return []
        foresight.note(batch, outputs)
        return self._come() if self._waiting else []

    def rest(self) -> list[Evidence]:
        """What waits for forecasts that have not come, with what there is."""
        return self._come(all_of_it=True) if self._waiting else []

    def evidence(
        self,
        part: Batch,
        notices: Sequence[tuple[int, object]],
        streams: Sequence[Stream],
        late: MutableMapping[str, tuple[int, Floats]],
    ) -> list[Evidence]:
        """Why each alarm was raised that is new among the notices of a batch, each of which has its row.

        `late` has the time and window of those that an earlier row has raised; they are taken out. What a
        forecaster has still to say something of comes later, from `note` or `rest`.
        """
        found = []
        for row, alarm in notices:
            if not isinstance(alarm, Alarm) or alarm.state is not State.ACTIVE or alarm.times > 1:
                continue
            slot, t_ns, card = int(part.slots[row]), int(part.t_ns[row]), self._cards[part.model]
            stream = streams[slot]
            end_ns, window = late.pop(alarm.id, (t_ns, part.windows[row]))
            there = window[-min(int(part.ends[row]), len(window)) :]  # of a young segment's the rest is made up
            evidence = Evidence(
                alarm.id, alarm.stream, alarm.model, alarm.score, alarm.threshold, end_ns, card.rate_hz,
                card.channels, unit_of(card, stream.unit), bytes_of(there),
            )  # fmt: skip
            names = (part.model, *(lane.name for lane in stream.lanes))
            if (name := next((name for name in names if name in self._of), None)) is None:
                found.append(evidence)
            else:
                self._waiting.append((name, slot, t_ns, stream.unit, evidence))
        return found + self._come() if self._waiting else found

    def _come(self, *, all_of_it: bool = False) -> list[Evidence]:
        """Take out of those that wait the ones that need wait no longer."""
        found, waiting = [], []
        for one in self._waiting:
            name, slot, t_ns, unit, evidence = one
            if self._of[name].is_behind(slot, t_ns) and not all_of_it:
                waiting.append(one)
            else:
                found.append(msgspec.structs.replace(evidence, foreseen=self._of[name].of(slot, t_ns, unit)))
        self._waiting = waiting
        return found


def unit_of(card: Card, unit: str) -> str:
    """The unit of what a model sees of a signal in `unit`."""
    return unit if card.conditioning.gain == "none" else ""
