"""Recordings driven through the engine as the daemon drives streams, and everything it said, ready to be judged.

Each recording is a stream of one engine. Its samples come in blocks; windows are inferred in batches by the
model file; conditioning, windows, hops, scores, beats and alarms are the engine's own. Nothing in here computes
a figure.

The one difference to a daemon: a daemon gives a model the first channels of a stream, and whoever sends decides
what those are. Here the lead that the model was trained on comes first, where a recording has it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
from numpy.typing import NDArray

from monitor.core.blocks import NS, Alarm, Beat, Block, Event, Floats, Ints, Kind
from monitor.core.conclusions import Conclusion
from monitor.core.engine import Engine
from monitor.core.errors import ConfigError, SchemaError
from monitor.core.stream import Plan
from monitor.inference import Model, second_tiers
from monitor.recordings import Recording

Doubles = NDArray[np.float64]

MAX_BATCH = 64
_NEVER_FULL = 2**62


@dataclass(frozen=True)
class Judged:
    """What the engine said of one recording; rows are windows, in order of time."""

    recording: Recording
    lead: str
    """The channel, or channels, that the model saw."""
    t_ns: Ints
    """(n,) data time of each window's last sample; the recording begins at 0."""
    segments: Ints
    """(n,)"""
    ends: Ints
    """(n,) samples since the segment began, up to the window's end, at the model's rate."""
    kinds: tuple[tuple[Kind, str, float], ...]
    """Kind, label and threshold of each column of `scores`."""
    scores: Doubles
    """(n, track)"""
    outputs: dict[str, Floats]
    """What the model gave, by name, (n, ...) each."""
    series: dict[int, Floats]
    """By segment the samples (time, channel) that the model saw, conditioned, up to the end of its last window."""
    beats: list[tuple[int, Beat]]
    """The beats that were found, each with the row at which it was told."""
    events: list[tuple[int, Event]]
    """What was flagged, each with the data time at which it was told."""
    alarms: list[tuple[int, Alarm]]
    """Changes of alarms, each with the data time at which it was told."""

    @property
    def seconds(self) -> float:
        """Length of the recording."""
        return len(self.recording.values) / self.recording.rate_hz


@dataclass
class _Heard:
    """What has been heard of one stream so far."""

    parts: list[tuple[Ints, Ints, Ints, Doubles]] = field(default_factory=list)
    outputs: list[dict[str, Floats]] = field(default_factory=list)
    fresh: list[tuple[Ints, Floats]] = field(default_factory=list)
    first: dict[int, Floats] = field(default_factory=dict)
    rows: int = 0
    kinds: tuple[tuple[Kind, str, float], ...] = ()
    beats: list[tuple[int, Beat]] = field(default_factory=list)
    events: list[tuple[int, Event]] = field(default_factory=list)
    alarms: list[tuple[int, Alarm]] = field(default_factory=list)


def drive(
    model: Model,
    recordings: Sequence[Recording],
    block_samples: int = 0,
    lead: str = "",
    *,
    leapfrog: bool = False,
    plan: Plan | None = None,
) -> list[Judged]:
    """Run `recordings` through one engine, side by side, in blocks of `block_samples` (0: of one second).

    `leapfrog` carries states from step to step, as a daemon does that is told to; `plan` is what else its
    configuration would say of the streams.
    Raises ConfigError when the model cannot take one of them.
    """
    card = model.card
    plan = msgspec.structs.replace(plan or Plan(), models=(card.name,))
    engine = Engine(
        {card.name: card},
        lambda _: plan,
        max_streams=max(len(recordings), 1),
        max_waiting=_NEVER_FULL,
        leapfrog={card.name: 0} if leapfrog else {},
        seconds=second_tiers({card.name: model}),
    )
    heard = [_Heard() for _ in recordings]
    leads = [_lead_first(recording, lead, card.channels) for recording in recordings]
    names = [f"{i}" for i in range(len(recordings))]

    def infer(least: int) -> None:
        while engine.waiting() >= least and (batch := engine.ready(card.name, MAX_BATCH)) is not None:
            conclusion = engine.conclude(*engine.infer(batch, model))
            _listen(heard, conclusion, card.hop_samples)

    sizes = [block_samples or max(round(recording.rate_hz), 1) for recording in recordings]
    for nth in itertools.count():
        starts = [nth * size for size in sizes]
        going = [i for i, recording in enumerate(recordings) if starts[i] < len(recording.values)]
        if not going:
            break
        for i in going:
            recording, (order, _) = recordings[i], leads[i]
            start = starts[i]
            values = recording.values[start : start + sizes[i]][:, order]
            t0_ns = round(start * NS / recording.rate_hz)
            unit = recording.unit.split(", ")[0]
            block = Block(names[i], values, "evaluate", start, t0_ns, recording.rate_hz, (), unit)
            try:
                _, events = engine.push(block, t0_ns, 0)
            except SchemaError as error:
                raise ConfigError(f"{recording.name}: model {card.name} cannot take it: {error}") from error
            heard[i].events += [(event.t_ns, event) for event in events]
        infer(MAX_BATCH)
    infer(1)
    for stream, recording in zip(heard, recordings, strict=True):
        if not stream.rows:
            raise ConfigError(
                f"{recording.name}: expected at least {card.window_samples / card.rate_hz:g} s of samples without "
                f"a gap, for one window, got {len(recording.values) / recording.rate_hz:g} s in all"
            )
    return [_gather(heard[i], recordings[i], leads[i][1]) for i in range(len(recordings))]


def _lead_first(recording: Recording, lead: str, channels: int) -> tuple[list[int], str]:
    """The order in which to send the channels, and the names of those that the model will see."""
    order = list(range(len(recording.channels)))
    if lead in recording.channels:
        wanted = recording.channels.index(lead)
        order = [wanted, *[i for i in order if i != wanted]]
    return order, "+".join(recording.channels[i] for i in order[:channels])


def _listen(heard: list[_Heard], conclusion: Conclusion, hop: int) -> None:
    """Note what a batch told, stream by stream."""
    batch = conclusion.batch
    before = [stream.rows for stream in heard]
    place = np.empty(len(batch), np.int64)  # row of the batch -> row of its stream
    for slot in np.unique(batch.slots).tolist():
        rows = np.flatnonzero(batch.slots == slot)
        stream = heard[slot]
        stream.kinds = conclusion.kinds
        place[rows] = before[slot] + np.arange(len(rows))
        stream.rows += len(rows)
        stream.parts.append((batch.t_ns[rows], batch.segments[rows], batch.ends[rows], conclusion.scores[rows]))
        stream.outputs.append({name: values[rows] for name, values in conclusion.outputs.items()})
        stream.fresh.append((batch.segments[rows], batch.windows[rows, -hop:]))
        for segment, first in zip(*np.unique(batch.segments[rows], return_index=True), strict=True):
            if int(segment) not in stream.first:  # of a window that is not full yet the beginning is made up
                row = int(rows[first])
                made_up = max(batch.windows.shape[1] - int(batch.ends[row]), 0)
                stream.first[int(segment)] = batch.windows[row, made_up:-hop].copy()
    for row, notice in conclusion.notices:
        stream, told_ns = heard[batch.slots[row]], int(batch.t_ns[row])
        match notice:
            case Beat():
                stream.beats.append((int(place[row]), notice))
            case Event():
                stream.events.append((told_ns, notice))
            case Alarm():
                stream.alarms.append((told_ns, notice))


def _gather(stream: _Heard, recording: Recording, lead: str) -> Judged:
    t_ns, segments, ends, scores = (np.concatenate(column) for column in zip(*stream.parts, strict=True))
    outputs = {name: np.concatenate([part[name] for part in stream.outputs]) for name in stream.outputs[0]}
    fresh = np.concatenate([part for _, part in stream.fresh])  # (n, hop, channel)
    series = {
        segment: np.concatenate([head, fresh[segments == segment].reshape(-1, fresh.shape[2])])
        for segment, head in stream.first.items()
    }
    return Judged(
        recording, lead, t_ns, segments, ends, stream.kinds, scores, outputs, series, stream.beats, stream.events,
        stream.alarms,
    )  # fmt: skip
