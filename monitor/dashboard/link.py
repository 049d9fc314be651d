"""The two sockets of the dashboard: what the daemon publishes, and what it is asked.

It never ends by itself: while the daemon is away it goes on listening and asking. After each (re)connection it
asks for what was missed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import zmq

from monitor.control import (
    Acknowledge,
    Client,
    GetAlarms,
    GetHistory,
    GetModels,
    GetNotes,
    GetStatus,
    History,
    Overview,
    Request,
)
from monitor.core.blocks import Alarm, Note
from monitor.core.errors import MonitorError, SchemaError, Unreachable
from monitor.core.published import (
    decode_beat,
    decode_event,
    decode_forecast,
    decode_scores,
    decode_state,
    decode_status,
)
from monitor.core.wire import decode_block
from monitor.dashboard.state import Board, Message
from monitor.sockets import Socket

T = TypeVar("T")

QUEUE = 20_000
"""Messages the socket holds for us; what comes beyond is dropped there, oldest kept."""
ASK_S = 2.0
RETRY_S = 0.5
HISTORY_S = 30.0
MOST_HISTORY_S = 600.0
MANY_ALARMS = 500
DETAILS = (b"samples", b"forecast", b"scores", b"beats")
"""What is subscribed for the streams that are shown; everything else comes for all of them."""

LAST_NS = 2**62
"""Times from here on are none; the sum of two still fits into 64 bits."""
_TIMES = ("t_ns", "t0_ns", "made_ns", "newest_ns", "raised_ns", "changed_ns", "start_ns", "end_ns", "silent_s")

_DECODERS: dict[str, Callable[[bytes], Message]] = {
    "samples": decode_block,
    "forecast": decode_forecast,
    "scores": decode_scores,
    "beats": decode_beat,
    "events": decode_event,
    "state": decode_state,
    "status": decode_status,
}


class Link:
    """Keeps a board up to date, and carries commands."""

    def __init__(
        self,
        board: Board,
        feed: str,
        control: str,
        *,
        prefix: str = "signals",
        clock: Callable[[], float],
        keys: Mapping[int, int | bytes] | None = None,
    ) -> None:
        """Open the sockets; raises ConfigError for an address that cannot be used."""
        self.feed, self.control = feed, control
        self._board, self._clock, self._keys = board, clock, keys or {}
        self._prefix = prefix.strip("/").encode() + b"/"
        self._client: Client | None = None
        self._asking = asyncio.Lock()
        self._wanted: dict[str, float] = {}
        self._fetched: dict[str, float] = {}
        self._woken = asyncio.Event()
        self._started_ns: int | None = None
        self._brief: set[str] = set()
        self._most_history_s = max(MOST_HISTORY_S, board.length_s)
        self._socket = Socket(zmq.SUB, connect=feed, options={zmq.RCVHWM: QUEUE, **self._keys})
        self._socket.subscribe(b"all/" + self._prefix)
        self._socket.subscribe(self._prefix + b"monitor/status")

    def close(self) -> None:
        """Give the sockets back."""
        self._socket.close()
        self._hang_up()

    def glance(self, streams: Iterable[str]) -> None:
        """Receive samples of these streams too, and nothing else of them, to show them in little."""
        wanted = set(streams) - self._wanted.keys()
        for name in self._brief - wanted:
            if name not in self._wanted:
                self._socket.unsubscribe(self._prefix + name.encode() + b"/samples")
                self._board.release(name)
        for name in wanted - self._brief:
            self._socket.subscribe(self._prefix + name.encode() + b"/samples")
        self._brief = wanted

    def want(self, streams: Mapping[str, float]) -> None:
        """Receive samples of just these streams, and fetch so many seconds of their past."""
        for name in self._brief & streams.keys():
            self._brief.discard(name)
            self._socket.unsubscribe(self._prefix + name.encode() + b"/samples")
        for name in self._wanted.keys() - streams.keys():
            self._each_detail(name, self._socket.unsubscribe)
            self._fetched.pop(name, None)
            self._board.release(name)
        for name in streams.keys() - self._wanted.keys():
            self._each_detail(name, self._socket.subscribe)
        self._wanted = {
            name: min(max(seconds, HISTORY_S), self._most_history_s) for name, seconds in streams.items()
        }
        if self._unfetched():
            self._woken.set()

    def _each_detail(self, name: str, do: Callable[[bytes], None]) -> None:
        for detail in DETAILS:
            do(self._prefix + name.encode() + b"/" + detail)

    def _unfetched(self) -> list[str]:
        return [name for name, seconds in self._wanted.items() if seconds > self._fetched.get(name, 0.0)]

    async def run(self) -> None:
        """Listen and ask, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen(), name="feed")
            tasks.create_task(self._keep_asking(), name="control")

    async def _listen(self) -> None:
        while True:
            for frames in await self._socket.receive():
                self._take(frames)
            await asyncio.sleep(0)  # a flood must not keep the screen waiting

    def _take(self, frames: list[bytes]) -> None:
        try:
            message = self._read(frames)
        except SchemaError:
            self._board.refuse()
        else:
            if message is not None:
                self._board.fold(message, self._clock())

    def _read(self, frames: list[bytes]) -> Message | None:
        topic = frames[0].removeprefix(b"all/").removeprefix(self._prefix).decode("ascii", "replace")
        name, _, what = topic.rpartition("/")
        if len(frames) != 2 or what not in _DECODERS:
            raise SchemaError(f"expected a topic and what it carries, got {topic[:80]!r}, {len(frames)} frames")
        if what.encode() in DETAILS and name not in self._wanted and name not in self._brief:
            return None  # it was on its way when we stopped looking
        message = _DECODERS[what](frames[1])
        for each in message if isinstance(message, list) else [message]:
            if getattr(each, "stream", name) != name:
                raise SchemaError(f"topic {topic!r} carries a message of another stream", stream=name)
            for field in _TIMES:
                if not 0 <= (getattr(each, field, None) or 0) < LAST_NS:
                    raise SchemaError(f"topic {topic!r}: {field} is not a time", stream=name)
        return message

    async def _keep_asking(self) -> None:
        while True:
            self._woken.clear()
            with contextlib.suppress(MonitorError):  # shown as "disconnected"; the next try is on its way
                await self._catch_up()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RETRY_S):
                    await self._woken.wait()

    async def _catch_up(self) -> None:
        """Ask for what is not known: everything after a (re)connection, else the past of newly shown streams."""
        board, status = self._board, self._board.status
        if not board.is_connected(self._clock()):
            self._started_ns = None
            if board.heard_s is not None:
                return  # what is on the screen stays there until the daemon is back
        if self._started_ns is None or status is None or status.started_ns != self._started_ns:
            overview = await self._ask(GetStatus(), Overview)
            board.fold_overview(overview.status, overview.streams, self._clock())
            self._started_ns = overview.status.started_ns
            self._fetched = {}
            for active in (False, True):  # one that is on may be older than the newest many
                board.fold_alarms(await self._ask(GetAlarms(active=active, limit=MANY_ALARMS), list[Alarm]))
            with contextlib.suppress(MonitorError):  # an older daemon knows of no notes, and shows no cards
                board.fold_notes(await self._ask(GetNotes(), list[Note]))
            with contextlib.suppress(MonitorError):
                board.fold_models(await self._ask(GetModels(), list[dict[str, Any]]))
        for name in self._unfetched():
            await self._fetch(name, self._wanted[name])

    async def _fetch(self, name: str, seconds: float) -> None:
        try:
            history = await self._ask(GetHistory(name, seconds), History)
            blocks = [decode_block(block) for block in history.blocks]
            self._board.fold_history(name, blocks, history.events, history.beats)
        except Unreachable:
            raise
        except MonitorError:
            pass  # it keeps none, or none that can be read: the trace begins now
        self._fetched[name] = seconds

    async def acknowledge(self, alarm_id: str) -> None:
        """Acknowledge an alarm; raises MonitorError when the daemon does not or cannot."""
        for alarm in await self._ask(Acknowledge(alarm_id), list[Alarm]):
            self._board.fold(alarm, self._clock())

    async def say(self, request: Request, kind: type[T]) -> T:
        """Tell the daemon something; raises MonitorError when it does not or cannot."""
        said = await self._ask(request, kind)
        if isinstance(said, Alarm | Note):
            self._board.fold(said, self._clock())
        return said

    async def _ask(self, request: Request, kind: type[T]) -> T:
        async with self._asking:
            if self._client is None:
                self._client = Client(self.control, ASK_S, self._keys)
            try:
                return await self._client.ask(request, kind)
            except Unreachable:
                self._hang_up()  # with it go requests that would otherwise be answered when nobody waits
                raise

    def _hang_up(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None
