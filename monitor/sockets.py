"""ZeroMQ sockets on the event loop, drained rather than awaited message by message.

`zmq.asyncio` costs 14-26 us a message; waiting on the socket's file descriptor and then taking all there is
costs 1-4. The descriptor is edge-triggered: after any send or receive its events must be asked for again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping

import zmq

from monitor.core.errors import ConfigError

DRAIN_LIMIT = 128
"""Messages taken in one go, before other tasks get their turn."""


class Socket:
    """One ZeroMQ socket; receives lists of messages, each a list of frames."""

    def __init__(
        self,
        kind: int,
        *,
        bind: str = "",
        connect: str = "",
        options: Mapping[int, int | bytes] | None = None,
    ) -> None:
        """Open the socket and bind or connect it; raises ConfigError for an address that cannot be used."""
        self._socket: zmq.Socket[bytes] = zmq.Context.instance().socket(kind)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._edge: asyncio.Event | None = None
        """Set when somebody waits and should look again."""
        for option, value in (options or {}).items():
            self._socket.setsockopt(option, value)
        try:
            if bind:
                self._socket.bind(bind)
            if connect:
                self._socket.connect(connect)
        except zmq.ZMQError as error:
            self._socket.close()
            raise ConfigError(
                f"cannot {'bind' if bind else 'connect'} {bind or connect!r}: {error}; expected an address "
                "like tcp://127.0.0.1:5555 or ipc:///path that no other process uses",
            ) from error

    @property
    def address(self) -> str:
        """The address bound last, with the port that was given for a wildcard."""
        return self._socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def subscribe(self, topic: bytes) -> None:
        """A SUB socket wants topics that begin with `topic`."""
        self._socket.setsockopt(zmq.SUBSCRIBE, topic)

    def unsubscribe(self, topic: bytes) -> None:
        """Undo `subscribe`."""
        self._socket.setsockopt(zmq.UNSUBSCRIBE, topic)

    def send(self, *frames: bytes) -> bool:
        """Send without waiting; False when the socket's queue is full."""
        try:
            self._socket.send_multipart(frames, zmq.NOBLOCK, copy=True)
        except zmq.Again:
            return False
        finally:
            if self._edge is not None:  # sending may have swallowed the edge that a receiver waits for
                self._edge.set()
        return True

    def failures(self) -> Socket:
        """What ZeroMQ tells of connections that failed in their handshake: [event, address] each."""
        events = (
            zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
            | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
            | zmq.EVENT_HANDSHAKE_FAILED_AUTH
        )
        told = Socket.__new__(Socket)
        told._edge = None  # noqa: SLF001 one of us
        told._socket = self._socket.get_monitor_socket(events)  # noqa: SLF001 one of us
        return told

    def drain_signed(self) -> list[tuple[str, list[bytes]]]:
        """The same as `drain`, each message with the user id that the gate gave its sender."""
        messages: list[tuple[str, list[bytes]]] = []
        with contextlib.suppress(zmq.Again):
            while len(messages) < DRAIN_LIMIT:
                frames = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
                messages.append((_user_of(frames[-1]), [frame.bytes for frame in frames]))
        return messages

    async def receive_signed(self) -> list[tuple[str, list[bytes]]]:
        """The same as `receive`, each message with the user id that the gate gave its sender."""
        while not (messages := self.drain_signed()):
            await self._ready(zmq.POLLIN)
        return messages

    def drain(self) -> list[list[bytes]]:
        """What has come, without waiting; at most DRAIN_LIMIT messages."""
        messages: list[list[bytes]] = []
        receive = self._socket.recv
        with contextlib.suppress(zmq.Again):
            while len(messages) < DRAIN_LIMIT:
                # A frame knows whether more follow; to ask the socket costs half as much again.
                frame = receive(zmq.NOBLOCK, copy=False)
                frames = [frame.bytes]
                while frame.more:
                    frame = receive(zmq.NOBLOCK, copy=False)
                    frames.append(frame.bytes)
                messages.append(frames)
        return messages

    async def receive(self) -> list[list[bytes]]:
        """Wait for a message, then take all there are."""
        while not (messages := self.drain()):
            await self._ready(zmq.POLLIN)
        return messages

    async def send_waiting(self, *frames: bytes) -> None:
        """Send, waiting for room in the socket's queue."""
        while not self.send(*frames):
            await self._ready(zmq.POLLOUT)

    async def _ready(self, event: int) -> None:
        loop = asyncio.get_running_loop()
        descriptor = int(self._socket.getsockopt(zmq.FD))
        while not self._is_ready(event):
            self._edge = edge = asyncio.Event()
            loop.add_reader(descriptor, edge.set)
            try:
                if not self._is_ready(event):  # the edge may have passed before we listened
                    await edge.wait()
            finally:
                self._edge = None
                loop.remove_reader(descriptor)

    def _is_ready(self, event: int) -> bool:
        return bool(int(self._socket.getsockopt(zmq.EVENTS)) & event)

    def close(self) -> None:
        """Close at once; what is not yet sent is dropped."""
        self._socket.close(linger=0)

    def close_after_sending(self, seconds: float) -> None:
        """Close, keeping the context alive up to `seconds` for what is still queued."""
        self._socket.close(linger=round(seconds * 1000))


def _user_of(frame: zmq.Frame) -> str:
    try:
        return str(frame.get("User-Id"))
    except zmq.ZMQError:  # a socket without keys knows no users
        return ""
