"""What flows through the monitor: the vocabulary of the project, as frozen structs.

A *stream* is one source of equally spaced samples with one or more channels; a *block* is one message of
consecutive samples; an *event* is something flagged at a data time; an *alarm* is an event with a life.
Times are integers, nanoseconds since the epoch (UTC), and always data time: the stream's own.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

NS = 1_000_000_000

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

STREAM_NAME = re.compile(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+){0,2}")
MAX_STREAM_NAME = 120


class Block(msgspec.Struct, frozen=True):
    """Consecutive samples of one stream, as they came from the wire."""

    stream: str
    values: Floats
    """(time, channel), NaN where the sender had no value."""
    run: str = ""
    """The sender's run: a sender that restarts at sequence 0 under another run is not taken for duplicates."""
    seq: int | None = None
    """Index of the first sample in the run; None says "continues where the last block ended"."""
    t0_ns: int | None = None
    """Time of the first sample; None says "follows from the block before, or else arrived now"."""
    rate_hz: float | None = None
    """Samples a second; None says "as configured"."""
    channels: tuple[str, ...] = ()
    """Channel names; empty says "as configured"."""
    unit: str = ""


class Kind(StrEnum):
    """What sort of thing was flagged."""

    DEVIATION = "deviation"
    """What came is not what was forecast."""
    CLASS = "class"
    """The classifier saw it: a spike, a ventricular beat."""
    LIMIT = "limit"
    """A value, or one derived such as heart rate, is out of its range."""
    LIMIT_AHEAD = "limit-ahead"
    """The forecast says that it will be."""
    SIGNAL = "signal"
    """Technical: a gap, a restart, a clock that jumped."""


Priority = Literal["low", "medium", "high"]
Verdict = Literal["", "true", "false"]


class State(StrEnum):
    """Where an alarm is in its life; that it was acknowledged is a field, not a state."""

    OK = "ok"
    PENDING = "pending"
    """Above its raise level, not yet for as long as `hold_s`."""
    ACTIVE = "active"
    CLEARING = "clearing"
    """Below its clear level, not yet for as long as `clear_s`."""
    LATCHED = "latched"
    """Over, but kept until somebody acknowledges it."""
    CLEARED = "cleared"


class Event(msgspec.Struct, frozen=True, tag="event", tag_field="what"):
    """Something flagged at a data time."""

    stream: str
    kind: Kind
    label: str
    """Which class, limit or fault: "V", "spike", "heart-rate", "value", "gap"."""
    t_ns: int
    """The moment it is about: the R peak of a beat, else the sample at which it was flagged."""
    start_ns: int
    end_ns: int
    """The part of the signal it speaks of."""
    score: float
    threshold: float
    model: str = ""
    """NAME@VERSION of the model that said so; empty for technical events."""
    detail: str = ""


class Alarm(msgspec.Struct, frozen=True, tag="alarm", tag_field="what"):
    """An event with a life; published on each change of its state."""

    id: str
    """The same for the same alarm in every replay: made of stream, kind, label and the time it was raised."""
    stream: str
    kind: Kind
    label: str
    priority: Priority
    state: State
    raised_ns: int
    changed_ns: int
    score: float
    """The highest score so far."""
    threshold: float
    model: str = ""
    acknowledged: bool = False
    times: int = 0
    """How often it rose: once when it was raised, and again whenever it came back before it was over."""
    detail: str = ""


class Note(msgspec.Struct, frozen=True, tag="note", tag_field="what"):
    """What somebody said of a moment of a stream; one of the same id replaces it, an empty one takes it back."""

    id: str
    stream: str
    t_ns: int
    """The moment it is about; of an alarm, when it was raised."""
    made_ns: int
    """Wall time at which it was said, ns since the epoch."""
    text: str = ""
    alarm: str = ""
    """Id of the alarm that `verdict` judges."""
    verdict: Verdict = ""
    author: str = ""


class Beat(msgspec.Struct, frozen=True):
    """A heart beat that the beat model found."""

    stream: str
    t_ns: int
    label: str
    """AAMI class: N normal, S supraventricular, V ventricular, F fusion."""
    score: float
    """Probability of `label`."""
    rr_s: float
    """Seconds since the beat before; NaN when there is none in this segment."""
    rate_bpm: float
    """Heart rate over the last eight beats; NaN until two are known."""
    model: str = ""
    likely: tuple[float, ...] = ()
    """Probability of each of the model's classes, in the order of its card."""


class Score(msgspec.Struct, frozen=True):
    """A number with a stated meaning, for one hop of one stream."""

    stream: str
    kind: Kind
    label: str
    t_ns: int
    """The last sample the score rests on."""
    value: float
    threshold: float


class Forecast(msgspec.Struct, frozen=True):
    """The next `horizon` steps of one stream, as seen from `made_ns`."""

    stream: str
    model: str
    made_ns: int
    """Time of the last sample the forecast has seen; step i lies (i + 1) / rate_hz after it."""
    rate_hz: float
    mean: Floats
    """(horizon, channel), in the stream's unit."""
    lower: Floats
    upper: Floats
    """Bounds of the calibrated interval; `coverage` of the model's card says of what share."""


def is_stream_name(name: str) -> bool:
    """Whether `name` is one to three levels of [A-Za-z0-9_-], joined by slashes."""
    return len(name) <= MAX_STREAM_NAME and STREAM_NAME.fullmatch(name) is not None
