"""What is seen, written to files: samples with labels as CSV or WFDB, which `training` reads."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from monitor.core.blocks import NS, Beat, Floats, Ints, Note
from monitor.core.errors import MonitorError
from monitor.dashboard.stream import Band, StreamView

SYMBOLS = frozenset("NSVF")
"""Beat labels that are PhysioNet's own symbols, too."""
OTHER = '"'
"""PhysioNet's symbol of a comment."""


@dataclass(frozen=True)
class Piece:
    """A stretch of one stream with what was said of it."""

    stream: str
    rate_hz: float
    channels: tuple[str, ...]
    unit: str
    times_ns: Ints
    values: Floats
    marks: tuple[tuple[int, str], ...]
    """Sample index and label, ascending: beats, what was flagged and not judged false, notes."""


def piece_of(view: StreamView, from_ns: int, to_ns: int, notes: Sequence[Note], verdicts: Sequence[Note]) -> Piece:
    """The stretch from `from_ns` to `to_ns`; raises MonitorError when nothing of it is held."""
    if view.trace is None or not view.trace.count:
        raise MonitorError(f"nothing to write: no sample of {view.name} is held")
    times, values = view.trace.between(from_ns, to_ns)
    inside = (times >= from_ns) & (times <= to_ns)
    times, values = times[inside], values[inside]
    if not len(times):
        raise MonitorError(f"nothing to write: no sample of {view.name} lies in what is seen")
    false_ns = [note.t_ns for note in verdicts if note.verdict == "false"]
    found = [*_beats(view.beats, false_ns), *_bands(view.bands, false_ns), *((n.t_ns, n.text) for n in notes)]
    marks = []
    for t_ns, label in sorted(set(found)):
        index = round((t_ns - int(times[0])) / view.trace.period_ns)
        if 0 <= index < len(times) and label:
            marks.append((index, label))
    channels = view.channels or tuple(str(i + 1) for i in range(values.shape[1]))
    return Piece(view.name, view.trace.rate_hz, channels, view.unit, times, values, tuple(marks))


def _beats(beats: Sequence[Beat], false_ns: Sequence[int]) -> list[tuple[int, str]]:
    """A beat whose alarm was judged false was a normal one."""
    return [(b.t_ns, "N" if any(abs(b.t_ns - t) < NS // 2 for t in false_ns) else b.label) for b in beats]


def _bands(bands: Sequence[Band], false_ns: Sequence[int]) -> list[tuple[int, str]]:
    return [
        (b.t_ns or b.from_ns, b.label)
        for b in bands
        if b.rank and not any(b.from_ns - NS <= t <= b.to_ns + NS for t in false_ns)
    ]


def free_path(folder: Path, stem: str, suffix: str) -> Path:
    """A name that nothing has yet."""
    path, n = folder / f"{stem}{suffix}", 1
    while path.exists():
        n += 1
        path = folder / f"{stem}-{n}{suffix}"
    return path


def stem_of(piece: Piece) -> str:
    """A file name that says what and when."""
    start = datetime.fromtimestamp(int(piece.times_ns[0]) // NS, UTC)
    return f"{piece.stream.replace('/', '-')}-{start:%Y%m%dT%H%M%S}"


def write_csv(piece: Piece, path: Path) -> None:
    """Time in seconds since 1970, the channels, and a label where there is one; raises MonitorError."""
    labels = dict(piece.marks)
    names = [name or f"ch{i + 1}" for i, name in enumerate(piece.channels)]
    try:
        with path.open("x", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["time", *names, "label"])
            for i, row in enumerate(piece.values.tolist()):
                cells = ["" if value != value else f"{value:.7g}" for value in row]  # noqa: PLR0124 - NaN
                writer.writerow([f"{int(piece.times_ns[i]) / NS:.6f}", *cells, labels.get(i, "")])
    except OSError as error:
        raise MonitorError(f"{path}: cannot be written: {error}") from error


def write_wfdb(piece: Piece, folder: Path, name: str) -> None:
    """A WFDB record NAME with annotations; raises MonitorError."""
    try:
        import wfdb  # noqa: PLC0415 - an extra, and slow to import
    except ImportError as error:
        raise MonitorError("WFDB files need the package wfdb: pip install 'foretrace[recordings]'") from error
    channels = [name or f"ch{i + 1}" for i, name in enumerate(piece.channels)]
    start = datetime.fromtimestamp(int(piece.times_ns[0]) / NS, UTC).replace(tzinfo=None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # wfdb's quarrels with pandas are not the watcher's
            wfdb.wrsamp(
                name, fs=piece.rate_hz, units=[piece.unit or "NU"] * len(channels), sig_name=channels,
                p_signal=piece.values.astype(np.float64), fmt=["16"] * len(channels), write_dir=str(folder),
                base_time=start.time(), base_date=start.date(),
            )  # fmt: skip
            if piece.marks:
                wfdb.wrann(
                    name, "atr", np.array([index for index, _ in piece.marks]),
                    symbol=[label if label in SYMBOLS else OTHER for _, label in piece.marks],
                    aux_note=["" if label in SYMBOLS else label for _, label in piece.marks],
                    fs=piece.rate_hz, write_dir=str(folder),
                )  # fmt: skip
    except (OSError, ValueError, TypeError) as error:
        raise MonitorError(f"{folder / name}: cannot be written: {error}") from error
