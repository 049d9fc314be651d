"""EDF and EDF+ files (edfplus.info): read, and written record by record.

What we write is EDF+C with one signal of annotations. EDF knows no missing value: what lies below the lowest
digital value that the header allows stands for one, and is read as NaN. While a file is being written its header
says -1 records, as the specification wants, so that a file whose writer died is read as far as it goes.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np

from monitor.core.blocks import NS, Floats
from monitor.core.errors import RecordingError
from monitor.recorded import AAMI, Recording, nanoseconds, plain_unit

MISSING = -32768
_HIGHEST = 32000
"""Steps up to the end of a signal's range: so many of 1, 2 or 5 times a power of ten are a short number."""
_WITHIN = 10_000
"""Steps up to the largest value that is known when a range is chosen, at most: three times as much still fits."""
_FINEST, _COARSEST = 5e-9, 300.0
"""Steps whose range, 0.00016 and 9600000, just fits into a header."""
_NOTES = "EDF Annotations"
_NOTE_BYTES = 240
"""Of each record: its time, and room for a few annotations; what does not fit goes into the next one."""
_WIDTHS = (16, 80, 8, 8, 8, 8, 8, 80, 8, 32)


class _Layout(NamedTuple):
    """What the header of a file says."""

    start_ns: int
    records: int
    record_s: float
    labels: list[str]
    units: list[str]
    scales: list[tuple[float, float]]
    """Of each signal: the size of a digital step, and the physical value of digital 0."""
    lowest: list[int]
    """Of each signal: what lies below is no value."""
    samples: list[int]
    """Of each signal, in a record."""
    header_bytes: int


def read_edf(path: Path) -> Recording:
    """Read the signals that have the rate of the first one; raises RecordingError."""
    try:
        raw = path.read_bytes()
        return _recording(path, raw, _layout_of(raw))
    except (OSError, ValueError, IndexError, ArithmeticError, MemoryError) as error:
        raise RecordingError(f"{path}: expected an EDF file, but it cannot be read ({error})") from error


def _layout_of(raw: bytes) -> _Layout:
    head = raw[:256].decode("ascii")
    if len(head) < 256 or head[:8].strip() != "0":
        raise ValueError("its first bytes are not those of EDF")
    day, month, year = (int(part) for part in head[168:176].split("."))
    hour, minute, second = (int(part) for part in head[176:184].split("."))
    start = datetime(year + (1900 if year >= 85 else 2000), month, day, hour, minute, second, tzinfo=UTC)
    count = int(head[252:256])
    fields, at = [], 256
    for width in _WIDTHS:
        rows = raw[at : at + width * count].decode("latin-1")
        fields.append([rows[i * width : (i + 1) * width].strip() for i in range(count)])
        at += width * count
    labels, _, units, low, high, lowest, highest, _, samples, _ = fields
    scales = []
    for i in range(count):
        step = (float(high[i]) - float(low[i])) / max(int(highest[i]) - int(lowest[i]), 1)
        scales.append((step, float(low[i]) - step * int(lowest[i])))
    return _Layout(
        nanoseconds(start), int(head[236:244]), float(head[244:252]), labels, units, scales,
        [int(n) for n in lowest], [int(n) for n in samples], at,
    )  # fmt: skip


def _recording(path: Path, raw: bytes, layout: _Layout) -> Recording:
    size = sum(layout.samples)
    if min(layout.samples, default=0) <= 0:
        raise ValueError("it has a signal without samples")
    there = (len(raw) - layout.header_bytes) // (2 * size)
    records = there if layout.records < 0 else min(layout.records, there)
    signals = [i for i, label in enumerate(layout.labels) if label != _NOTES]
    if not records or not signals or layout.record_s <= 0:
        raise ValueError("it holds no samples")
    data = np.frombuffer(raw, "<i2", records * size, layout.header_bytes).reshape(records, size)
    ends = np.cumsum(layout.samples)
    per_record = layout.samples[signals[0]]
    kept = [i for i in signals if layout.samples[i] == per_record]
    values = np.empty((records * per_record, len(kept)), np.float32)
    for column, i in enumerate(kept):
        digital = data[:, ends[i] - per_record : ends[i]].reshape(-1)
        step, zero = layout.scales[i]
        values[:, column] = digital * step + zero
        values[digital < layout.lowest[i], column] = np.nan
    rate_hz = round(per_record / layout.record_s, 6)
    onsets, notes = _notes_of(data, layout, ends)
    start_s = onsets[0] if onsets else 0.0
    if len(onsets) == records:  # EDF+D: records need not follow on each other
        values = _spread(values, np.array(onsets) - start_s, per_record, rate_hz)
    marks = sorted((round((at_s - start_s) * rate_hz), text) for at_s, text in notes)
    beats = [(at, text) for at, text in marks if text in AAMI and 0 <= at < len(values)]
    return Recording(
        name=path.stem,
        rate_hz=rate_hz,
        channels=tuple(layout.labels[i] for i in kept),
        unit=", ".join(dict.fromkeys(layout.units[i] for i in kept)),
        values=values,
        label_samples=np.array([at for at, _ in beats], np.int64),
        label_symbols=tuple(text for _, text in beats),
        start_ns=layout.start_ns + round(start_s * NS),
        remarks=tuple((at, text) for at, text in marks if text not in AAMI),
    )


def _spread(values: Floats, onsets_s: np.ndarray, per_record: int, rate_hz: float) -> Floats:
    """Records put where they belong, with NaN between them."""
    first = np.rint(onsets_s * rate_hz).astype(np.int64)
    if (first == per_record * np.arange(len(first))).all():
        return values
    if (np.diff(first) < per_record).any() or first[-1] > 1000 * len(values):
        raise ValueError("its records overlap, or lie too far apart")
    spread = np.full((first[-1] + per_record, values.shape[1]), np.nan, np.float32)
    for i, at in enumerate(first.tolist()):
        spread[at : at + per_record] = values[i * per_record : (i + 1) * per_record]
    return spread


def _notes_of(data: np.ndarray, layout: _Layout, ends: np.ndarray) -> tuple[list[float], list[tuple[float, str]]]:
    """When each record begins, and the annotations with their times, in seconds since the file's start."""
    onsets: list[float] = []
    notes: list[tuple[float, str]] = []
    signals = [i for i, label in enumerate(layout.labels) if label == _NOTES]
    for record in data:
        for nth, i in enumerate(signals):
            lists = record[ends[i] - layout.samples[i] : ends[i]].tobytes().split(b"\x14\x00")
            for place, entry in enumerate(lists):
                when, *texts = entry.strip(b"\x00").split(b"\x14")
                if not when:
                    continue
                at_s = float(when.split(b"\x15")[0])
                if nth == place == 0:
                    onsets.append(at_s)
                notes += [(at_s, text.decode("utf-8")) for text in texts if text]
    return onsets, notes


class EdfWriter:
    """Writes one EDF+ file, a record whenever there are samples enough for one."""

    def __init__(
        self, path: Path, rate_hz: float, channels: tuple[str, ...], unit: str, start_ns: int, steps: list[float]
    ) -> None:
        """`steps` are the sizes of a digital step, a channel each: what lies beyond 32000 of them does not fit."""
        self.path = path
        self._steps = np.array([float(_short(_HIGHEST * step)) / _HIGHEST for step in steps])
        self._per_record = max(round(rate_hz), 1)
        self._record_s = self._per_record / rate_hz
        self._start_ns = start_ns
        self._waiting = np.zeros((0, len(channels)), np.float32)
        self._notes: list[bytes] = []
        self._records = 0
        self._file = path.open("wb")
        self._file.write(_header(self._record_s, self._per_record, channels, unit, start_ns, steps))
        self._file.flush()

    def fits(self, values: Floats) -> bool:
        """Whether the file can hold these values; what no file can hold is clipped, and asks for no other one."""
        sizes = np.abs(values)
        return not ((sizes > _HIGHEST * self._steps) & (sizes <= _HIGHEST * _COARSEST)).any()

    def write(self, values: Floats) -> None:
        """Samples (time, channel) that follow on."""
        self._waiting = np.concatenate((self._waiting, values))
        while len(self._waiting) >= self._per_record:
            self._record(self._waiting[: self._per_record])
            self._waiting = self._waiting[self._per_record :]

    def note(self, index: int, symbol: str, text: str) -> None:
        """Annotate sample `index`, with a beat's symbol or with text."""
        at_s = self._offset_s + index * self._record_s / self._per_record
        words = (symbol or text)[:80].replace("\x14", " ").replace("\x00", " ")
        self._notes.append(f"+{at_s:.6f}\x14{words}\x14\x00".encode())

    def _record(self, values: Floats) -> None:
        digital = np.clip(np.rint(values / self._steps), -_HIGHEST, _HIGHEST)
        digital = np.where(np.isnan(values), MISSING, digital)
        when = f"{self._offset_s + self._records * self._record_s:.6f}"
        notes = f"+{when}\x14\x14\x00".encode()
        while self._notes and len(notes) + len(self._notes[0]) <= _NOTE_BYTES:
            notes += self._notes.pop(0)
        self._file.write(np.ascontiguousarray(digital.T, "<i2").tobytes() + notes.ljust(_NOTE_BYTES, b"\x00"))
        self._records += 1

    @property
    def _offset_s(self) -> float:
        """The header tells whole seconds; the rest of the start."""
        return self._start_ns % NS / NS

    def sync(self) -> None:
        """Hand what is whole to the system."""
        self._file.flush()

    def close(self) -> None:
        """Fill the last record up, say how many there are, close."""
        while len(self._waiting) or self._notes:
            short = self._per_record - len(self._waiting)
            filled = np.concatenate((self._waiting, np.full((short, self._waiting.shape[1]), np.nan, np.float32)))
            self._waiting = self._waiting[:0]
            self._record(filled)
        self._file.seek(236)
        self._file.write(f"{self._records:<8d}".encode("ascii"))
        self._file.close()


def _header(
    record_s: float,
    per_record: int,
    channels: tuple[str, ...],
    unit: str,
    start_ns: int,
    steps: list[float],
) -> bytes:
    start = datetime.fromtimestamp(start_ns // NS, UTC)
    count = len(channels)
    reaches = [_short(_HIGHEST * step) for step in steps]
    unit = plain_unit(unit)
    months = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
    day = f"{start.day:02d}-{months[start.month - 1]}-{start.year}"
    top = (
        ("0", 8), ("X X X X", 80), (f"Startdate {day} X X foretrace", 80),
        (f"{start:%d.%m.%y}", 8), (f"{start:%H.%M.%S}", 8), (str(256 * (count + 2)), 8), ("EDF+C", 44),
        ("-1", 8), (_short(record_s), 8), (str(count + 1), 4),
    )  # fmt: skip
    columns = (
        [*(name[:16] for name in channels), _NOTES],
        [""] * (count + 1),
        [*[unit[:8]] * count, ""],
        [*(f"-{reach}" for reach in reaches), "-1"],
        [*reaches, "1"],
        [*[str(-_HIGHEST)] * count, str(MISSING)],
        [*[str(_HIGHEST)] * count, "32767"],
        [""] * (count + 1),
        [*[str(per_record)] * count, str(_NOTE_BYTES // 2)],
        [""] * (count + 1),
    )
    text = "".join(value.ljust(width)[:width] for value, width in top)
    for column, width in zip(columns, _WIDTHS, strict=True):
        text += "".join(cell.ljust(width)[:width] for cell in column)
    return text.encode("ascii", "replace")


def _short(value: float) -> str:
    """At most seven characters, so that a sign still fits."""
    for digits in range(7, 0, -1):
        if len(text := f"{value:.{digits}g}") <= 7 and "e" not in text:
            return text
    return str(min(int(value), 9_999_999))


def steps_for(values: Floats, finest: float = _FINEST) -> list[float]:
    """Of each channel of (time, channel), a digital step that leaves room for three times its largest value.

    What no header can hold does not count, and a channel without any value but 0 takes the largest of the others.
    """
    sizes = np.abs(values, dtype=np.float64)
    largest = np.where(sizes <= _HIGHEST * _COARSEST, sizes, 0).max(axis=0, initial=0)
    largest[largest == 0] = largest.max(initial=0)
    return [max(_step_for(float(one)), finest) for one in largest]


def _step_for(largest: float) -> float:
    """The least step of 1, 2 or 5 times a power of ten that suffices."""
    least = max(largest / _WITHIN, _FINEST)
    power = 10.0 ** math.floor(math.log10(least))
    step = next((n * power for n in (1, 2, 5) if n * power >= least), 10 * power)
    return float(min(step, _COARSEST))
