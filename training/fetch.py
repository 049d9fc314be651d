"""Databases from PhysioNet, for those who have a network: downloaded with wfdb, where `--data DIR` wants them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from monitor.core.errors import RecordingError

DATABASES = {
    "mitdb": "MIT-BIH Arrhythmia Database 1.0.0, ODC-By 1.0, doi:10.13026/C2F305",
    "nstdb": "MIT-BIH Noise Stress Test Database 1.0.0, ODC-By 1.0, doi:10.13026/C2HS3T",
}
"""What the committed configurations learn from."""


def fetch(database: str, out: Path, say: Callable[[str], None]) -> Path:
    """Download all records of `database` into a folder of its name below `out`, and return that folder.

    Raises RecordingError where that cannot be done: no network, no such database, no room.
    """
    try:
        import wfdb
    except ImportError as error:
        raise RecordingError("wfdb, which downloads it, is not installed; pip install foretrace[train]") from error
    folder = out / database
    say(f"{database}: {DATABASES[database]}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        wfdb.dl_database(database, str(folder))
    except OSError as error:  # requests' and urllib's errors are OSErrors, too
        raise RecordingError(
            f"{database}: cannot be fetched from physionet.org into {folder}: {_first_line(error)}; is there a "
            "network, and room? It can also be downloaded by hand: the records belong into that folder"
        ) from error
    except Exception as error:  # whatever else wfdb's way to the network raises
        raise RecordingError(f"{database}: wfdb cannot fetch it: {_first_line(error)}") from error
    if not list(folder.glob("*.hea")):
        raise RecordingError(f"{database}: expected records in {folder}, got none; was the download cut short?")
    return folder


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
