"""CSV files: a column `time` in seconds or ISO 8601, a column `label`, and a column for each channel.

Times and labels may be left out; a first column of dates is one of times, whatever its name. An empty cell (or
NaN, NA, null) is a missing value, and so is a row that the times skip. Rows whose times were there before (a
clock that was set back) are left out. Cells are parted by semicolons or tabs, and numbers may then have a
decimal comma, or else by commas or blanks, whichever the first line has. Text is UTF-8, or what spreadsheets
write: UTF-16 with its mark, or Windows-1252. A label stands where it begins; a rhythm's, in PhysioNet's way,
begins with a bracket, and a beat may follow it: "(B N".
"""

from __future__ import annotations

import codecs
import csv
import math
import re
from collections import deque
from datetime import datetime
from pathlib import Path

import numpy as np

from monitor.core.blocks import NS, Floats, Ints
from monitor.core.errors import RecordingError
from monitor.core.signals import Signal
from monitor.recorded import Recording, nanoseconds

_TIME_COLUMNS = ("time", "t", "time_s", "seconds", "timestamp", "date", "datetime")
_LABEL_COLUMNS = ("label", "labels", "symbol", "annotation")
_NO_LABEL = ("", "0", "0.0")
_NO_VALUE = ("", "nan", "na", "n/a", "null")
_DECIMAL_COMMA = re.compile(r"(?<![\d.,])(-?\d*),(?=\d+(?:[eE][+-]?\d+)?\s*(?:[;\t]|$))", re.MULTILINE)
"""That of a number which has its cell to itself."""
_CHUNK = 4096
_UNEVEN, _MOST_UNEVEN = 0.4, 0.1
"""By so much of a step a time may be off, more in so many rows at most."""
_LEAST_FRESH = 0.5
_LONGEST = 100
"""Samples, of rows and gaps, for each row at most."""


def read_csv(path: Path, rate_hz: float | None) -> Recording:
    """Read a CSV file; `rate_hz` where it has no column of times. Raises RecordingError."""
    names, rows, first = _table(path)
    lowered = [name.lower() for name in names]
    time = next((i for i, name in enumerate(lowered) if name in _TIME_COLUMNS), None)
    if time is None and rows and _is_date(rows[0][0]):
        time = 0
    label = next((i for i, name in enumerate(lowered) if name in _LABEL_COLUMNS), None)
    channels = [i for i in range(len(names)) if i not in (time, label)]
    if not channels or not rows:
        raise RecordingError(f"{path}: expected at least one column and one row of values, got none")
    values = np.array(
        [
            [_number(row[c], f"{path}, line {i + first}, {names[c]}") for c in channels]
            for i, row in enumerate(rows)
        ]
    )
    start_ns = 0
    remarks: list[tuple[int, str]] = []
    marks = [row[label].strip() for row in rows] if label is not None else []
    if time is not None:
        seconds = np.array([_seconds(row[time], path, i + first) for i, row in enumerate(rows)])
        at, rate_hz, start_ns = _grid_of(seconds, path, rate_hz)
        values, marks, remarks = _on_grid(values, marks, at)
    if rate_hz is None:
        raise RecordingError(
            f"{path}: its rate is not known; give it (--rate, in training --rate-hz), or name the column of times "
            f"'time', got {', '.join(names)}"
        )
    begun = [i for i, mark in enumerate(marks) if mark not in _NO_LABEL and (i == 0 or mark != marks[i - 1])]
    names_at = [(i, word) for i in begun for word in (marks[i].split() if marks[i][:1] == "(" else [marks[i]])]
    labels = [(i, word) for i, word in names_at if word[0] != "("]
    return Recording(
        name=path.stem,
        rate_hz=rate_hz,
        channels=tuple(names[c] for c in channels),
        unit="",
        values=values.astype(np.float32),
        label_samples=np.array([i for i, _ in labels], np.int64),
        label_symbols=tuple(word for _, word in labels),
        remarks=tuple(sorted([*remarks, *((i, word) for i, word in names_at if word[0] == "(")])),
        start_ns=start_ns,
    )


def _table(path: Path) -> tuple[list[str], list[list[str]], int]:
    """The names of the columns, the rows below them, and which line the first of these is."""
    try:
        rows = _rows(_text(path.read_bytes()))
    except OSError as error:
        raise RecordingError(
            f"{path}: expected a CSV file, got {(error.strerror or 'none').lower()}; check the path"
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise RecordingError(f"{path}: expected a CSV file, but this is not text: {error}") from error
    while rows and rows[-1] == [""]:
        rows.pop()
    if not rows:
        raise RecordingError(f"{path}: expected rows of numbers, got an empty file")
    names = [cell.strip() for cell in rows[0]]
    is_header = not {*_TIME_COLUMNS, *_LABEL_COLUMNS}.isdisjoint(name.lower() for name in names)
    if not is_header and any(_is_number(cell) for cell in names):  # channels may be called 1, 2
        names = [f"ch{i + 1}" for i in range(len(names))]  # no header: every column is a channel
        first = 1
    else:
        rows, first = rows[1:], 2
    for i, row in enumerate(rows):
        if len(row) != len(names):
            raise RecordingError(f"{path}, line {i + first}: expected {len(names)} columns, got {len(row)}")
    return names, rows, first


def _text(content: bytes) -> str:
    """What a spreadsheet or a program wrote; raises UnicodeDecodeError for what nobody wrote as text."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        if b"\0" in content:
            raise
        return content.decode("cp1252")


def _rows(text: str) -> list[list[str]]:
    """The cells of each line; an empty line is an empty cell, and one line of numbers a column."""
    head = text.partition("\n")[0]
    parting = next((mark for mark in ";\t," if mark in head), None)
    if parting in (";", "\t"):
        text = _DECIMAL_COMMA.sub(r"\1.", text)
    if parting is None and " " in head.strip():
        rows = [line.split() for line in text.splitlines()]
        return [[cell] for cell in rows[0]] if len(rows) == 1 else [row or [""] for row in rows]
    return [row or [""] for row in csv.reader(text.splitlines(), delimiter=parting or ",")]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _is_date(cell: str) -> bool:
    try:
        datetime.fromisoformat(cell.strip())
    except ValueError:
        return False
    return not _is_number(cell)


def _number(cell: str, where: str) -> float:
    cell = cell.strip()
    if cell.lower() in _NO_VALUE:
        return math.nan
    try:
        value = float(cell)
    except ValueError:
        value = math.inf
    if math.isinf(value):
        raise RecordingError(f"{where}: expected a number or nothing, got {cell!r}")
    return value


def _seconds(cell: str, path: Path, line: int) -> float:
    """A time in seconds, from a number or from ISO 8601."""
    try:
        return float(cell)
    except ValueError:
        pass
    try:
        return nanoseconds(datetime.fromisoformat(cell.strip())) / NS
    except ValueError:
        raise RecordingError(
            f"{path}, line {line}: expected a time in seconds or ISO 8601, got {cell!r}",
        ) from None


def _grid_of(seconds: np.ndarray, path: Path, asked_hz: float | None) -> tuple[Ints, float, int]:
    """On which sample each row falls, -1 for a time that had been before; the rate; and when the first was."""
    fresh = np.concatenate(([True], seconds[1:] > np.maximum.accumulate(seconds)[:-1]))
    times = seconds[fresh]
    steps = np.diff(times)
    if not len(steps) or not np.isfinite(seconds).all() or fresh.mean() < _LEAST_FRESH:
        raise RecordingError(f"{path}: expected a time column that increases, over two rows or more")
    usual = float(np.quantile(steps, 0.5, method="lower"))
    counts = np.maximum(np.rint(steps / usual), 1.0)
    step = float(steps.sum() / counts.sum())
    off = np.abs(steps / step - counts)
    if (off > _UNEVEN).mean() > _MOST_UNEVEN or counts.sum() > _LONGEST * len(seconds):
        worst = int(off.argmax() if off.max() > _UNEVEN else counts.argmax())
        raise RecordingError(
            f"{path}: expected equally spaced samples {step:g} s apart, got {steps[worst]:g} s after row "
            f"{np.flatnonzero(fresh)[worst] + 1}; resample it, and leave out rows, or leave cells empty, where "
            "values are missing",
        )
    at = np.full(len(seconds), -1, np.int64)
    at[fresh] = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
    rate_hz = _plain(1 / step, int(counts.sum()))
    if asked_hz is not None and abs(asked_hz - rate_hz) > 0.01 * rate_hz:
        raise RecordingError(f"{path}: expected {asked_hz:g} Hz as asked for, its time column says {rate_hz:g} Hz")
    start_ns = round(seconds[0] * NS) if seconds[0] > 1e8 else 0  # smaller ones count from the recording's start
    return at, asked_hz or rate_hz, start_ns


def _on_grid(
    values: np.ndarray, marks: list[str], at: Ints
) -> tuple[np.ndarray, list[str], list[tuple[int, str]]]:
    """Values, labels and remarks with a row for every sample, those that the times skip without a value."""
    kept = at >= 0
    whole = np.full((int(at.max()) + 1, values.shape[1]), np.nan)
    whole[at[kept]] = values[kept]
    words = [""] * len(whole)
    for i, mark in zip(at.tolist(), marks, strict=bool(marks)):
        if i >= 0:
            words[i] = mark
    again = np.flatnonzero(np.diff(kept.astype(np.int8)) == -1)
    remarks = [(int(at[i]), "the clock went back: rows that came again are left out") for i in again.tolist()]
    return whole, words if marks else [], remarks


def _plain(rate_hz: float, steps: int) -> float:
    """The shortest number that times told in microseconds cannot tell from `rate_hz`."""
    unsure = rate_hz * rate_hz * 1e-6 / steps
    return next((r for digits in range(7) if abs((r := round(rate_hz, digits)) - rate_hz) <= unsure), rate_hz)


def write_signal(path: Path, signal: Signal, samples: int) -> None:
    """Write the next `samples` of a simulated signal, with its labels."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["time", *signal.channels, "label"])
        for first in range(0, samples, _CHUNK):
            values, labels = signal.next(min(_CHUNK, samples - first))
            names: dict[int, str] = {}
            for at, name in labels:  # two may stand at one sample: a rhythm and its first beat
                names[at] = f"{names[at]} {name}" if at in names else name
            for i, row in enumerate(values.tolist(), first):
                cells = ["" if math.isnan(value) else f"{value:.4f}" for value in row]
                rows.writerow([f"{i / signal.rate_hz:.6f}".rstrip("0").rstrip("."), *cells, names.get(i, "")])


class CsvWriter:
    """Writes one CSV file; rows wait `LATE_S` for what is flagged in them."""

    LATE_S = 5.0

    def __init__(self, path: Path, rate_hz: float, channels: tuple[str, ...], start_ns: int) -> None:
        self.path, self._rate_hz, self._start_ns = path, rate_hz, start_ns
        self._waiting: deque[list[float]] = deque()
        self._first = 0  # index of the first row that waits
        self._notes: dict[int, str] = {}
        self._file = path.open("w", newline="", encoding="utf-8")
        self._rows = csv.writer(self._file, lineterminator="\n")
        self._rows.writerow(["time", *channels, "label"])
        self._file.flush()

    def fits(self, values: Floats) -> bool:  # noqa: ARG002
        """Always."""
        return True

    def write(self, values: Floats) -> None:
        """Samples (time, channel) that follow on."""
        self._waiting.extend(values.tolist())
        self._give(len(self._waiting) - math.ceil(self.LATE_S * self._rate_hz))

    def note(self, index: int, symbol: str, text: str) -> None:
        """Label sample `index`, or the next one that is not labelled yet."""
        index = max(index, self._first)
        while index in self._notes:
            index += 1
        self._notes[index] = symbol or text

    def _give(self, rows: int) -> None:
        for _ in range(rows):
            row = self._waiting.popleft()
            t_ns = self._start_ns + round(self._first * NS / self._rate_hz)
            cells = ["" if math.isnan(value) else f"{value:.9g}" for value in row]
            time = f"{t_ns // NS}.{t_ns % NS // 1000:06d}"
            self._rows.writerow([time, *cells, self._notes.pop(self._first, "")])
            self._first += 1

    def sync(self) -> None:
        """Hand what is settled to the system."""
        self._file.flush()

    def close(self) -> None:
        """Write what waits, close."""
        self._give(len(self._waiting))
        self._file.close()
