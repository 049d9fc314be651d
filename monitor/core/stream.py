"""What the configuration says about a stream, and how far the stream has come."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field
from fractions import Fraction

import msgspec
import numpy as np

from monitor.core.blocks import NS, Block, Floats
from monitor.core.lanes import Lane
from monitor.core.ledger import Ledger
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
    rate_hz: float = 0.0
    channels: tuple[str, ...] = ()
    unit: str = ""
    index: int = 0
    """Samples of the segment so far, hole included."""
    hole: int = 0
    """Missing samples at its end, withheld until it is known whether they can be filled."""
    last: Floats = field(default_factory=lambda: np.full(0, np.nan, np.float32))
    """The newest known sample."""
    anchor: tuple[int, int] = (0, 0)
    """Index and data time of one sample of the segment."""
    early: Early = field(default_factory=Early)
    events: int = 0

    @property
    def newest_ns(self) -> int:
        """Data time of the last sample; 0 while nothing has come."""
        return 0 if self.fresh else self.time_ns(self.index - 1)

    @property
    def fresh(self) -> bool:
        """Whether nothing has come yet."""
        return self.index == 0

    def expects(self, block: Block) -> bool:
        """Whether `block` goes on, in every respect but its time, where the last one ended."""
        return (
            block.rate_hz == self.rate_hz
            and self.index > 0
            and not self.hole
            and self.ledger.expects(block.run, block.seq)
            and block.values.shape[1] == len(self.channels)
            and (not block.channels or block.channels == self.channels)
            and (not block.unit or block.unit == self.unit)
        )

    @property
    def align(self) -> int:
        """Samples by which a segment may begin later and its windows still fall on the same samples."""
        shapes = tuple((lane.card.hop_samples, lane.card.window_samples, lane.card.rate_hz) for lane in self.lanes)
        return _alignment(shapes, self.rate_hz)

    def time_ns(self, index: int) -> int:
        """Data time of a sample of the segment."""
        return self.anchor[1] + round((index - self.anchor[0]) * NS / self.rate_hz)
