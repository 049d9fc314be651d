"""What systemd wants to hear of a service: ready, reloading, stopping, still alive (sd_notify(3))."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping


class Notifier:
    """Tells the service manager, where there is one."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        """`environment` has NOTIFY_SOCKET and WATCHDOG_USEC when systemd started us so."""
        self._address = environment.get("NOTIFY_SOCKET", "")
        usec, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
        ours = usec.isdecimal() and pid in ("", str(os.getpid()))
        self.watchdog_s = int(usec) / 1e6 if ours else 0.0
        """We must be heard of at least so often; 0 when nobody waits."""

    def ready(self) -> None:
        """Started, or done with reloading."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """Reading the configuration again."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Beginning to stop."""
        self._tell("STOPPING=1")

    def alive(self, status: str) -> None:
        """All is well, in one line."""
        self._tell("WATCHDOG=1", f"STATUS={status}")

    def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.setblocking(False)  # a service manager that is stuck must not hold us up
            out.sendto("\n".join(lines).encode(), address)
