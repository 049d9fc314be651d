"""Records from the feed of a running daemon: a client like any other, which the daemon never waits for.

Which streams there are is learned from the states that the daemon publishes of all of them, so a stream that
begins later is recorded as well; its first samples, from before we heard of it, come from the daemon's history.
"""

from __future__ import annotations

import asyncio
import contextlib

import msgspec
import zmq

from monitor.control import Client, GetHistory, GetStatus, History, Overview
from monitor.core.blocks import Alarm, Beat, Block, Event
from monitor.core.errors import MonitorError, SchemaError
from monitor.core.published import decode_beat, decode_event, decode_state
from monitor.core.wire import decode_block
from monitor.keys import Options
from monitor.recorder import Recorder
from monitor.sockets import Socket

SYNC_S = 1.0
_QUEUE = 100_000
_CATCH_UP_S = 600.0
"""More than a daemon keeps (feed.history_s): a fast replay is far ahead when we hear of it."""


class Recorded(msgspec.Struct, frozen=True):
    """What was recorded."""

    streams: int
    samples: int
    missing: int
    """Samples of gaps."""
    files: list[str]


class Recording:
    """One connection to a daemon and one recorder."""

    def __init__(
        self, recorder: Recorder, feed: str, control: str, prefix: str, keys: Options | None = None
    ) -> None:
        """`feed` and `control` are where the daemon publishes and answers."""
        self._recorder, self._prefix = recorder, prefix.encode() + b"/"
        self._client = Client(control, keys=keys)
        self._socket = Socket(zmq.SUB, connect=feed, options={zmq.RCVHWM: _QUEUE, **(keys or {})})
        self._socket.subscribe(b"all/" + self._prefix)
        self._streams: set[str] = set()
        self._late: asyncio.Queue[str] = asyncio.Queue()
        """Streams that began after us."""
        self._held: dict[str, list[Block]] = {}
        """What came of them, until their past is here."""
        self.ready = asyncio.Event()
        """The daemon has answered."""

    async def run(self) -> None:
        """Record until cancelled; raises Unreachable without a daemon, StorageLost when the disk is full."""
        overview = await self._client.ask(GetStatus(), Overview)
        for state in overview.streams:
            self._follow(state.stream)
        self.ready.set()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen())
            tasks.create_task(self._catch_up())
            tasks.create_task(self._sync())

    def _follow(self, stream: str) -> None:
        if stream in self._streams or not self._recorder.wants(stream):
            return
        self._streams.add(stream)
        for what in (b"samples", b"beats"):
            self._socket.subscribe(self._prefix + stream.encode() + b"/" + what)

    async def _listen(self) -> None:
        while True:
            for topic, payload in await self._socket.receive():
                with contextlib.suppress(SchemaError):  # another version's business
                    self._hear(topic, payload)

    def _hear(self, topic: bytes, payload: bytes) -> None:
        what = topic.rpartition(b"/")[2]
        if what == b"samples":
            block = decode_block(payload)
            if block.stream in self._held:
                self._held[block.stream].append(block)
            else:
                self._recorder.block(block)
        elif what == b"beats":
            self._recorder.notice(decode_beat(payload))
        elif what == b"events":
            if isinstance(notice := decode_event(payload), Event | Alarm):
                self._recorder.notice(notice)
        elif what == b"state":
            stream = decode_state(payload).stream
            if stream not in self._streams and self._recorder.wants(stream):
                self._held[stream] = []
                self._late.put_nowait(stream)
                self._follow(stream)

    async def _catch_up(self) -> None:
        """The past of streams that began after us, then what was held. What comes twice is left out."""
        while True:
            stream = await self._late.get()
            with contextlib.suppress(MonitorError):
                past = await self._client.ask(GetHistory(stream, _CATCH_UP_S), History)
                for payload in past.blocks:
                    self._recorder.block(decode_block(payload))
                notices: list[Event | Beat] = [*past.events, *past.beats]
                for notice in notices:
                    self._recorder.notice(notice)
            for block in self._held.pop(stream):
                self._recorder.block(block)

    async def _sync(self) -> None:
        while True:
            await asyncio.sleep(SYNC_S)
            self._recorder.sync()

    def close(self) -> Recorded:
        """Finish the files; what was recorded."""
        self._client.close()
        self._socket.close()
        self._recorder.close()
        done = self._recorder
        return Recorded(len(self._streams), done.samples, done.missing, [str(path) for path in done.files])
