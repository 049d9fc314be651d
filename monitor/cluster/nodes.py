"""NATS servers as children of ours: a cluster on one machine, for the demo, the tests and the measurements."""

from __future__ import annotations

import asyncio
import contextlib
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Sequence
from pathlib import Path

from monitor.children import end
from monitor.natsserver import find_server, free_port, quoted
from monitor.sources import MAX_MESSAGE_BYTES

_STOP_S = 8.0
_MARGIN_BYTES = 64 * 1024
"""For headers."""


def node_settings(
    name: str, folder: Path, client: int, mqtt: int, route: int = 0, routes: tuple[int, ...] = ()
) -> str:
    """The configuration of one server on the loopback; with `routes` it joins the others."""
    lines = [
        f"server_name: {name}",
        f'listen: "127.0.0.1:{client}"',
        f"max_payload: {MAX_MESSAGE_BYTES + _MARGIN_BYTES}",
        f"jetstream {{ store_dir: {quoted(str(folder / name))}, max_file_store: {8 * 2**30} }}",
        f'mqtt {{ listen: "127.0.0.1:{mqtt}", ack_wait: "2s", max_ack_pending: 1024 }}',
    ]
    if routes:
        others = ", ".join(quoted(f"nats://127.0.0.1:{port}") for port in routes)
        lines.append(f'cluster {{ name: foretrace, listen: "127.0.0.1:{route}", routes: [{others}] }}')
    return "\n".join(lines) + "\n"


class Child:
    """A process of ours."""

    def __init__(self, name: str, command: Sequence[str | Path], folder: Path) -> None:
        self.name, self._command, self._log = name, command, folder / f"{name}.log"
        self.process: Process | None = None

    async def start(self) -> None:
        """Start it; what it says goes to its log."""
        with self._log.open("ab") as said:
            self.process = await asyncio.create_subprocess_exec(
                *self._command, stdin=DEVNULL, stdout=PIPE, stderr=said, start_new_session=True
            )

    async def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL where that does not help."""
        if self.process is not None:
            await end(self.process, _STOP_S)

    def said(self) -> str:
        """Its log."""
        return self._log.read_text(errors="replace")


class Node(Child):
    """One server."""

    def __init__(self, name: str, folder: Path, client: int, mqtt: int, settings: str) -> None:
        path = folder / f"{name}.conf"
        path.write_text(settings)
        super().__init__(name, [find_server(), "-c", path], folder)
        self.client, self.mqtt = client, mqtt

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://127.0.0.1:{self.client}"


def make_nodes(count: int, folder: Path) -> list[Node]:
    """A cluster of `count` servers, not yet started; one server is none."""
    clients, mqtts, routes = ([free_port() for _ in range(count)] for _ in range(3))
    all_routes = tuple(routes) if count > 1 else ()
    return [
        Node(
            name := f"node-{n + 1}", folder, clients[n], mqtts[n],
            node_settings(name, folder, clients[n], mqtts[n], routes[n], all_routes),
        )
        for n in range(count)
    ]  # fmt: skip
