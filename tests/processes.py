"""Daemons as real processes, for tests that kill them."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Self

from monitor.control import Client, GetStatus, Overview
from monitor.core.published import StreamState
from tests.conftest import wait_until


class Process:
    """`monitor run` in a folder of its own."""

    def __init__(self, folder: Path, *, file: Path | None = None, env: dict[str, str] | None = None, **settings):
        """`settings` are keys with __ for dots: zeromq__listen=..."""
        self.folder = folder
        given = {
            "zeromq__listen": f"ipc://{folder}/samples",
            "zeromq__listen_reliable": f"ipc://{folder}/reliable",
            "feed__publish": f"ipc://{folder}/feed",
            "feed__control": f"ipc://{folder}/control",
            "alarm_log__path": f"{folder}/log.db",
            **settings,
        }
        flags = [f"{key.replace('__', '.')}={value}" for key, value in given.items()]
        self.command = [sys.executable, "-m", "monitor", "run", *(["--config", str(file)] if file else [])]
        self.command += [part for flag in flags for part in ("--set", flag)]
        self.env = env
        self.samples, self.reliable = given["zeromq__listen"], "reliable+" + given["zeromq__listen_reliable"]
        self.control, self.db = given["feed__control"], Path(given["alarm_log__path"])
        self.log = folder / "daemon.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, wait: bool = True) -> Self:
        said = self.log.read_text().count("listening on") if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, stderr=log, cwd=self.folder, env=self.env)
        if wait:
            wait_until(lambda: self.text().count("listening on") > said or self.process.poll(), "the daemon", 30)
            assert self.process.poll() is None, self.text()
        return self

    def text(self) -> str:
        return self.log.read_text()

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> int:
        """SIGTERM, and wait."""
        self.process.terminate()
        return self.process.wait(15)

    async def states(self) -> dict[str, StreamState]:
        async with Client(self.control, 20) as client:
            return {state.stream: state for state in (await client.ask(GetStatus(), Overview)).streams}

    def ledgers(self) -> dict[str, object]:
        return {name: state.ledger for name, state in asyncio.run(self.states()).items()}

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()


def check_database(path: Path) -> None:
    """It opens, and SQLite finds nothing wrong with it."""
    db = sqlite3.connect(path)
    try:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        twice = db.execute("SELECT count(*) FROM event GROUP BY stream, kind, label, t_ns HAVING count(*) > 1")
        assert twice.fetchall() == []
    finally:
        db.close()


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
