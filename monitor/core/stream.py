"""What the configuration says about a stream, and how far the stream has come."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field
from fractions import Fraction

import msgspec
import numpy as np

from monitor.core.blocks import NS, Block, Floats, Ints
from monitor.core.columns import Column
from monitor.core.errors import SchemaError
from monitor.core.lanes import Lane
from monitor.core.ledger import Books, Ledger
from monitor.core.pages import Who
from monitor.core.reorder import Early

_LONGEST_S = 10.0


@functools.lru_cache(maxsize=256)
def _alignment(shapes: tuple[tuple[int, int, float], ...], rate_hz: float) -> int:
    """The shortest time that is a whole number of windows and hops of every model, in samples of the stream.

    Of the hops alone where that would be too long, and 1 where the rates have nothing to do with each other.
    """
    for parts in ([{hop, window} for hop, window, _ in shapes], [{hop} for hop, _, _ in shapes]):
        spans = [
            Fraction(samples)
            / Fraction(model_hz).limit_denominator(1000)
            * Fraction(rate_hz).limit_denominator(1000)
            for (_, _, model_hz), some in zip(shapes, parts, strict=True)
            for samples in some
        ]
        if not spans:
            return 1
        over = math.lcm(*(span.denominator for span in spans))
        common = math.lcm(*(int(span * over) for span in spans))
        samples = common // math.gcd(common, over)
        if samples <= _LONGEST_S * rate_hz:
            return max(samples, 1)
    return 1


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What the configuration says about a stream."""

    models: tuple[str, ...] = ()
    rate_hz: float | None = None
    """Of blocks that do not say; a block that says otherwise is refused."""
    channels: tuple[str, ...] = ()
    unit: str = ""
    max_gap_s: float = 0.1
    """Gaps up to this long are filled by interpolation; a longer one begins a new segment."""
    reorder_s: float = 0.0
    """Blocks that come too early are held so long for those before them; 0 takes every block as it comes."""
    clock_jump_s: float = 1.0
    """A sender's clock that jumps by more begins a new segment."""
    quality: bool = True
    """Whether flat lines, leads that are off and saturation are looked for, and what else they look like is kept
    back while they last."""
    any_lead: bool = False
    """Channels are leads of one signal: while one that is looked at is at fault, models of one channel and beat
    models look at another, or at fewer."""
    stale_s: float = 1.5
    """A stream of which nothing has come for so long is stale; one that sends seldom, after three times as long as
    it usually waits. 0 says never."""
    heart_rate_bpm: tuple[float, float] | None = None
    """The range of the heart rate: an alarm is raised outside of it, an early one when its trend leaves it."""
    limits: dict[str, tuple[float, float]] = {}
    """The range of each channel's values, "*" for all that are not named: an alarm is raised outside of it, and an
    early one when the forecast leaves it. Takes a forecaster among the models."""
    budget_per_hour: float | None = None
    """Deviations from the forecast that may be alarms in an hour; None: as the rules say."""


class Places:
    """How far each of up to `capacity` streams has come, by slot: what the usual block looks at and moves on."""

    def __init__(self, capacity: int) -> None:
        self.books = Books(capacity)
        self.rate_hz = np.zeros(capacity)
        self.index = np.zeros(capacity, np.int64)
        """Samples of the segment so far, hole included."""
        self.hole = np.zeros(capacity, np.int64)
        """Missing samples at its end, withheld until it is known whether they can be filled."""
        self.anchor = np.zeros((2, capacity), np.int64)
        """Index and data time of one sample of the segment."""
        self.last = np.full((capacity, 1), np.nan, np.float32)
        """(slot, channel) the newest known sample; NaN before the first."""

    def widen(self, channels: int) -> None:
        """Make room for streams of so many channels."""
        capacity, width = self.last.shape
        if channels > width:
            more = np.full((capacity, channels - width), np.nan, np.float32)
            self.last = np.concatenate((self.last, more), axis=1)

    def time_ns(self, slots: Ints, ahead: int = 0) -> Ints:
        """Data time of the sample that comes next of each stream, or of one `ahead` of it; all have begun."""
        since, anchor_ns = self.index[slots] + ahead - self.anchor[0, slots], self.anchor[1, slots]
        times: Ints = anchor_ns + np.rint(since * float(NS) / self.rate_hz[slots]).astype(np.int64)
        return times

    def newest_ns(self, slots: Ints) -> Ints:
        """Data time of the last sample of each stream; 0 while nothing has come."""
        times = np.zeros(len(slots), np.int64)
        begun = self.index[slots] > 0
        times[begun] = self.time_ns(slots[begun], -1)
        return times

    def follow(self, slots: Ints, values: Floats) -> None:
        """Samples (n, time, channel) of distinct streams came as they were expected."""
        self.books.follow(slots, values.shape[1])
        self.index[slots] += values.shape[1]
        self.last[slots, : values.shape[2]] = values[:, -1]


@dataclass(slots=True)
class Stream:
    """One stream and how far it has come."""

    name: str
    slot: int
    plan: Plan
    lanes: tuple[Lane, ...]
    width: int
    """Channels that some model looks at."""
    ledger: Ledger
    places: Places
    channels: tuple[str, ...] = ()
    unit: str = ""
    said: Who | None = None
    """What its sender says with every block, where that is known to be right."""
    early: Early = field(default_factory=Early)
    events: int = 0

    rate_hz = Column(lambda one: one.places.rate_hz, float)
    """See Places, as of the next two."""
    index = Column(lambda one: one.places.index, int)
    hole = Column(lambda one: one.places.hole, int)

    @property
    def last(self) -> Floats:
        """(channel,) the newest known sample; NaN before the first."""
        newest: Floats = self.places.last[self.slot, : len(self.channels)]
        return newest

    def anchor(self, index: int, t_ns: int) -> None:
        """Sample `index` of the segment lies at `t_ns`."""
        self.places.anchor[:, self.slot] = index, t_ns

    @property
    def fresh(self) -> bool:
        """Whether nothing has come yet."""
        return self.index == 0

    def check(self, block: Block) -> float:
        """The block's rate; raises SchemaError when it does not fit the stream, its plan or its models.

        What it says of unit and channels is learned.
        """
        plan, name = self.plan, self.name
        rate_hz = block.rate_hz or plan.rate_hz or self.rate_hz
        if not rate_hz:
            raise SchemaError(
                f"stream {name!r}: expected rate_hz in the block or in its [[streams]] entry, got neither",
                stream=name,
                kind="rate",
            )
        if plan.rate_hz and rate_hz != plan.rate_hz:
            raise SchemaError(
                f"stream {name!r}: expected {plan.rate_hz:g} Hz as configured, got {rate_hz:g} Hz",
                stream=name,
                kind="rate",
            )
        count = block.values.shape[1]
        wanted = len(plan.channels or self.channels) or max(count, self.width)
        if count != wanted:
            raise SchemaError(
                f"stream {name!r}: expected {wanted} channels, got {count}", stream=name, kind="channels"
            )
        unit = block.unit or plan.unit or self.unit
        for lane in self.lanes:
            if unit and lane.card.unit and unit != lane.card.unit:
                raise SchemaError(
                    f"stream {name!r}: model {lane.name} expects {lane.card.unit}, got {unit}",
                    stream=name,
                    kind="unit",
                )
        self.unit = unit
        if not self.channels or block.channels:
            self.channels = block.channels or plan.channels or tuple(str(i + 1) for i in range(count))
        return rate_hz

    @property
    def align(self) -> int:
        """Samples by which a segment may begin later and its windows still fall on the same samples."""
        shapes = tuple((lane.card.hop_samples, lane.card.window_samples, lane.card.rate_hz) for lane in self.lanes)
        return _alignment(shapes, self.rate_hz)

    def time_ns(self, index: int) -> int:
        """Data time of a sample of the segment."""
        at, at_ns = (int(one) for one in self.places.anchor[:, self.slot])
        return at_ns + round((index - at) * NS / self.rate_hz)
