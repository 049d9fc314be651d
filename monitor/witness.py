"""Hears what a daemon says of one stream, from before its first sample until it has said everything."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Self

import zmq

from monitor.control import Client, GetStatus, Overview
from monitor.core.blocks import NS, Alarm, Event
from monitor.core.errors import MonitorError, Unreachable
from monitor.core.published import decode_event
from monitor.keys import Options
from monitor.sockets import Socket

PATIENCE_S = 30.0
"""So long may a daemon take for its next sample, or an answer, before it is taken to have stopped."""
_ASK_S = 0.25
_GRACE_S = 2.0
_QUEUE = 100_000


class Witness:
    """A subscriber; use as an asynchronous context manager, it listens once it is entered."""

    def __init__(self, stream: str, feed: str, control: str, prefix: str, keys: Options | None = None) -> None:
        """`feed` and `control` are where the daemon publishes and answers."""
        self.heard: list[Event | Alarm] = []
        self._stream, self._feed = stream, feed
        self._client = Client(control, PATIENCE_S, keys)
        self._socket = Socket(zmq.SUB, connect=feed, options={zmq.RCVHWM: _QUEUE, **(keys or {})})
        # What is subscribed last is heard of last: whoever hears a status hears the events as well.
        self._socket.subscribe(f"{prefix}/{stream}/events".encode())
        self._status = f"{prefix}/monitor/status".encode()
        self._socket.subscribe(self._status)
        self._statuses = 0
        self._refused = 0
        """Blocks of any stream, before ours began."""
        self._listening: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        try:
            self._refused = (await self._client.ask(GetStatus(), Overview)).status.refused
            self._listening = asyncio.create_task(self._listen())
            await self._next_status()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Give the sockets back."""
        if self._listening:
            self._listening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._listening
        self._client.close()
        self._socket.close()

    async def hear_out(self, last_ns: int, rate_hz: float) -> None:
        """Wait until the daemon has received the sample at `last_ns` and concluded all that it means.

        Raises Unreachable when that does not come about, MonitorError where the daemon refuses the stream.
        """
        loop = asyncio.get_running_loop()
        newest_ns, since = -1, loop.time()
        while newest_ns < last_ns - 0.5 * NS / rate_hz:
            overview = await self._client.ask(GetStatus(), Overview)
            known = (state.newest_ns for state in overview.streams if state.stream == self._stream)
            before, newest_ns = newest_ns, next(known, -1)
            is_late = loop.time() - since > _GRACE_S  # it may be others who were refused
            if newest_ns < 0 and is_late and overview.status.refused > self._refused:
                raise MonitorError(
                    f"stream {self._stream!r}: the daemon refused what was sent, its log says why; is there an "
                    "entry under [[streams]] in its configuration whose name matches?"
                )
            if newest_ns != before:
                since = loop.time()
            elif loop.time() - since > PATIENCE_S:
                raise Unreachable(f"stream {self._stream!r}: its last samples never arrived at the daemon")
            await asyncio.sleep(_ASK_S)
        await self._client.ask(GetStatus(concluded=True), Overview)
        await self._next_status()

    async def _listen(self) -> None:
        while True:
            for topic, payload in await self._socket.receive():
                if topic == self._status:
                    self._statuses += 1
                else:
                    notice = decode_event(payload)
                    if isinstance(notice, Event | Alarm):
                        self.heard.append(notice)

    async def _next_status(self) -> None:
        """Wait for two more: the first may have been on its way already."""
        goal = self._statuses + 2
        try:
            async with asyncio.timeout(PATIENCE_S):
                while self._statuses < goal:
                    if self._listening and self._listening.done():
                        await self._listening
                    await asyncio.sleep(0.01)
        except TimeoutError as error:
            raise Unreachable(
                f"nothing is published at {self._feed}; is this the daemon's feed.publish?"
            ) from error


class NotAsExpected(MonitorError):
    """A replay did not cause what it should."""
