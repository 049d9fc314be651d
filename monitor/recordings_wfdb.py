"""WFDB records, the format of PhysioNet: read with the package wfdb, written with nothing but numpy."""

from __future__ import annotations

import bisect
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from monitor.core.blocks import Floats, Ints
from monitor.core.errors import RecordingError
from monitor.recorded import AAMI, Recording, nanoseconds, plain_unit


def read_wfdb(path: Path) -> Recording:
    """Read the record whose files begin with `path`; raises RecordingError."""
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
        if annotation is not None:  # wfdb gives NaN for a code that it does not know
            annotation.symbol = [symbol if isinstance(symbol, str) else "?" for symbol in annotation.symbol]
    except ImportError as error:
        raise RecordingError(
            f"{path}: wfdb, which reads it, is not installed; pip install foretrace[recordings]",
        ) from error
    except Exception as error:  # whatever wfdb, numpy and pandas meet in a damaged file
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
        unit=", ".join(dict.fromkeys(unit.replace("NU", "") for unit in record.units)),
        values=record.p_signal.astype(np.float32),
        label_samples=at,
        label_symbols=symbols,
        start_ns=nanoseconds(record.base_datetime) if record.base_datetime else 0,
        flutter=_flutter_of(annotation, len(record.p_signal)),
        remarks=_remarks_of(annotation),
    )


def _beats_of(annotation: Any, samples: int) -> tuple[Ints, tuple[str, ...]]:
    """Where the beats of a WFDB annotation stand; rhythm and noise marks are left out."""
    if annotation is None:
        return np.zeros(0, np.int64), ()
    at = np.asarray(annotation.sample, np.int64)
    keep = [i for i, symbol in enumerate(annotation.symbol) if symbol in AAMI and 0 <= at[i] < samples]
    return at[keep], tuple(annotation.symbol[i] for i in keep)


def _remarks_of(annotation: Any) -> tuple[tuple[int, str], ...]:
    """Everything that is not a beat, by its text where it has one."""
    if annotation is None:
        return ()
    texts = annotation.aux_note or [""] * len(annotation.sample)
    return tuple(
        (int(at), text.rstrip("\0") or symbol)
        for at, symbol, text in zip(annotation.sample, annotation.symbol, texts, strict=True)
        if symbol not in AAMI
    )


def _flutter_of(annotation: Any, samples: int) -> tuple[tuple[int, int], ...]:
    """From each `[` of a WFDB annotation to its `]`, or to the end."""
    if annotation is None:
        return ()
    marks = [
        (int(at), symbol)
        for at, symbol in zip(annotation.sample, annotation.symbol, strict=True)
        if symbol in "[]"
    ]
    starts = [at for at, symbol in marks if symbol == "["]
    ends = [at for at, symbol in marks if symbol == "]"]
    return tuple((start, min((end for end in ends if end > start), default=samples)) for start in starts)


_CODES = {
    symbol: code for code, symbol in enumerate(' NLRaVFJASEj/Q~ | sT*D"=pB^t+u?![]en@xf()r') if symbol != " "
}
"""PhysioNet's annotation symbols -> their codes in a file."""
_SKIP, _AUX = 59, 63
_INVALID = -(2**31)
_HIGHEST = 2**31 - 1


class WfdbWriter:
    """Writes one record: 32-bit samples in NAME.dat, annotations in NAME.atr, and a header that is always right.

    The two files only grow, and the header is replaced as a whole, so that a record whose writer died is read as
    far as it was synced. Annotations may come up to `SETTLED_S` late, and are put in order.
    """

    SETTLED_S = 60.0

    def __init__(
        self, path: Path, rate_hz: float, channels: tuple[str, ...], unit: str, start_ns: int, step: float
    ) -> None:
        """`path` without a suffix; `step` is the size of a digital step."""
        self.path, self._gain, self._rate_hz = path, round(1 / step) if step < 1 else 1 / step, rate_hz
        self._samples = 0
        self._tail: list[tuple[int, bytes]] = []
        self._last = 0  # where the last settled annotation stands
        start = datetime.fromtimestamp(start_ns // 1000 / 1e6, UTC)
        self._head = (f"{path.name} {len(channels)} {rate_hz:.9g}", f"{start:%H:%M:%S.%f} {start:%d/%m/%Y}")
        name = f"{path.name}.dat"
        word = plain_unit("".join(unit.split())) or "NU"
        self._signals = [f"{name} 32 {self._gain:.12g}(0)/{word} 32 0 0 0 0 {channel}" for channel in channels]
        self._file = path.with_name(name).open("wb")
        self._notes = path.with_name(f"{path.name}.atr").open("wb")
        self._settled_bytes = 0

    def fits(self, values: Floats) -> bool:
        """Whether the file can hold these values."""
        return not (np.abs(values) * self._gain > _HIGHEST).any()

    def write(self, values: Floats) -> None:
        """Samples (time, channel) that follow on."""
        digital = np.rint(np.nan_to_num(values.astype(np.float64)) * self._gain)
        self._file.write(np.where(np.isnan(values), _INVALID, digital).astype("<i4").tobytes())
        self._samples += len(values)

    def note(self, index: int, symbol: str, text: str) -> None:
        """Annotate sample `index`: with a symbol of PhysioNet's, and with text."""
        code = _CODES.get(symbol, _CODES["+"] if text.startswith("(") else _CODES['"'])
        aux = text.encode("utf-8")[:250]
        entry = code.to_bytes(1, "little")
        if aux:
            entry += len(aux).to_bytes(1, "little") + aux
        bisect.insort(self._tail, (max(index, self._last), entry), key=lambda note: note[0])

    def sync(self) -> None:
        """Hand everything to the system; annotations that are old enough are settled."""
        self._file.flush()
        header = self.path.with_name(f"{self.path.name}.hea")
        fresh = header.with_suffix(".hea~")
        lines = [f"{self._head[0]} {self._samples} {self._head[1]}", *self._signals]
        fresh.write_text("\n".join(lines) + "\n", encoding="ascii", errors="replace")
        fresh.replace(header)
        settled_to = self._samples - self.SETTLED_S * self._rate_hz
        count = bisect.bisect_left(self._tail, settled_to, key=lambda note: note[0])
        self._notes.seek(self._settled_bytes)
        self._notes.write(self._encoded(self._tail[:count]))
        if count:
            self._last = self._tail[count - 1][0]
        self._settled_bytes = self._notes.tell()
        self._tail = self._tail[count:]
        self._notes.write(self._encoded(self._tail) + b"\x00\x00")
        self._notes.truncate()
        self._notes.flush()

    def _encoded(self, notes: list[tuple[int, bytes]]) -> bytes:
        """In the format of MIT: 6 bits of code and 10 of samples since the one before, text after it."""
        encoded, last = b"", self._last
        for index, entry in notes:
            apart, last = index - last, index
            if apart > 1023:
                skipped = apart.to_bytes(4, "big", signed=True)
                encoded += (_SKIP << 10).to_bytes(2, "little") + skipped[1::-1] + skipped[:1:-1]
                apart = 0
            encoded += (entry[0] << 10 | apart).to_bytes(2, "little")
            if len(entry) > 1:
                aux = entry[2:]
                encoded += (_AUX << 10 | len(aux)).to_bytes(2, "little") + aux + b"\x00" * (len(aux) % 2)
        return encoded

    def close(self) -> None:
        """Write what is left, say how many samples there are, close."""
        self.sync()
        self._file.close()
        self._notes.close()
