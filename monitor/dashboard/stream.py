"""What is known of one stream: its trace, what was forecast, flagged and counted.

The same rules as in `state`: no clock, no I/O, every collection bounded, data times only.
"""

from __future__ import annotations

import copy
import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from monitor.core.blocks import NS, Alarm, Beat, Block, Event, Forecast, Kind, Score, State
from monitor.core.published import StreamState
from monitor.dashboard.hindsight import Hindsight, Skill
from monitor.dashboard.past import Past
from monitor.dashboard.trace import KEPT_S, Playhead, Trace

MAX_EVENTS = 1024
MAX_BEATS = 4096
MAX_SCORES = 64
JOIN_NS = 50_000_000
"""Flagged spans of one label closer than this are one band."""
MAX_ALARMS = 64
MIN_RATE_HZ, MAX_RATE_HZ = 1e-6, 1e6
"""What can be drawn: from a sample in eleven days on."""
PRIORITIES = ("low", "medium", "high")
RANK = {"low": 1, "medium": 2, "high": 3}
GOING_ON = frozenset({State.PENDING, State.ACTIVE, State.CLEARING})
FRESH_S = 5.0
"""A score older than this says nothing about now."""


@dataclass
class Band:
    """A flagged span of the signal, as it is shown."""

    from_ns: int
    to_ns: int
    label: str
    score: float
    kind: Kind
    rank: int = 0
    """0 technical, 1 low, 2 medium, 3 high."""
    threshold: float = math.nan
    model: str = ""
    t_ns: int = 0
    """The moment it is about."""


def is_anomaly(score: Score) -> bool:
    """Whether a score says how anomalous the signal is; a value within its limits does not."""
    of_a_limit = score.kind in (Kind.LIMIT, Kind.LIMIT_AHEAD)
    return math.isfinite(score.value) and (not of_a_limit or score.value >= score.threshold)


class StreamView:
    """One stream as a watcher sees it."""

    def __init__(self, name: str, kept_s: float = KEPT_S) -> None:
        self.name, self.kept_s = name, kept_s
        self.state: StreamState | None = None
        self.trace: Trace | None = None
        self.channels: tuple[str, ...] = ()
        self.unit = ""
        self.forecast: Forecast | None = None
        self.scores: dict[tuple[Kind, str], Score] = {}
        self.beats: deque[Beat] = deque(maxlen=MAX_BEATS)
        self.bands: deque[Band] = deque(maxlen=MAX_EVENTS)
        self.alarms: dict[str, Alarm] = {}
        """Its latest alarms, by id."""
        self.faults: dict[str, Alarm] = {}
        """By label, what is wrong with the signal itself right now: what is told of it meanwhile is old."""
        self.hindsight = Hindsight()
        self.past: Past | None = None
        self.playhead = Playhead()
        self.moved_s: float | None = None
        """Wall time at which its newest data time was last seen to change; None before anything came."""
        self._told_s = math.inf  # the same as the newest state has it, where nothing has come since
        self._newest_known_ns = -1
        self.loads = 0
        """How often its past was fetched."""

    def fold(self, message: Block | Forecast | Beat | Event | Alarm | StreamState | Score, now_s: float) -> None:
        """Take one message about this stream in."""
        match message:
            case Block():
                self._fold_block(message, now_s)
            case Forecast():
                self._fold_forecast(message)
            case Score():
                self._fold_score(message)
            case Beat():
                self._fold_beat(message)
            case Event():
                self._fold_event(message)
            case Alarm():
                self._fold_alarm(message)
            case StreamState():
                self._fold_state(message, now_s)

    def _fold_forecast(self, forecast: Forecast) -> None:
        if MIN_RATE_HZ <= forecast.rate_hz <= MAX_RATE_HZ and len(forecast.mean):
            self.forecast = forecast
            self.hindsight.take(forecast)

    def _fold_score(self, score: Score) -> None:
        if len(self.scores) < MAX_SCORES or (score.kind, score.label) in self.scores:
            self.scores[score.kind, score.label] = score
        if is_anomaly(score) and score.threshold > 0:
            self._past().note(score.t_ns, score.value / score.threshold)

    def _past(self) -> Past:
        if self.past is None or (self.rate_hz and self.past.piece_ns != self._new_past().piece_ns):
            self.past = self._new_past()
        return self.past

    def _new_past(self) -> Past:
        return Past.of_rate(self.rate_hz, self.kept_s)

    def _fold_beat(self, beat: Beat) -> None:
        if self.beats and beat.t_ns < self.beats[-1].t_ns - 60 * NS:
            self.beats.clear()  # the stream began anew, in an earlier time
        if not self.beats or beat.t_ns > self.beats[-1].t_ns:
            self.beats.append(beat)

    def _fold_block(self, block: Block, now_s: float) -> None:
        width = block.values.shape[1]
        rate_hz = block.rate_hz or self.rate_hz
        if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
            return  # until somebody says how fast it is, it cannot be placed
        if self.trace is None or (self.trace.rate_hz, self.trace.channels) != (rate_hz, width):
            self.trace = Trace(rate_hz, width, self.kept_s)
        self.trace.push(block)
        if len(block.channels) == width:
            self.channels = block.channels
        elif len(self.channels) != width:
            self.channels = tuple(str(i + 1) for i in range(width)) if width > 1 else ("",)
        self.unit = block.unit or self.unit
        self.playhead.arrive(self.trace.newest_ns, now_s)
        self._moved(self.trace.newest_ns, now_s)
        self.hindsight.settle(self.trace)

    def _fold_state(self, state: StreamState, now_s: float) -> None:
        self.state = state
        self.channels, self.unit = state.channels or self.channels, state.unit or self.unit
        self._moved(state.newest_ns, now_s)
        self._told_s = now_s - state.silent_s

    def _moved(self, newest_ns: int, now_s: float) -> None:
        if newest_ns != self._newest_known_ns:
            self._newest_known_ns, self.moved_s, self._told_s = newest_ns, now_s, math.inf

    def fold_history(self, blocks: Iterable[Block], events: Iterable[Event], beats: Iterable[Beat]) -> None:
        """Put what the daemon kept before what has come since."""
        self.loads += 1
        since, self.trace = self.trace, None
        live = self._newest_known_ns, self.moved_s, self._told_s, self.playhead
        self.playhead = Playhead()
        for block in blocks:
            self._fold_block(block, 0.0)
        self._newest_known_ns, self.moved_s, self._told_s, self.playhead = live
        if self.trace is None:
            self.trace = since
        elif since is not None and since.newest_ns > self.trace.newest_ns:
            times, values = since.between(self.trace.newest_ns + round(self.trace.period_ns / 2), since.newest_ns)
            newer = times > self.trace.newest_ns + self.trace.period_ns / 2
            if newer.any():
                self.trace.push(Block(self.name, values[newer], t0_ns=int(times[newer][0])))
        self._refill(events, beats)

    def _refill(self, events: Iterable[Event], beats: Iterable[Beat]) -> None:
        known = list(self.beats)
        self.beats.clear()
        for beat in sorted({b.t_ns: b for b in [*beats, *known]}.values(), key=lambda b: b.t_ns):
            self.beats.append(beat)
        bands = list(self.bands)
        self.bands.clear()
        for event in sorted(events, key=lambda e: e.t_ns):
            self._fold_event(event)
        for band in bands:
            self._add_band(band)

    def _fold_event(self, event: Event) -> None:
        band = Band(event.start_ns, max(event.end_ns, event.start_ns), event.label, event.score, event.kind)
        band.threshold, band.model, band.t_ns = event.threshold, event.model, event.t_ns
        self._add_band(band)

    def _add_band(self, band: Band) -> None:
        last = next((b for b in reversed(self.bands) if b.label == band.label and b.kind is band.kind), None)
        if last is not None and band.from_ns <= last.to_ns + JOIN_NS and band.to_ns >= last.from_ns - JOIN_NS:
            last.from_ns, last.to_ns = min(last.from_ns, band.from_ns), max(last.to_ns, band.to_ns)
            last.score = max(last.score, band.score)
            band = last
        else:
            self.bands.append(band)
        self._rank(band)

    def _fold_alarm(self, alarm: Alarm) -> None:
        self.alarms.pop(alarm.id, None)
        self.alarms[alarm.id] = alarm
        if len(self.alarms) > MAX_ALARMS:
            del self.alarms[next(iter(self.alarms))]
        if alarm.kind is Kind.SIGNAL:
            self._fold_fault(alarm)
        for band in self.bands:
            if band.kind is alarm.kind and band.label == alarm.label and alarm.raised_ns <= band.to_ns + NS:
                self._rank(band)

    def _fold_fault(self, alarm: Alarm) -> None:
        if alarm.state in (State.PENDING, State.ACTIVE):
            self.faults[alarm.label] = alarm
        elif alarm.label in self.faults and self.faults[alarm.label].id == alarm.id:
            del self.faults[alarm.label]

    def _rank(self, band: Band) -> None:
        """A band is as urgent as the alarm that its event raised or kept up."""
        if band.kind is Kind.SIGNAL:
            return
        ranks = [
            RANK[alarm.priority]
            for alarm in self.alarms.values()
            if alarm.kind is band.kind
            and alarm.label == band.label
            and alarm.raised_ns <= band.to_ns + NS
            and (alarm.state in GOING_ON or alarm.changed_ns >= band.from_ns)
        ]
        band.rank = max(ranks, default=RANK["medium"])
        self._past().flag(band.from_ns, band.to_ns, band.rank)

    # what can be asked

    @property
    def newest_ns(self) -> int:
        """Data time of its newest sample, as far as is known."""
        return max(self.trace.newest_ns if self.trace and self.trace.count else 0, self._newest_known_ns, 0)

    @property
    def rate_hz(self) -> float:
        """Samples a second; 0 while not known."""
        if self.trace is not None:
            return self.trace.rate_hz
        rate_hz = self.state.rate_hz if self.state is not None else 0.0
        return rate_hz if MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ else 0.0

    def stale_s(self, now_s: float) -> float | None:
        """Wall seconds without new data, when that is longer than this stream usually pauses; else None."""
        if self.moved_s is None:
            return None
        usual_s = max(3 * self.playhead.interval_s, 3 / self.rate_hz if self.rate_hz else 0.0)
        silent_s = now_s - min(self.moved_s, self._told_s)
        return silent_s if silent_s > 3.0 + usual_s else None

    @property
    def fault(self) -> Alarm | None:
        """The most urgent of what is wrong with the signal itself; None while it can be believed."""
        return max(self.faults.values(), key=lambda alarm: RANK[alarm.priority], default=None)

    @property
    def top_score(self) -> Score | None:
        """The fresh score nearest to, or farthest above, its threshold; None while the signal is at fault."""
        if self.faults:
            return None
        fresh_s = max(FRESH_S, 100 / self.rate_hz if self.rate_hz else 0.0)
        newest_ns = max((s.t_ns for s in self.scores.values()), default=0)
        if self.state is not None and self.state.warming:
            newest_ns = max(newest_ns, self.newest_ns)  # what was scored before the gap is of before the gap
        since = newest_ns - round(fresh_s * NS)
        known = [s for s in self.scores.values() if s.t_ns >= since and is_anomaly(s)]
        return max(known, key=lambda s: s.value / s.threshold if s.threshold > 0 else s.value, default=None)

    def rank_of(self, kind: Kind, label: str) -> int:
        """How urgent what is going on under this label is: as its alarm, medium while it has raised none."""
        ranks = [
            RANK[alarm.priority]
            for alarm in self.alarms.values()
            if alarm.kind is kind and alarm.label == label and alarm.state in GOING_ON
        ]
        return max(ranks, default=RANK["medium"])

    def skill(self, seconds: float = 60.0) -> Skill:
        """How good the forecasts of the last seconds were."""
        return self.hindsight.skill(self.newest_ns - round(seconds * NS))

    def release(self) -> None:
        """Nobody looks at it any more: let go of what is large, and of what would be out of date."""
        self.trace = self.forecast = None
        self.scores.clear()
        self.hindsight = Hindsight()
        self.playhead = Playhead()

    def snapshot(self) -> StreamView:
        """The same view, which later messages do not change."""
        twin = copy.copy(self)
        twin.trace = self.trace.copy() if self.trace else None
        twin.scores, twin.alarms, twin.faults = dict(self.scores), dict(self.alarms), dict(self.faults)
        twin.beats, twin.hindsight = self.beats.copy(), self.hindsight.copy()
        twin.bands = deque((copy.copy(band) for band in self.bands), maxlen=MAX_EVENTS)
        return twin
