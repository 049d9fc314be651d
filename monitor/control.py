"""Commands of a running daemon: their schema, the server's loop, and a client.

ROUTER at the daemon, DEALER at the client; two frames each way, a request number and a MessagePack map.
A request names its `command`; a reply has `error` (empty when all went well) and `data`.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import itertools
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

import msgspec
import zmq

from monitor.core.blocks import Alarm, Beat, Event, Note, Priority, Verdict
from monitor.core.errors import MonitorError, SchemaError, Unreachable
from monitor.core.evidence import Evidence
from monitor.core.published import Status, StreamState
from monitor.keys import Role
from monitor.sockets import Socket

T = TypeVar("T")

RETRY_S = 1.0
MAX_REQUEST_BYTES = 64 * 1024


class GetStatus(msgspec.Struct, frozen=True, tag_field="command", tag="status"):
    """How the daemon and its streams are doing -> Overview."""

    concluded: bool = False
    """Answer when all that has come is concluded and told."""


class GetAlarms(msgspec.Struct, frozen=True, tag_field="command", tag="alarms"):
    """Alarms, newest first -> list[Alarm]."""

    active: bool = False
    """Only those that are not cleared."""
    stream: str = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 100


class Acknowledge(msgspec.Struct, frozen=True, tag_field="command", tag="acknowledge"):
    """Acknowledge one alarm, or all that are not -> list[Alarm], those that changed."""

    id: str = ""


class SetBudget(msgspec.Struct, frozen=True, tag_field="command", tag="budget"):
    """Allow streams that have come so many alarms an hour, from here on -> list[str], the streams.

    It outlives a restart, and counts until it is taken back.
    """

    per_hour: Annotated[float, msgspec.Meta(ge=0, le=3600)] | None
    """0: none, the fixed level counts; null: what the configuration says."""
    stream: str = "*"
    """Shell patterns allowed, here and in `label`."""
    kind: Literal["deviation", "class"] = "deviation"
    label: str = "*"


class Silence(msgspec.Struct, frozen=True, tag_field="command", tag="silence"):
    """Let the alarms that call now be silent for a while; 0 seconds ends it -> float, seconds left."""

    seconds: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 120.0


class TestAlarm(msgspec.Struct, frozen=True, tag_field="command", tag="test"):
    """Raise an alarm that means nothing, to see that alarms arrive -> Alarm."""

    __test__ = False

    priority: Priority = "high"


class Mark(msgspec.Struct, frozen=True, tag_field="command", tag="mark"):
    """Judge an alarm true or false; an empty verdict takes it back -> Note."""

    alarm: str
    verdict: Verdict
    text: Annotated[str, msgspec.Meta(max_length=1000)] = ""
    author: Annotated[str, msgspec.Meta(max_length=60)] = ""


class Annotate(msgspec.Struct, frozen=True, tag_field="command", tag="annotate"):
    """Say something about a moment of a stream; with the id of a note, say something else -> Note."""

    stream: str
    t_ns: Annotated[int, msgspec.Meta(ge=0, lt=2**62)]
    text: Annotated[str, msgspec.Meta(max_length=1000)]
    author: Annotated[str, msgspec.Meta(max_length=60)] = ""
    id: Annotated[str, msgspec.Meta(max_length=60)] = ""


class GetNotes(msgspec.Struct, frozen=True, tag_field="command", tag="notes"):
    """What was said about signals and alarms, newest first -> list[Note]."""

    stream: str = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1000


class GetWhy(msgspec.Struct, frozen=True, tag_field="command", tag="why"):
    """Why an alarm was raised; without an id the newest one -> Why."""

    alarm: str = ""


class GetHistory(msgspec.Struct, frozen=True, tag_field="command", tag="history"):
    """The last seconds of a stream, for who comes late -> History."""

    stream: str
    seconds: float = 30.0


class GetModels(msgspec.Struct, frozen=True, tag_field="command", tag="models"):
    """The cards of the models that are loaded -> list of maps."""


class Record(msgspec.Struct, frozen=True, tag_field="command", tag="record"):
    """Record these streams (shell patterns) and no others; none ends it -> list[str], what is recorded."""

    streams: Annotated[tuple[Annotated[str, msgspec.Meta(max_length=200)], ...], msgspec.Meta(max_length=100)] = ()


class Reload(msgspec.Struct, frozen=True, tag_field="command", tag="reload"):
    """Read the configuration and the models again -> list[str], what came of it."""


Request = (
    GetStatus | GetAlarms | Acknowledge | SetBudget | Silence | TestAlarm | Mark | Annotate | GetNotes | GetWhy
    | GetHistory | GetModels | Record | Reload
)  # fmt: skip
COMMANDS = (Acknowledge, SetBudget, Silence, TestAlarm, Mark, Annotate, Record, Reload)
"""Requests that change something; the rest only asks."""


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


class Why(msgspec.Struct, frozen=True):
    """The answer to GetWhy."""

    alarm: Alarm
    evidence: Evidence | None
    """None where no model raised it, or it was too long ago (alarm_log.keep_windows)."""
    events: list[Event]
    """What was flagged while it lasted, oldest first, a thousand at most."""
    notes: list[Note]
    """Its verdict, and what was said of its stream meanwhile."""


class _Reply(msgspec.Struct, frozen=True):
    error: str = ""
    exit_code: int = 1
    data: msgspec.Raw = msgspec.Raw(msgspec.msgpack.encode(None))


def server_socket(address: str, keys: Mapping[int, int | bytes] | None = None) -> Socket:
    """The daemon's end; raises ConfigError for an address that cannot be bound."""
    return Socket(zmq.ROUTER, bind=address, options={zmq.MAXMSGSIZE: MAX_REQUEST_BYTES, **(keys or {})})


async def serve(
    socket: Socket, answer: Callable[[Request], Any], may: Callable[[str, Role], bool] | None = None
) -> None:
    """Answer requests on a ROUTER socket for ever; a bad request gets an error, never an exception here.

    `may` says whether a user, as the gate named it, has a role: "watch" may ask, "control" also command. Without
    it everybody may everything.
    """
    while True:
        for user, frames in await socket.receive_signed():
            if len(frames) != 3:
                continue
            client, number, payload = frames
            reply = await _answer(payload, answer, functools.partial(may, user) if may else None)
            socket.send(client, number, msgspec.msgpack.encode(reply))


async def _answer(payload: bytes, answer: Callable[[Request], Any], may: Callable[[Role], bool] | None) -> _Reply:
    try:
        request: Request = msgspec.msgpack.decode(payload, type=Request)
        if may and not (may("control") or (may("watch") and not isinstance(request, COMMANDS))):
            tag = request.__struct_config__.tag
            return _Reply(error=f"this key may ask, but not command: {tag} needs `control` in keys.allowed_file")
        answered = answer(request)
        if inspect.isawaitable(answered):
            answered = await answered
        return _Reply(data=msgspec.Raw(msgspec.msgpack.encode(answered)))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return _Reply(error=f"expected a request with a known command: {error}")
    except MonitorError as error:
        return _Reply(error=str(error), exit_code=error.exit_code)


class Client:
    """Asks a daemon; use as an asynchronous context manager."""

    def __init__(
        self, address: str, timeout_s: float = 3.0, keys: Mapping[int, int | bytes] | None = None
    ) -> None:
        """`keys` are the socket options of a key file, where the daemon asks for one."""
        self._address, self._timeout_s = address, timeout_s
        self._numbers = itertools.count()
        self._socket = Socket(zmq.DEALER, connect=address, options=keys)

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
                            return read_reply(await self._answer(number), kind, self._address)
                    except TimeoutError:
                        continue
        except TimeoutError as error:
            raise Unreachable(
                f"no daemon answered at {self._address} within {self._timeout_s:g} s; "
                "is one running, is this its control address, and does it know your key (--key)?",
            ) from error

    async def _answer(self, number: bytes) -> bytes:
        while True:
            for frames in await self._socket.receive():
                if len(frames) == 2 and frames[0] == number:
                    return frames[1]


def read_reply(payload: bytes, kind: type[T], address: str) -> T:
    """What the daemon at `address` answered; raises MonitorError for a refusal, SchemaError for anything else."""
    try:
        reply = msgspec.msgpack.decode(payload, type=_Reply)
        if not reply.error:
            return msgspec.msgpack.decode(reply.data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SchemaError(f"the daemon at {address} speaks another version: {error}") from error
    refusal = MonitorError(reply.error)
    refusal.exit_code = reply.exit_code
    raise refusal


__all__ = [
    "Acknowledge",
    "Alarm",
    "Annotate",
    "Client",
    "GetAlarms",
    "GetHistory",
    "GetModels",
    "GetNotes",
    "GetStatus",
    "GetWhy",
    "History",
    "Mark",
    "Overview",
    "Record",
    "Reload",
    "Request",
    "SetBudget",
    "Silence",
    "TestAlarm",
    "Why",
    "serve",
    "server_socket",
]
