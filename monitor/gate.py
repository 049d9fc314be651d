"""The gate: who may connect to the daemon's ZeroMQ sockets, and what they may ask for.

ZeroMQ asks over ZAP (RFC 27) for each connection: a request on an inproc socket, with the client's public key
and the domain of the socket it knocks at, which is the role it takes. Whoever is turned away learns nothing; the
log says who it was, once for each. There is one gate in a process, as ZeroMQ has it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import cast

import zmq
from zmq.utils import z85

from monitor.keys import OWNER, Allowed, KeyFile, Options, Role
from monitor.sockets import Socket

log = logging.getLogger(__name__)

_ZAP = "inproc://zeromq.zap.01"
_REMEMBERED = 1000
"""Strangers that are remembered, so that each is logged once; when full, the list begins anew."""


class Gate:
    """Knows the daemon's key and its clients; without a key every socket stays open to whoever reaches it."""

    def __init__(self, key: KeyFile | None = None, allowed: Mapping[bytes, Allowed] | None = None) -> None:
        """Take the place where ZeroMQ asks; `close` gives it back."""
        self.refused = 0
        """Connections that were turned away."""
        self._key = key
        self._strangers: set[str] = set()
        self._watched: list[tuple[str, Socket]] = []
        self._roles: dict[str, frozenset[Role]] = {}
        self._allowed: Mapping[bytes, Allowed] = {}
        self.allow(allowed or {})
        self._socket = Socket(zmq.ROUTER, bind=_ZAP) if key else None

    def allow(self, clients: Mapping[bytes, Allowed]) -> None:
        """From now on these may connect; who is connected already stays, with what it may do now."""
        self._allowed = clients
        self._roles = {client.name: client.may for client in clients.values()}

    def options(self, role: Role) -> Options:
        """Socket options for a socket whose clients must have this role."""
        return self._key.server_options(role) if self._key else {}

    def watch(self, socket: Socket, what: str) -> None:
        """Log who knocks at `socket` without any key: of those ZeroMQ does not ask."""
        if self._key:
            self._watched.append((what, socket.failures()))

    def may(self, user: str, role: Role) -> bool:
        """Whether `user`, as the socket tells it, has a role."""
        return self._key is None or user == OWNER or role in self._roles.get(user, ())

    async def run(self) -> None:
        """Answer for ever."""
        async with asyncio.TaskGroup() as group:
            if self._socket is not None:
                group.create_task(self._answer(self._socket), name="zap")
            for what, failures in self._watched:
                group.create_task(self._listen(what, failures), name=f"failures of {what}")

    async def _answer(self, socket: Socket) -> None:
        while True:
            for frames in await socket.receive():
                socket.send(*self._verdict(frames))

    def _verdict(self, frames: list[bytes]) -> list[bytes]:
        envelope, empty, version, request, domain, address, _, mechanism, *credentials = frames
        role = domain.decode("utf-8", "replace")
        user = self._user(mechanism, credentials, cast("Role", role))
        if user:
            return [envelope, empty, version, request, b"200", b"", user.encode(), b""]
        key = z85.encode(credentials[0]).decode() if credentials and len(credentials[0]) == 32 else "none"
        known = self._allowed.get(credentials[0]) if credentials else None
        who = f"{known.name}, which may not {role}" if known else f"the unknown key {key}"
        self._turn_away(f"{role}: refused a connection from {address.decode('utf-8', 'replace')} with {who}")
        return [envelope, empty, version, request, b"400", b"not allowed", b"", b""]

    def _user(self, mechanism: bytes, credentials: list[bytes], role: Role) -> str:
        """Who this is; empty when it may not come in."""
        if self._key is None or mechanism != b"CURVE" or len(credentials) != 1 or len(credentials[0]) != 32:
            return ""
        if credentials[0] == z85.decode(self._key.public):
            return OWNER
        client = self._allowed.get(credentials[0])
        # Whoever watches also asks, on the control socket; what they ask there is looked at one by one.
        asked: set[Role] = {"watch", "control"} if role == "control" else {role}
        return client.name if client and asked & client.may else ""

    async def _listen(self, what: str, failures: Socket) -> None:
        while True:
            for event in await failures.receive():
                if (
                    int.from_bytes(event[0][:2], "little") != zmq.EVENT_HANDSHAKE_FAILED_AUTH
                ):  # those are told above
                    self._turn_away(f"{what}: refused a connection without a key, or encrypted for another daemon")

    def _turn_away(self, complaint: str) -> None:
        self.refused += 1
        if len(self._strangers) >= _REMEMBERED:
            self._strangers.clear()
        if complaint not in self._strangers:
            self._strangers.add(complaint)
            log.warning("%s (further attempts are counted, not logged)", complaint)

    def close(self) -> None:
        """Give the sockets back."""
        for _, failures in self._watched:
            failures.close()
        if self._socket is not None:
            self._socket.close()
