"""What of the engine survives a restart: books, calibration, alarms in the middle of their lives.

An engine that ends is asked with `save`, and, once everything in those books is concluded, with `learn`. The next
one is told with `resume` and `restore`; a stream that is not there yet gets what is its own when it comes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from monitor.core.alarms import Life
from monitor.core.beat_judge import BeatJudge
from monitor.core.blocks import Alarm, State
from monitor.core.intake import Intake
from monitor.core.judge import Judge
from monitor.core.judging import ForecastJudge
from monitor.core.lanes import Lane
from monitor.core.ledger import LedgerState
from monitor.core.stream import Stream
from monitor.core.technical import Technical
from monitor.core.wire import encode_block


class Saved(msgspec.Struct, frozen=True):
    """What a restart must know of a stream, besides its newest samples."""

    stream: str
    ledger: LedgerState
    early: tuple[bytes, ...]
    """Blocks that were held, encoded: received, but not yet in the books."""
    calibration: dict[str, dict[str, float]] = {}
    """By model, NAME@VERSION."""
    lives: list[Life] = []
    """Its alarms, those that are pending included."""
    begin_seq: int = 0
    """Index, in the sender's run, of the first sample of the segment that is on."""
    seen_s: float = 0.0
    """When something of it last changed, in seconds since 1970; the keeper's."""
    align: int = 1
    """Windows are the same when they begin anew so many samples later, or a multiple of that."""


class Memory:
    """Knows what an earlier run left, and what the next one must know."""

    def __init__(
        self, intake: Intake, lanes: Mapping[str, Lane], judges: Mapping[str, Judge], technical: Technical
    ) -> None:
        """All four are the engine's own, and change with it."""
        self._intake, self._lanes, self._judges, self._technical = intake, lanes, judges, technical
        self.left_open: dict[str, Alarm] = {}
        """Alarms of streams that have not come back."""
        self._lives: dict[str, list[Life]] = {}
        self._known: dict[str, dict[str, dict[str, float]]] = {}
        """Calibrations of streams that have not come back, by model."""

    def welcome(self, stream: Stream) -> None:
        """A stream is new: its limits and budgets, and the alarms it had when the monitor ended."""
        judges = [self._judges[lane.name] for lane in stream.lanes]
        for judge in judges:
            judge.budgets.allow(stream.slot, stream.plan.budget_per_hour)
            if isinstance(judge, ForecastJudge):
                judge.ranges.limit(stream.slot, stream.channels, stream.plan.limits)
            if isinstance(judge, BeatJudge):
                judge.outlook.limit(stream.slot, *(stream.plan.heart_rate_bpm or (math.nan, math.nan)))
        for alarm in [alarm for alarm in self.left_open.values() if alarm.stream == stream.name]:
            ours: list[Judge | Technical] = [*judges, self._technical]
            if any(one.restore(stream.slot, alarm) for one in ours):
                del self.left_open[alarm.id]

    def recall(self, stream: Stream) -> None:
        """A stream is new: what was learned of it."""
        learned = self._known.pop(stream.name, {})
        for lane in stream.lanes:
            self._judges[lane.name].calibrate(stream.slot, learned.get(lane.card.ident, {}))
        lives = self._lives.pop(stream.name, None)
        if lives is not None:
            self._technical.live_on(stream.slot, lives)
            for lane in stream.lanes:
                self._judges[lane.name].live_on(stream.slot, lives)

    def restore(self, alarms: Iterable[Alarm]) -> None:
        """Alarms that an earlier run left open: each goes on where its stream is, or when it comes back.

        They are what is true: those that go on here and are not among them are over.
        """
        left = {alarm.id: alarm for alarm in alarms}
        ours = [judge.reconcile for judge in self._judges.values()]
        for reconcile in (*ours, self._technical.alarms.reconcile):
            for known in reconcile(left):
                del left[known]
        self.left_open = left
        for stream in self._intake.streams:
            self.welcome(stream)

    def acknowledge(self, alarm_id: str) -> list[Alarm]:
        """Somebody has seen an alarm of a stream that has not come back, or, with an empty id, all: it is over."""
        return [
            msgspec.structs.replace(self.left_open.pop(key), acknowledged=True, state=State.CLEARED)
            for key in list(self.left_open)
            if alarm_id in ("", key)
        ]

    def save(self) -> list[Saved]:
        """The books of every stream, as they stand: what of a stream must survive a restart, but for `learn`."""
        alike: dict[tuple[tuple[Lane, ...], float], int] = {}  # few streams align in a way of their own
        for stream in self._intake.streams:
            alike.setdefault((stream.lanes, stream.rate_hz), stream.align)
        return [
            Saved(
                stream.name,
                stream.ledger.state,
                tuple(encode_block(held.block) for held in stream.early.blocks()),
                begin_seq=stream.ledger.next_seq - stream.index,
                align=alike[stream.lanes, stream.rate_hz],
            )
            for stream in self._intake.streams
        ]

    def learn(self, saved: Sequence[Saved]) -> Iterator[Saved]:
        """The same, with calibration and alarms as they are now: once everything in those books is concluded.

        To be asked for at leisure: it does not change any more.
        """
        lives = [self._technical.alarms.lives(), *(judge.lives() for judge in self._judges.values())]
        judges = {name: (self._lanes[name].card.ident, judge.still()) for name, judge in self._judges.items()}
        # Streams only ever come in addition.
        models = [tuple(lane.name for lane in stream.lanes) for stream in self._intake.streams[: len(saved)]]
        return (
            msgspec.structs.replace(
                one,
                calibration={
                    ident: learned
                    for ident, judge in map(judges.__getitem__, names)
                    if (learned := judge.calibration(slot))
                },
                lives=[life for some in lives for life in some.get(slot, ())],
            )
            for slot, (one, names) in enumerate(zip(saved, models, strict=True))
        )

    def resume(self, saved: Iterable[Saved]) -> None:
        """What an earlier run knew of its streams; each goes on where it is, or when it comes back."""
        for one in saved:
            self._intake.resume(one.stream, one.ledger)
            self._known[one.stream] = one.calibration
            self._lives[one.stream] = one.lives
        for stream in self._intake.streams:
            self.recall(stream)
            stream.events = 0
        for lane in self._lanes.values():
            lane.inferred[:] = lane.skipped[:] = 0
