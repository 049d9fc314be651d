"""NATS servers as children of ours: a cluster on one machine, for the demo, the tests and the measurements."""

from __future__ import annotations

import asyncio
import contextlib
from asyncio.subprocess import DEVNULL, Process
from pathlib import Path

from monitor.natsserver import find_server, free_port, quoted
from monitor.sources import MAX_MESSAGE_BYTES

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
        f'mqtt {{ listen: "127.0.0.1:{mqtt}", ack_wait: "2s" }}',
    ]
    if routes:
        others = ", ".join(quoted(f"nats://127.0.0.1:{port}") for port in routes)
        lines.append(f'cluster {{ name: foretrace, listen: "127.0.0.1:{route}", routes: [{others}] }}')
    return "\n".join(lines) + "\n"


class Node:
    """One server."""

    def __init__(self, name: str, folder: Path, client: int, mqtt: int, settings: str) -> None:
        self.name, self.client, self.mqtt = name, client, mqtt
        self._settings, self._log = folder / f"{name}.conf", folder / f"{name}.log"
        self._settings.write_text(settings)
        self._process: Process | None = None

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://127.0.0.1:{self.client}"

    async def start(self) -> None:
        """Start it; it may take a while until it accepts."""
        with self._log.open("ab") as said:
            self._process = await asyncio.create_subprocess_exec(
                find_server(),
                "-c",
                self._settings,
                stdin=DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    async def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    def said(self) -> str:
        """Its log."""
        return self._log.read_text(errors="replace")


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
