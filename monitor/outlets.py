"""Where senders send: ZeroMQ that is fast, ZeroMQ that does not lose, MQTT."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Protocol

import aiomqtt
import msgspec
import zmq

from monitor.broker import check_settings, open_client
from monitor.config import Mqtt
from monitor.core.errors import ConfigError, Unreachable
from monitor.keys import Options
from monitor.sockets import Socket

CONNECT_S = 10.0
LATE_S = 1.0
"""After so long it is said that nobody has answered; with reliable+, when the first block is sent again."""
RESEND_S = 1.0
FLUSH_S = 30.0


class Outlet(Protocol):
    """Where a sender sends."""

    async def send(self, stream: str, payload: bytes) -> None:
        """Send one encoded block."""
        ...


@contextlib.asynccontextmanager
async def open_outlet(
    to: str,
    prefix: str,
    keys: Options | None = None,
    mqtt: Mqtt | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> AsyncIterator[Outlet]:
    """`to` is tcp:// or ipc://, the same after reliable+, or mqtt[s]://[USER@]HOST[:PORT].

    `keys` are the socket options of a key file, `mqtt` what else there is to say to a broker. `say` hears when a
    monitor is waited for. Raises ConfigError for any other `to`, Unreachable when nobody is there.
    """
    if to.startswith(("mqtt://", "mqtts://")):
        async with _MqttOutlet.open(to, prefix, mqtt or Mqtt()) as outlet:
            yield outlet
    elif to.startswith(("reliable+tcp://", "reliable+ipc://")):
        reliable = _ReliableOutlet(to.removeprefix("reliable+"), prefix, keys, say)
        try:
            yield reliable
            await reliable.flush()
        finally:
            reliable.close()
    elif to.startswith(("tcp://", "ipc://")):
        zeromq = _ZeroMQOutlet(to, prefix, keys, say)
        try:
            await zeromq.wait_for_receiver()
            yield zeromq
        finally:
            zeromq.close()
    else:
        raise ConfigError(
            f"--to: expected tcp://HOST:PORT or ipc://PATH (reliable+ before it for the way that does not lose), "
            f"or mqtt[s]://[USER@]HOST[:PORT], got {to!r}",
        )


class _ZeroMQOutlet:
    """An XPUB socket: it sees the receiver subscribe, so no first block is lost, and waits when it is full."""

    def __init__(self, address: str, prefix: str, keys: Options | None, say: Callable[[str], None]) -> None:
        self._address, self._prefix, self._say = address, prefix, say
        self._socket = Socket(zmq.XPUB, connect=address, options={zmq.XPUB_NODROP: 1, **(keys or {})})

    async def wait_for_receiver(self) -> None:
        late = _late(self._address, self._say)
        try:
            async with asyncio.timeout(CONNECT_S):
                await self._socket.receive()
        except TimeoutError as error:
            self._socket.close()
            raise Unreachable(
                f"no monitor listens at {self._address} (waited {CONNECT_S:g} s); start one with `monitor run`, "
                "and see whether it knows your key (--key)",
            ) from error
        finally:
            late.cancel()

    async def send(self, stream: str, payload: bytes) -> None:
        await self._socket.send_waiting(f"{self._prefix}/{stream}/samples".encode(), payload)

    def close(self) -> None:
        self._socket.close_after_sending(2.0)


class _ReliableOutlet:
    """A DEALER socket that keeps what is not acknowledged and sends it again; see monitor.sources.reliable."""

    def __init__(self, address: str, prefix: str, keys: Options | None, say: Callable[[str], None]) -> None:
        self._address, self._prefix, self._say = address, prefix, say
        name: Options = {zmq.ROUTING_ID: uuid.uuid4().hex.encode()}
        self._socket = Socket(zmq.DEALER, connect=address, options={**name, **(keys or {})})
        self._kept: deque[tuple[int, bytes, bytes]] = deque()
        self._next = 0
        self._credit = 1  # the first answer says how many
        self._began = time.monotonic()
        self._is_said = False

    @property
    def acknowledged(self) -> int:
        """Messages whose consequences are durable at the receiver."""
        return self._next - len(self._kept)

    async def send(self, stream: str, payload: bytes) -> None:
        while len(self._kept) >= self._credit:
            await self._listen()
        message = (self._next, f"{self._prefix}/{stream}/samples".encode(), payload)
        self._next += 1
        self._kept.append(message)
        self._post(message)
        self._hear(self._socket.drain())

    async def flush(self) -> None:
        """Wait until everything is acknowledged; raises Unreachable when that takes longer than FLUSH_S."""
        try:
            async with asyncio.timeout(FLUSH_S):
                while self._kept:
                    await self._listen()
        except TimeoutError as error:
            raise Unreachable(f"{self._address}: {len(self._kept)} blocks were never acknowledged") from error

    def _post(self, message: tuple[int, bytes, bytes]) -> None:
        number, topic, payload = message
        self._socket.send(self.acknowledged.to_bytes(8), number.to_bytes(8), topic, payload)

    async def _listen(self) -> None:
        """Hear acknowledgements; when none comes for a while, send everything that is kept again."""
        try:
            async with asyncio.timeout(RESEND_S):
                self._hear(await self._socket.receive())
        except TimeoutError:
            if not self.acknowledged and time.monotonic() - self._began > CONNECT_S:
                raise Unreachable(
                    f"no monitor listens at {self._address} (waited {CONNECT_S:g} s); "
                    "start one with zeromq.listen_reliable set to this address",
                ) from None
            if not (self.acknowledged or self._is_said):
                self._is_said = True
                self._say(_waiting(self._address))
            for message in self._kept:
                self._post(message)

    def _hear(self, answers: list[list[bytes]]) -> None:
        for frames in answers:
            if len(frames) != 2:
                continue
            done, self._credit = int.from_bytes(frames[0]), max(int.from_bytes(frames[1]), 1)
            while self._kept and self._kept[0][0] < done:
                self._kept.popleft()

    def close(self) -> None:
        self._socket.close()


def _late(address: str, say: Callable[[str], None]) -> asyncio.TimerHandle:
    return asyncio.get_running_loop().call_later(LATE_S, say, _waiting(address))


def _waiting(address: str) -> str:
    return f"no monitor has answered at {address} yet; waiting for one, {CONNECT_S:g} s at most"


class _MqttOutlet:
    """Publishes at QoS 1, one acknowledged block after the other."""

    def __init__(self, client: aiomqtt.Client, prefix: str) -> None:
        self._client, self._prefix = client, prefix

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, to: str, prefix: str, mqtt: Mqtt) -> AsyncIterator[_MqttOutlet]:
        scheme, _, rest = to.partition("://")
        user, _, where = rest.rstrip("/").rpartition("@")
        host, _, port = where.partition(":")
        if not host or not (port.isdecimal() or not port) or ":" in user:
            raise ConfigError(
                "--to: expected mqtt[s]://[USER@]HOST[:PORT], the password in a file or the environment"
                + (f", got {to!r}" if "@" not in to else "")
            )
        encrypted = scheme == "mqtts"
        settings = msgspec.structs.replace(
            mqtt,
            host=host,
            port=int(port or (8883 if encrypted else 1883)),
            tls=encrypted,
            ca_file=mqtt.ca_file if encrypted else "",
            cert_file=mqtt.cert_file if encrypted else "",
            key_file=mqtt.key_file if encrypted else "",
            username=user or mqtt.username,
        )
        check_settings(settings)
        try:
            async with open_client(settings, "", clean=True) as client:
                yield cls(client, prefix)
        except aiomqtt.MqttError as error:
            raise Unreachable(f"the broker at {to} does not answer: {error}") from error

    async def send(self, stream: str, payload: bytes) -> None:
        await self._client.publish(f"{self._prefix}/{stream}/samples", payload, qos=1)
