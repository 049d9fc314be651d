"""What /proc says of processes."""

from __future__ import annotations

from pathlib import Path


def children_of(pid: int) -> list[int]:
    """Process ids below `pid`."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found += [int(status.parent.name), *children_of(int(status.parent.name))]
    return found


def runs(pid: int) -> bool:
    """Whether it is one of ours and has not ended."""
    try:
        return b"monitor" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
