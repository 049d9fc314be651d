"""What a daemon takes in, written to files: samples with their gaps, and what was flagged as annotations.

Rules of the file:
- Consecutive samples of a stream are one recording. A gap of up to `LONGEST_GAP_S` is a stretch of missing values
  in it; after a longer one, a change of rate or channels, or a clock that goes back, another recording begins.
- Whatever was synced is readable, whenever the process dies.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from monitor.core.blocks import NS, Alarm, Beat, Block, Event, Floats
from monitor.core.errors import ConfigError, StorageLost
from monitor.recordings_csv import CsvWriter
from monitor.recordings_edf import EdfWriter, steps_for
from monitor.recordings_wfdb import WfdbWriter

Format = Literal["wfdb", "edf", "csv"]

LONGEST_GAP_S = 600.0
_LOOK_S = 5.0
"""So much of a signal is looked at before its range is chosen, where the format asks for one that fits."""
_STEP = 1e-6
"""A digital step of a WFDB record, unless the signal's values are too large for it."""
_FINEST_MV = 1e-3
"""The smallest of an EDF file in millivolts: its range is chosen without a look, and is never below 32 mV."""
_LATE_S = 1.0
"""A clock that strays by less is followed, while samples are numbered without a break."""


class Writer(Protocol):
    """One recording being written."""

    path: Path

    def fits(self, values: Floats) -> bool:
        """Whether the file can hold these values."""
        ...

    def write(self, values: Floats) -> None:
        """Samples (time, channel) that follow on."""
        ...

    def note(self, index: int, symbol: str, text: str) -> None:
        """Annotate sample `index`, with a beat's symbol or with text."""
        ...

    def sync(self) -> None:
        """Hand everything to the system."""
        ...

    def close(self) -> None:
        """Finish the file."""
        ...


class _Take:
    """One recording of one stream."""

    def __init__(self, first: Block, open_writer: Callable[[Block, Floats], Writer], look_s: float) -> None:
        self.first, self._open = first, open_writer
        self.rate_hz = first.rate_hz or 1.0
        self.t0_ns = first.t0_ns or 0
        self.samples = 0
        self.run, self.next_seq = first.run, first.seq
        self._look = math.ceil(look_s * self.rate_hz)
        self._waiting: list[Floats] = []
        self._notes: list[tuple[int, str, str]] = []
        self.writer: Writer | None = None

    def write(self, values: Floats) -> None:
        self.samples += len(values)
        if self.writer is not None:
            self.writer.write(values)
            return
        self._waiting.append(values)
        if self.samples >= self._look:
            self.open()

    def open(self) -> None:
        """Choose the range by what there is, and begin to write."""
        if self.writer is None and self._waiting:
            values = np.concatenate(self._waiting)
            self.writer = self._open(self.first, values)
            self.writer.write(values)
            for note in self._notes:
                self.writer.note(*note)

    def fits(self, values: Floats) -> bool:
        return self.writer is None or self.writer.fits(values)

    def note(self, t_ns: int, symbol: str, text: str) -> None:
        index = max(round((t_ns - self.t0_ns) * self.rate_hz / NS), 0)
        if self.writer is None:
            self._notes.append((index, symbol, text))
        else:
            self.writer.note(index, symbol, text)

    def close(self) -> None:
        self.open()
        if self.writer is not None:
            self.writer.close()


class Recorder:
    """Writes the streams whose names match `patterns` into `folder`, a recording each."""

    def __init__(self, folder: Path, form: Format = "wfdb", patterns: tuple[str, ...] = ("*",)) -> None:
        """Raises ConfigError when there is no such folder, and none can be made."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{folder}: expected a folder to record into ({error})") from error
        self._folder, self._form, self._patterns = folder, form, patterns
        self._takes: dict[str, _Take] = {}
        self.files: list[Path] = []
        """What was written, WFDB records without a suffix."""
        self.samples = 0
        self.missing = 0
        """Samples of gaps."""

    def wants(self, stream: str) -> bool:
        """Whether this stream is recorded."""
        return any(fnmatchcase(stream, pattern) for pattern in self._patterns)

    def block(self, block: Block) -> None:
        """Samples that were taken in; those that are here already are left out. Raises StorageLost."""
        if not self.wants(block.stream) or not block.rate_hz or block.t0_ns is None:
            return
        take = self._takes.get(block.stream)
        values, gap = (block.values, 0) if take is None else _what_is_new(take, block)
        if not len(values):
            return
        try:
            if take is None or gap is None or not take.fits(values):
                take = self._begin(block, values)
                gap = 0
            if gap:
                take.write(np.full((gap, values.shape[1]), np.nan, np.float32))
                self.missing += gap
            take.write(values)
        except OSError as error:
            raise StorageLost(f"{self._folder}: cannot record {block.stream}: {error}") from error
        take.run, take.next_seq = block.run, (block.seq or 0) + len(block.values)
        self.samples += len(values)

    def _begin(self, block: Block, values: Floats) -> _Take:
        if (before := self._takes.pop(block.stream, None)) is not None:
            before.close()
        skipped = len(block.values) - len(values)
        t0_ns = (block.t0_ns or 0) + round(skipped * NS / (block.rate_hz or 1.0))
        look_s = _LOOK_S if self._form == "edf" and block.unit != "mV" else 0.0
        first = Block(block.stream, values, block.run, block.seq, t0_ns, block.rate_hz, block.channels, block.unit)
        take = self._takes[block.stream] = _Take(first, self._open, look_s)
        return take

    def notice(self, notice: Event | Alarm | Beat) -> None:
        """What was flagged: a beat by its symbol, everything else by a few words."""
        take = self._takes.get(notice.stream)
        if take is None:
            return
        if isinstance(notice, Beat):
            take.note(notice.t_ns, notice.label, "")
        elif isinstance(notice, Event):
            words = f"{notice.kind}:{notice.label} {notice.detail or f'{notice.score:.3g}'}"
            take.note(notice.t_ns, "", words)
        else:
            seen = ", acknowledged" if notice.acknowledged else ""
            take.note(
                notice.changed_ns,
                "",
                f"alarm {notice.kind}:{notice.label} {notice.state}{seen} ({notice.priority})",
            )

    def sync(self) -> None:
        """Make what was recorded so far readable for others, also after a crash. Raises StorageLost."""
        try:
            for take in self._takes.values():
                if take.writer is not None:
                    take.writer.sync()
        except OSError as error:
            raise StorageLost(f"{self._folder}: cannot record: {error}") from error

    def close(self) -> None:
        """Finish all files. Raises StorageLost."""
        takes, self._takes = self._takes, {}
        try:
            for take in takes.values():
                take.close()
        except OSError as error:
            raise StorageLost(f"{self._folder}: cannot record: {error}") from error

    def _open(self, first: Block, values: Floats) -> Writer:
        """The writer for a recording that begins with `values`."""
        t0_ns, rate_hz = first.t0_ns or 0, first.rate_hz or 1.0
        when = datetime.fromtimestamp(t0_ns // NS, UTC)
        stem = f"{first.stream.replace('/', '-')}-{when:%Y%m%dT%H%M%SZ}"
        taken = {path.name.partition(".")[0] for path in self._folder.glob(f"{stem}*")}
        name = next(n for n in (stem, *(f"{stem}-{i}" for i in range(2, 10**6))) if n not in taken)
        channels = first.channels or tuple(str(i + 1) for i in range(values.shape[1]))
        writer: Writer
        if self._form == "wfdb":
            largest = float(np.nan_to_num(np.abs(values)).max(initial=0.0))
            step = max(_STEP, float(10.0 ** math.ceil(math.log10(max(4 * largest, 1e-30) / 2**31))))
            writer = WfdbWriter(self._folder / name, rate_hz, channels, first.unit, t0_ns, step)
        elif self._form == "edf":
            steps = steps_for(values, _FINEST_MV) if first.unit == "mV" else steps_for(values)
            writer = EdfWriter(self._folder / f"{name}.edf", rate_hz, channels, first.unit, t0_ns, steps)
        else:
            writer = CsvWriter(self._folder / f"{name}.csv", rate_hz, channels, t0_ns)
        self.files.append(writer.path)
        return writer


def _what_is_new(take: _Take, block: Block) -> tuple[Floats, int | None]:
    """What of a block the take does not have, and how many samples are missing before; None for another take."""
    values, rate_hz = block.values, block.rate_hz or 1.0
    if rate_hz != take.rate_hz or values.shape[1] != take.first.values.shape[1] or block.unit != take.first.unit:
        return values, None
    off_s = ((block.t0_ns or 0) - take.t0_ns) / NS - take.samples / rate_hz
    if block.run == take.run and block.seq is not None and take.next_seq is not None:
        if block.seq < take.next_seq:
            return values[take.next_seq - block.seq :], 0
        if block.seq == take.next_seq and abs(off_s) < _LATE_S:
            take.t0_ns += round(off_s * NS)  # annotations keep their places
            return values, 0
    missing = round(off_s * rate_hz)
    if not 0 <= missing <= LONGEST_GAP_S * rate_hz:
        return values, None
    return values, missing
