"""What people said of a model's alarms, as training data: the recorded stretches that labels speak of.

- A false alarm is a stretch in which there is nothing: for a classifier windows of its first class, for a
  forecaster a stretch to be learned, which it did not expect and should have.
- A true alarm is a window of the class that was flagged; a forecaster must not learn to expect it: it is cut out
  of the recording that it learns from.
- A note whose text is a class says that such an event begins there.

Of all else that was recorded nobody has said anything, so nothing is learned from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from monitor.core.blocks import NS, Ints
from monitor.core.errors import ConfigError, RecordingError
from monitor.core.windows import seconds_to_samples
from monitor.labels import Label, read_labels
from monitor.recordings import Recording, read_recording
from training.config import FitConfig
from training.records import Raw
from training.sources import Feedback

CONTEXT_S = 12.0
"""Of signal before what a label speaks of, at least two windows: filters and gain settle in it."""
_SUFFIXES = (".hea", ".edf", ".csv")


@dataclass(frozen=True)
class Heard:
    """A stretch of a recording, and what was said of it."""

    raw: Raw
    marks: Ints
    """(time,) see `training.datasets.mark_samples`; at the recording's rate, -1 where nothing was said."""

    def marks_at(self, rate_hz: float, samples: int) -> Ints:
        """The same at a model's rate, of the last `samples` that conditioning has left."""
        ratio = self.raw.rate_hz / rate_hz
        lost = round(len(self.marks) / ratio) - samples
        at = np.rint((np.arange(samples) + lost) * ratio).astype(np.int64)
        marks: Ints = self.marks[np.clip(at, 0, len(self.marks) - 1)]
        return marks


def read_feedback(source: Feedback, config: FitConfig) -> list[Heard]:
    """The stretches that the labels speak of; ConfigError where none of them is in any recording."""
    labels = [label for label in read_labels(Path(source.path)) if _speaks_to(label, config)]
    if not labels:
        raise ConfigError(
            f"labels: {source.path} says nothing that this model could learn from: expected alarms of kind "
            + ("deviation" if config.task == "forecast" else f"class, of {', '.join(config.model.classes)}")
        )
    if config.task == "forecast":  # the true ones are left out, see `without_true`
        labels = [label for label in labels if label.verdict == "false"]
        if not labels:
            return []
    found: list[Heard] = []
    spanned = 0
    for recording in find_recordings(Path(source.recordings), {label.stream for label in labels}):
        mine = [label for label in labels if _spans(recording, label)]
        spanned += len(mine)
        if mine:
            found += _stretches(recording, mine, config)
    if not spanned:
        first = labels[0]
        raise ConfigError(
            f"labels: no recording in {source.recordings} holds any of {len(labels)} labels, the first of which "
            f"is of stream {first.stream} at {first.start_ns / NS:.3f} s since 1970; expected what "
            "`monitor record` wrote, under the names it gave"
        )
    return found


def find_recordings(folder: Path, streams: set[str]) -> list[Recording]:
    """What `monitor record` wrote of these streams into a folder."""
    stems = {stream.replace("/", "-") for stream in streams}
    paths = sorted(path for suffix in _SUFFIXES for path in folder.glob(f"*{suffix}"))
    return [read_recording(path) for path in paths if _stem_of(path.stem) in stems]


def without_true(recording: Recording, source: Feedback) -> Recording:
    """`recording` without what was truly odd in it."""
    values = recording.values.copy()
    for label in read_labels(Path(source.path)):
        if label.verdict == "true" and _spans(recording, label):
            start, end = _samples(recording, label)
            values[start : end + 1] = np.nan
    return msgspec.structs.replace(recording, values=values)


def _stem_of(name: str) -> str:
    """STREAM of STREAM-TIME or STREAM-TIME-N, as the recorder names its files."""
    head, _, last = name.rpartition("-")
    if last.isdecimal() and len(last) < 8:
        head, _, last = head.rpartition("-")
    return head


def _spans(recording: Recording, label: Label) -> bool:
    start, end = _samples(recording, label)
    named = _stem_of(recording.name) == label.stream.replace("/", "-")
    return named and end >= 0 and start < len(recording.values)


def _samples(recording: Recording, label: Label) -> tuple[int, int]:
    """First and last sample of what a label speaks of."""
    first, last = (
        round((t - recording.start_ns) * recording.rate_hz / NS) for t in (label.start_ns, label.end_ns)
    )
    return max(first, 0) if last >= 0 else first, last


def _speaks_to(label: Label, config: FitConfig) -> bool:
    if config.task == "forecast":
        return label.kind == "deviation"
    return label.label in config.model.classes and label.kind in ("class", "note")


def _stretches(recording: Recording, labels: Sequence[Label], config: FitConfig) -> list[Heard]:
    """What the labels say of a recording, cut where nothing is said for long."""
    rate_hz = recording.rate_hz
    model_hz = config.model.rate_hz or rate_hz
    ratio = rate_hz / model_hz
    fold = config.model.samples_per_step * ratio
    window = round(config.model.window * fold)
    reach = round((config.model.label_steps or config.model.window) * fold)
    marks = np.full(len(recording.values), -1, np.int64)
    # What was seen by people counts more than what was not: true alarms are written last.
    for label in sorted(labels, key=lambda one: one.verdict == "true"):
        start, end = _samples(recording, label)
        kind = 0 if config.task == "forecast" else config.model.classes.index(label.label)
        if label.verdict == "false":
            marks[start : end + 1 + reach] = 0
        elif label.verdict == "true":  # it lies before the end of the window that was flagged, by a hop at most
            marks[end : max(end + 1, end + reach - round(config.model.hop * fold))] = kind
        else:
            marks[start : start + reach] = kind
    context = max(seconds_to_samples(CONTEXT_S, rate_hz), 2 * window)
    after = round(config.model.horizon * ratio)
    return [
        Heard(_cut(recording, start, end), marks[start:end])
        for start, end in _merged(np.flatnonzero(marks >= 0), context, after + 1, len(marks))
    ]


def _merged(known: Ints, before: int, after: int, length: int) -> list[tuple[int, int]]:
    """Stretches that hold all samples of `known`, with so many around them."""
    if not len(known):
        return []
    breaks = np.flatnonzero(np.diff(known) > before + after)
    starts, ends = known[np.concatenate(([0], breaks + 1))], known[np.concatenate((breaks, [len(known) - 1]))]
    return [
        (max(start - before, 0), min(end + after, length))
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
    ]


def _cut(recording: Recording, start: int, end: int) -> Raw:
    nothing: NDArray[np.int64] = np.zeros(0, np.int64)
    values = recording.values[start:end]
    if not np.isfinite(values).any():
        raise RecordingError(f"{recording.name}: expected samples where labels speak of it, got none")
    return Raw(f"{recording.name} labelled", recording.rate_hz, recording.unit, values, nothing, ())
