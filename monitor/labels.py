"""What people said of alarms and signals, as labels that training reads: one JSON object a line.

    {"stream": "pump/1", "start_ns": ..., "end_ns": ..., "label": "spike", "verdict": "false", "kind": "class",
     "alarm": "0653c2a4a6fc", "model": "sine-spikes@1", "text": "a cable moved", "author": "ann"}

A true alarm has a line for each thing that was flagged while it lasted, a false one a line for all of its time. A
note has a line whose label is its text, without a verdict. Times are the stream's own, ns since 1970; the samples
are where `monitor record` put them: in the recording of that stream that spans these times.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from monitor.core.blocks import Alarm, Event, Note, State, Verdict
from monitor.core.errors import RecordingError


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of a stream, and what it is."""

    stream: str
    start_ns: int
    end_ns: int
    label: str
    verdict: Verdict = ""
    """Whether it is what the label says: "true", "false"; empty for what was noted without an alarm."""
    kind: str = "note"
    alarm: str = ""
    model: str = ""
    text: str = ""
    author: str = ""


def labels_of_alarm(alarm: Alarm, events: Sequence[Event], verdict: Note) -> Iterator[Label]:
    """Those of an alarm that was judged, and of what was flagged while it lasted."""
    over_ns = alarm.changed_ns if alarm.state is State.CLEARED else alarm.raised_ns
    last_ns = max([over_ns, *(event.end_ns for event in events)])
    first_ns = min([alarm.raised_ns, *(event.start_ns for event in events)])
    whole = verdict.verdict == "false" or not events
    spans = [(first_ns, last_ns)] if whole else [(event.start_ns, event.end_ns) for event in events]
    for start_ns, end_ns in spans:
        yield Label(
            stream=alarm.stream, start_ns=start_ns, end_ns=end_ns, label=alarm.label, verdict=verdict.verdict,
            kind=str(alarm.kind), alarm=alarm.id, model=alarm.model, text=verdict.text, author=verdict.author,
        )  # fmt: skip


def label_of_note(note: Note) -> Label:
    """That of a moment of a stream."""
    return Label(stream=note.stream, start_ns=note.t_ns, end_ns=note.t_ns, label=note.text, author=note.author)


def read_labels(path: Path) -> list[Label]:
    """The labels in a file; raises RecordingError that names the line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RecordingError(
            f"{path}: expected labels, a line of JSON each, but it cannot be read: {error}"
        ) from error
    found = []
    for number, line in enumerate(lines, 1):
        try:
            label = msgspec.json.decode(line, type=Label) if line.strip() else None
        except (msgspec.DecodeError, RecursionError) as error:
            raise RecordingError(
                f"{path}, line {number}: expected a label as `monitor alarms export --labels` writes it: {error}"
            ) from error
        if label is not None:
            if label.end_ns < label.start_ns:
                raise RecordingError(f"{path}, line {number}: expected end_ns of start_ns or later")
            found.append(label)
    return found


def lines_of(labels: Iterable[Label]) -> Iterator[str]:
    """A line each, in order of time."""
    for label in sorted(labels, key=lambda one: (one.start_ns, one.stream, one.label)):
        yield msgspec.json.encode(label).decode()
