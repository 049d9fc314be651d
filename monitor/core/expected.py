"""What a recording shall cause: events and alarms with times that count from its first sample, one JSON a line.

Two lists are the same when each says the same things at the same data times, with scores that agree to a
tolerance. What differs from one replay to the next by right is left out: names of streams, ids of alarms.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from monitor.core.blocks import Alarm, Event, Kind
from monitor.core.errors import RecordingError

Row = dict[str, Any]

_TIMES = ("t_ns", "start_ns", "end_ns", "raised_ns", "changed_ns")
_WORDS = ("what", "kind", "label", "priority", "state", "model", "times")
_NUMBERS = ("score", "threshold")
_NEAR_NS = 1000
"""Times are rounded to whole ns in more than one place."""


def row_of(notice: Event | Alarm, t0_ns: int) -> Row:
    """An event or alarm as a row, its times counting from `t0_ns`."""
    row: Row = msgspec.to_builtins(notice)
    return {key: value - t0_ns if key in _TIMES else value for key, value in row.items()}


def in_order(rows: Iterable[Row]) -> list[Row]:
    """Sorted by when they were told, so that several models' rows have one order."""
    return sorted(rows, key=lambda row: (_told_ns(row), *(str(row.get(word, "")) for word in _WORDS)))


def is_of_replay(notice: Event | Alarm, t0_ns: int) -> bool:
    """Whether this belongs to a replay that began at `t0_ns`.

    That the sender is another one does not, nor that it is done or slow: a stale stream is told by the clock.
    """
    if notice.kind is not Kind.SIGNAL or notice.label not in ("restart", "stale"):
        return True
    return notice.label == "restart" and isinstance(notice, Event) and notice.start_ns > t0_ns


def parse(text: str, where: str) -> list[Row]:
    """The rows in `text`; raises RecordingError, which says where it was found, for anything else."""
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise RecordingError(f"{where}, line {number}: expected one JSON object, got {line[:60]!r}") from error
        if not isinstance(row, dict) or row.get("what") not in ("event", "alarm"):
            raise RecordingError(f"{where}, line {number}: expected an event or an alarm, got {line[:60]!r}")
        rows.append(row)
    return rows


def text_of(rows: Iterable[Row]) -> str:
    """The rows as text for `parse`."""
    return "".join(json.dumps(row) + "\n" for row in rows)


def differences(got: Sequence[Row], expected: Sequence[Row], tolerance: float) -> list[str]:
    """What is missing, what is too much, and what is not the same, a line each; empty when all is as expected."""
    found = []
    for ours, theirs in _aligned(in_order(got), in_order(expected)):
        if theirs is None:
            found += [f"not expected: {_line(ours)}"] if ours else []
        elif ours is None:
            found.append(f"missing: {_line(theirs)}")
        else:
            found += [
                f"{_line(theirs)}: expected {key} {theirs.get(key)}, got {ours.get(key)}"
                for key in (*_TIMES, *_WORDS, *_NUMBERS)
                if not _same(key, ours.get(key), theirs.get(key), tolerance)
            ]
    return found


def _aligned(got: list[Row], expected: list[Row]) -> list[tuple[Row | None, Row | None]]:
    """Pairs of one time and sort, with None where only one list has such a row."""
    pairs: list[tuple[Row | None, Row | None]] = []
    i = j = 0
    while i < len(got) or j < len(expected):
        a = _key(got[i]) if i < len(got) else None
        b = _key(expected[j]) if j < len(expected) else None
        together = a is not None and b is not None and a[1:] == b[1:] and abs(a[0] - b[0]) <= _NEAR_NS
        mine = together or b is None or (a is not None and a < b)
        other = together or not mine
        pairs.append((got[i] if mine else None, expected[j] if other else None))
        i, j = i + mine, j + other
    return pairs


def _key(row: Row) -> tuple[int, str, str, str, str]:
    kind, label, state = (str(row.get(key, "")) for key in ("kind", "label", "state"))
    return _told_ns(row), str(row["what"]), kind, label, state


def _told_ns(row: Row) -> int:
    told: int = row["changed_ns"] if "changed_ns" in row else row.get("t_ns", 0)
    return told


def _same(key: str, ours: Any, theirs: Any, tolerance: float) -> bool:
    if key in _NUMBERS and isinstance(ours, int | float) and isinstance(theirs, int | float):
        return math.isclose(ours, theirs, rel_tol=tolerance, abs_tol=tolerance)
    if key in _TIMES and isinstance(ours, int) and isinstance(theirs, int):
        return abs(ours - theirs) <= _NEAR_NS
    return bool(ours == theirs)


def _line(row: Row) -> str:
    state = f" {row['state']}" if "state" in row else ""
    return f"{_told_ns(row) / 1e9:.3f} s {row['what']} {row.get('kind')}:{row.get('label')}{state}"
