"""Commands of a running daemon: their schema, the server's loop, and a client.

ROUTER at the daemon, DEALER at the client; two frames each way, a request number and a MessagePack map.
A request names its `command`; a reply has `error` (empty when all went well) and `data`.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any, Self, TypeVar

import msgspec
import zmq

from monitor.core.blocks import Alarm, Beat, Event
from monitor.core.errors import MonitorError, SchemaError, Unreachable
from monitor.core.wire import Status, StreamState
from monitor.sockets import Socket

T = TypeVar("T")

RETRY_S = 1.0


class GetStatus(msgspec.Struct, frozen=True, tag_field="command", tag="status"):
    """How the daemon and its streams are doing -> Overview."""


class GetAlarms(msgspec.Struct, frozen=True, tag_field="command", tag="alarms"):
    """Alarms, newest first -> list[Alarm]."""

    active: bool = False
    """Only those that are not cleared."""
    stream: str = ""
    limit: int = 100


class Acknowledge(msgspec.Struct, frozen=True, tag_field="command", tag="acknowledge"):
    """Acknowledge one alarm, or all that are not -> list[Alarm], those that changed."""

    id: str = ""


class GetHistory(msgspec.Struct, frozen=True, tag_field="command", tag="history"):
    """The last seconds of a stream, for who comes late -> History."""

    stream: str
    seconds: float = 30.0


class GetModels(msgspec.Struct, frozen=True, tag_field="command", tag="models"):
    """The cards of the models that are loaded -> list of maps."""


Request = GetStatus | GetAlarms | Acknowledge | GetHistory | GetModels


class Overview(msgspec.Struct, frozen=True):
    """The answer to GetStatus."""

    status: Status
    streams: list[StreamState]


class History(msgspec.Struct, frozen=True):
    """The answer to GetHistory."""

    blocks: list[bytes]
    """Encoded blocks, oldest first (monitor.core.wire.decode_block)."""
    events: list[Event]
    beats: list[Beat]


class _Reply(msgspec.Struct, frozen=True):
    error: str = ""
    exit_code: int = 1
    data: msgspec.Raw = msgspec.Raw(msgspec.msgpack.encode(None))


async def serve(socket: Socket, answer: Callable[[Request], Any]) -> None:
    """Answer requests on a ROUTER socket for ever; a bad request gets an error, never an exception here."""
    while True:
        for frames in await socket.receive():
            if len(frames) != 3:
                continue
            client, number, payload = frames
            socket.send(client, number, msgspec.msgpack.encode(_answer(payload, answer)))


def _answer(payload: bytes, answer: Callable[[Request], Any]) -> _Reply:
    try:
        request: Request = msgspec.msgpack.decode(payload, type=Request)
        return _Reply(data=msgspec.Raw(msgspec.msgpack.encode(answer(request))))
    except (msgspec.DecodeError, RecursionError) as error:
        return _Reply(error=f"expected a request with a known command: {error}")
    except MonitorError as error:
        return _Reply(error=str(error), exit_code=error.exit_code)


class Client:
    """Asks a daemon; use as an asynchronous context manager."""

    def __init__(self, address: str, timeout_s: float = 3.0) -> None:
        self._address, self._timeout_s = address, timeout_s
        self._numbers = itertools.count()
        self._socket = Socket(zmq.DEALER, connect=address)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()

    async def ask(self, request: Request, kind: type[T]) -> T:
        """The daemon's answer as `kind`; raises Unreachable when none comes, MonitorError for a refusal."""
        number, payload = str(next(self._numbers)).encode(), msgspec.msgpack.encode(request)
        try:
            async with asyncio.timeout(self._timeout_s):
                while True:
                    # A request may vanish with a connection that is just being lost: ask again.
                    self._socket.send(number, payload)
                    try:
                        async with asyncio.timeout(RETRY_S):
                            return self._read(await self._answer(number), kind)
                    except TimeoutError:
                        continue
        except TimeoutError as error:
            raise Unreachable(
                f"no daemon answered at {self._address} within {self._timeout_s:g} s; "
                "is one running, and is this its control address?",
            ) from error

    async def _answer(self, number: bytes) -> bytes:
        while True:
            for frames in await self._socket.receive():
                if len(frames) == 2 and frames[0] == number:
                    return frames[1]

    def _read(self, payload: bytes, kind: type[T]) -> T:
        try:
            reply = msgspec.msgpack.decode(payload, type=_Reply)
            if not reply.error:
                return msgspec.msgpack.decode(reply.data, type=kind)
        except msgspec.DecodeError as error:
            raise SchemaError(f"the daemon at {self._address} speaks another version: {error}") from error
        refusal = MonitorError(reply.error)
        refusal.exit_code = reply.exit_code
        raise refusal


__all__ = [
    "Acknowledge",
    "Alarm",
    "Client",
    "GetAlarms",
    "GetHistory",
    "GetModels",
    "GetStatus",
    "History",
    "Overview",
    "Request",
    "serve",
]
