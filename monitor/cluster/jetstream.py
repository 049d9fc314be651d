"""What we ask of NATS JetStream: its JSON calls over nats-py's connection, no more of them than we need.

nats-py has no calls yet for pinned consumers (priority groups) and batched direct gets (ADR-42, ADR-31 of
nats-architecture-and-design), so these are spoken here as they stand there, and the few others with them.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import ssl
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import nats
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from monitor.config import Cluster
from monitor.core.errors import ConfigError, MonitorError, Unreachable

log = logging.getLogger(__name__)

CALL_S = 2.0
CONNECT_S = 5.0
_BATCH = 500
_UNAVAILABLE = 503
_NOT_FOUND = 10037
_WRONG_SEQUENCE = 10071
_MORE_REPLICAS = 10074


class Refused(MonitorError):
    """JetStream answered, and would not."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class Overtaken(Refused):
    """Somebody else has written since: compare-and-set failed."""


class Unanswered(MonitorError):
    """No answer in time, or nobody there to answer: between two leaders that is so for a few seconds."""


class Stored(NamedTuple):
    """A message that a stream holds."""

    seq: int
    subject: str
    data: bytes
    headers: Mapping[str, str]
    at_ns: int


class JetStream:
    """A connection to the cluster; it finds another server by itself when one is lost."""

    def __init__(self, client: Client) -> None:
        self.nats = client

    async def call(self, subject: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """An answer of the JetStream API; raises Unanswered, or Refused."""
        data = await self._request(f"$JS.API.{subject}", json.dumps(body or {}).encode(), None)
        answer: dict[str, Any] = json.loads(data)
        if error := answer.get("error"):
            raise _complaint(subject, error)
        return answer

    async def publish(
        self,
        subject: str,
        data: bytes,
        *,
        once: str = "",
        after: int | None = None,
        headers: Mapping[str, str] = {},
    ) -> int:
        """Store a message; its place in the stream, once a majority has it.

        With `once`, one that was stored under that id already is not stored again. With `after`, only when the
        last message of that subject has this place, 0 for none: else raises Overtaken. Raises Unanswered, after
        which it may be stored or not.
        """
        given = dict(headers)
        if once:
            given["Nats-Msg-Id"] = once
        if after is not None:
            given["Nats-Expected-Last-Subject-Sequence"] = str(after)
        answer = json.loads(await self._request(subject, data, given or None))
        if error := answer.get("error"):
            raise _complaint(subject, error)
        return int(answer["seq"])

    async def _request(self, subject: str, data: bytes, headers: dict[str, str] | None) -> bytes:
        try:
            answer = await self.nats.request(subject, data, timeout=CALL_S, headers=headers)
        except nats.errors.MaxPayloadError as error:
            raise Refused(f"{subject}: {len(data)} bytes exceed max_payload", 0) from error
        except (nats.errors.Error, TimeoutError, ConnectionError) as error:
            raise Unanswered(f"{subject}: {type(error).__name__}") from error
        return bytes(answer.data)

    async def last(self, stream: str, subject: str) -> Stored | None:
        """The newest message of a subject, as the stream's leader has it."""
        return await self._get(stream, {"last_by_subj": subject})

    async def get(self, stream: str, seq: int) -> Stored | None:
        """The message at a place, None when it is gone."""
        return await self._get(stream, {"seq": seq})

    async def _get(self, stream: str, which: Mapping[str, Any]) -> Stored | None:
        try:
            found = (await self.call(f"STREAM.MSG.GET.{stream}", which))["message"]
        except Refused as refusal:
            if refusal.code == _NOT_FOUND:
                return None
            raise
        data = base64.b64decode(found.get("data", ""))
        return Stored(found["seq"], found["subject"], data, {}, time_ns(found["time"]))

    async def read(self, stream: str, subject: str, first: int, last: int) -> AsyncIterator[Stored]:
        """Messages of a subject from place `first` to `last`, which is, or was, the place of one of them.

        Any copy of the stream may answer. One that is behind does not have `last` yet, and is asked again.
        """
        while first <= last:
            found = await self.read_some(stream, subject, {"seq": first})
            for message in found:
                if message.seq > last:
                    return
                yield message
                first = message.seq + 1
            if not found:
                state = (await self.call(f"STREAM.INFO.{stream}"))["state"]
                if state["first_seq"] > last:  # too old: no longer kept
                    return
                await asyncio.sleep(0.02)

    async def read_some(
        self, stream: str, subject: str, start: Mapping[str, Any], batch: int = _BATCH
    ) -> list[Stored]:
        """Up to `batch` messages of a subject from `start` on (`seq` or `start_time`), as many as there are."""
        inbox = self.nats.new_inbox()
        answers: asyncio.Queue[Msg] = asyncio.Queue()
        subscription = await self.nats.subscribe(inbox, cb=answers.put)
        found: list[Stored] = []
        try:
            request = {**start, "next_by_subj": subject, "batch": batch}
            await self.nats.publish(f"$JS.API.DIRECT.GET.{stream}", json.dumps(request).encode(), reply=inbox)
            async with asyncio.timeout(CALL_S):
                while True:
                    message = await answers.get()
                    headers = message.headers or {}
                    if status := headers.get("Status"):
                        if status == "503":
                            raise Unanswered(f"{stream}: nobody there")
                        return found
                    found.append(_stored(message.data, headers))
        except (TimeoutError, nats.errors.Error, ConnectionError) as error:
            if found:  # what came is in order and without holes, it only ended early
                return found
            raise Unanswered(f"{stream}: {type(error).__name__}") from error
        finally:
            with contextlib.suppress(nats.errors.Error):
                await subscription.unsubscribe()

    async def make(self, kind: str, settings: Mapping[str, Any]) -> None:
        """Create a stream, or leave it as it is where it is there already; raises ConfigError for a bad one."""
        try:
            await self.call(f"STREAM.CREATE.{kind}", {"name": kind, **settings})
        except Refused as refusal:
            if refusal.code == _MORE_REPLICAS:
                raise ConfigError(
                    f"cluster.replicas: {settings['num_replicas']} copies need as many servers: {refusal}"
                ) from refusal
            await self.call(f"STREAM.INFO.{kind}")  # there, with other settings: those count


def _complaint(subject: str, error: Mapping[str, Any]) -> MonitorError:
    said, code = f"{subject}: {error.get('description', error)}", int(error.get("err_code", 0))
    if error.get("code") == _UNAVAILABLE:
        return Unanswered(said)
    return Overtaken(said, code) if code == _WRONG_SEQUENCE else Refused(said, code)


def _stored(data: bytes, headers: Mapping[str, str]) -> Stored:
    at_ns = time_ns(headers["Nats-Time-Stamp"])
    return Stored(int(headers["Nats-Sequence"]), headers["Nats-Subject"], data, headers, at_ns)


def time_ns(text: str) -> int:
    """An RFC 3339 time with up to nine decimals, as nanoseconds since 1970."""
    whole, _, rest = text.partition(".")
    seconds = datetime.strptime(whole.rstrip("Z"), "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC).timestamp()
    return int(seconds) * 10**9 + int(rest.rstrip("Z").ljust(9, "0") if rest else 0)


def time_text(at_ns: int) -> str:
    """Nanoseconds since 1970 as RFC 3339 has them."""
    return f"{datetime.fromtimestamp(at_ns // 10**9, UTC):%Y-%m-%dT%H:%M:%S}.{at_ns % 10**9:09}Z"


@contextlib.asynccontextmanager
async def connected(settings: Cluster, name: str) -> AsyncIterator[JetStream]:
    """A connection to one of the servers; raises Unreachable when none answers, ConfigError for bad settings."""
    client = Client()
    password = _password_of(settings)

    async def complain(error: Exception) -> None:
        if not isinstance(error, nats.errors.SlowConsumerError | ConnectionError | nats.errors.Error):
            log.warning("nats: %r", error)

    closing = False

    async def lost() -> None:
        if not closing:
            log.warning("lost the connection to the cluster; looking for another server")

    async def found() -> None:
        where = client.connected_url
        log.info("connected again, to %s", where.netloc if where else "another server")

    try:
        async with asyncio.timeout(CONNECT_S):
            await client.connect(
                servers=list(settings.servers),
                name=name,
                user=settings.username or None,
                password=password,
                tls=_tls_of(settings),
                error_cb=complain,
                disconnected_cb=lost,
                reconnected_cb=found,
                connect_timeout=2,
                reconnect_time_wait=0.2,  # type: ignore[arg-type]
                max_reconnect_attempts=-1,
                ping_interval=2,
                max_outstanding_pings=2,
            )
    except (nats.errors.Error, TimeoutError, OSError) as error:
        await client.close()
        reason = f"{error}" or type(error).__name__
        raise Unreachable(f"no NATS server answers at {', '.join(settings.servers)}: {reason}") from error
    try:
        yield JetStream(client)
    finally:
        closing = True
        with contextlib.suppress(nats.errors.Error, OSError):  # nobody is there any more
            await client.close()


def _password_of(settings: Cluster) -> str | None:
    if not settings.password_file:
        return None
    try:
        return Path(settings.password_file).read_text().splitlines()[0]
    except (OSError, IndexError, UnicodeDecodeError) as error:
        raise ConfigError(f"cluster.password_file: cannot read a line from {settings.password_file}") from error


def _tls_of(settings: Cluster) -> ssl.SSLContext | None:
    if not any(server.startswith("tls://") for server in settings.servers):
        return None
    try:
        return ssl.create_default_context(cafile=settings.ca_file or None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"cluster.ca_file: expected certificates (PEM) in {settings.ca_file}: {error}"
        ) from error
