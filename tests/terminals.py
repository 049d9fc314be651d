"""`monitor` on a real terminal, for tests that look at the screen and type."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from dataclasses import dataclass

DEADLINE_S = 60.0


@dataclass(frozen=True)
class Terminal:
    """A terminal of 80x24 and the process on it."""

    process: subprocess.Popen[bytes]
    ours: int
    theirs: int
    modes: list
    """Of the terminal, before the process was on it."""

    def read(self) -> bytes:
        """What there is within a moment."""
        return os.read(self.ours, 65536) if select.select([self.ours], [], [], 0.1)[0] else b""

    def read_until(self, wanted: bytes) -> bytes:
        data, end = b"", time.monotonic() + DEADLINE_S
        while wanted not in data:
            assert time.monotonic() < end, f"no {wanted!r} on the screen: ...{data[-2000:]!r}"
            data += self.read()
        return data

    def type(self, keys: bytes) -> None:
        os.write(self.ours, keys)

    def is_restored(self) -> bool:
        """Whether its modes are again what they were."""
        return termios.tcgetattr(self.theirs) == self.modes

    def ended(self) -> int:
        """The exit code of the process; what it still writes is read, or it would wait for that."""
        end = time.monotonic() + DEADLINE_S
        while self.process.poll() is None:
            assert time.monotonic() < end, "the process did not end"
            self.read()
        return self.process.returncode


@contextlib.contextmanager
def on_a_terminal(*arguments: str, **environment: str) -> Iterator[Terminal]:
    """`monitor` with these arguments, until the end of the block at the latest."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    modes = termios.tcgetattr(theirs)
    process = subprocess.Popen(
        [sys.executable, "-m", "monitor", *arguments], stdin=theirs, stdout=theirs, stderr=theirs,
        start_new_session=True, env={**os.environ, "TERM": "xterm-256color", **environment},
    )  # fmt: skip
    try:
        yield Terminal(process, ours, theirs, modes)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)
