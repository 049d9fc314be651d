"""What `monitor doctor` asks the network: is a daemon there, are its addresses free, does the broker let us in."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from monitor.config import Config, Mqtt
from monitor.core.errors import ConfigError, MonitorError, Unreachable

Verdict = Literal["fine", "note", "bad"]

PATIENCE_S = 3.0
_IPC_LENGTH = 107
"""Bytes that the path of a unix socket may have on Linux."""


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    what: str
    verdict: Verdict
    found: str
    do: str = ""
    """What to do about it; empty where nothing need be done."""


async def daemon(config: Config, keys: Mapping[int, int | bytes] | None) -> list[Finding]:
    """Whether one answers already."""
    from monitor.control import Client, GetStatus, Overview  # noqa: PLC0415

    address = _reachable(config.feed.control)
    try:
        if not _is_somebody_at(address):
            raise Unreachable(address)
        async with Client(address, PATIENCE_S, keys) as client:
            status = (await client.ask(GetStatus(), Overview)).status
    except MonitorError:
        return [Finding("daemon", "note", f"none answers at {config.feed.control}", "`monitor run` starts one")]
    found = f"{status.name} {status.version} answers at {config.feed.control}, {status.streams} streams"
    return [Finding("daemon", "fine", found)]


def _reachable(address: str) -> str:
    """Where a client connects to what was bound to all interfaces."""
    return address.replace("tcp://*:", "tcp://127.0.0.1:").replace("tcp://0.0.0.0:", "tcp://127.0.0.1:")


def _is_somebody_at(address: str) -> bool:
    """Whether anything listens there: ZeroMQ itself would go on trying."""
    scheme, _, where = address.partition("://")
    try:
        if scheme == "ipc":
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(where)
        else:
            host, _, port = where.rpartition(":")
            socket.create_connection((host.strip("[]"), int(port)), PATIENCE_S).close()
    except (OSError, ValueError, OverflowError):
        return False
    return True


def sockets(config: Config) -> Iterator[Finding]:
    """Whether the addresses that a daemon would bind are free."""
    addresses = {
        "zeromq.listen": config.zeromq.listen,
        "zeromq.listen_reliable": config.zeromq.listen_reliable,
        "feed.publish": config.feed.publish,
        "feed.control": config.feed.control,
        "http.listen": config.http.listen and f"tcp://{config.http.listen}",
    }
    for key, address in addresses.items():
        if address:
            trouble = _ipc_trouble(address) if address.startswith("ipc://") else _tcp_trouble(address)
            do = f"stop what uses it (`ss -ltnp`), or choose another: --set {key}=..."
            yield Finding(
                key, "bad" if trouble else "fine", f"{address} {trouble or 'is free'}", do if trouble else ""
            )


def _tcp_trouble(address: str) -> str:
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    if port in ("0", "*"):
        return ""
    host = "" if host == "*" else host.strip("[]")
    try:
        with socket.create_server((host, int(port)), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            return ""
    except (OSError, ValueError, OverflowError) as error:
        return f"cannot be bound: {error}"


def _ipc_trouble(address: str) -> str:
    path = Path(address.removeprefix("ipc://"))
    if len(os.fsencode(path)) > _IPC_LENGTH:
        return f"is longer than the {_IPC_LENGTH} bytes that a unix socket's path may have"
    if not os.access(path.parent, os.W_OK):
        return f"cannot be made: {path.parent} is not a folder one may write to"
    return ""


async def broker(settings: Mqtt, name: str) -> Finding:
    """Whether the MQTT broker lets us in."""
    import aiomqtt  # noqa: PLC0415

    from monitor.broker import open_client  # noqa: PLC0415

    where = f"{settings.host}:{settings.port}"
    try:
        async with asyncio.timeout(2 * PATIENCE_S), open_client(settings, f"{name}-doctor", clean=True):
            return Finding("mqtt", "fine", f"{where} lets us in")
    except (aiomqtt.MqttError, TimeoutError, ConfigError) as error:
        do = "check mqtt.host, port, tls, username and password_file, and whether the broker runs"
        return Finding("mqtt", "bad", f"{where}: {error or 'does not answer'}", do)
