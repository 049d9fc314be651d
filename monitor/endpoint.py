"""/metrics, /healthz and /readyz over HTTP: enough of HTTP/1.1 for Prometheus, a load balancer and curl."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping
from typing import NamedTuple

from monitor.core.errors import ConfigError

MOST_HEAD_BYTES = 8192
MOST_CONNECTIONS = 64
PATIENCE_S = 5.0

_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}


class Page(NamedTuple):
    """What a path gives."""

    status: int
    content_type: str
    body: str


def verdict(problems: list[str]) -> Page:
    """Fine, or what is wrong."""
    body = json.dumps({"status": "unavailable" if problems else "ok", "problems": problems}) + "\n"
    return Page(503 if problems else 200, "application/json", body)


class Endpoint:
    """A small HTTP server for pages that are made when they are asked for."""

    def __init__(self, listen: str, pages: Mapping[str, Callable[[], Page]]) -> None:
        """`listen` is HOST:PORT."""
        self._listen, self._pages = listen, pages
        self._open = 0
        self.port = 0
        """The port in use, once `run` has begun."""

    async def run(self) -> None:
        """Serve for ever; raises ConfigError when the address cannot be used."""
        host, _, port = self._listen.rpartition(":")
        try:
            server = await asyncio.start_server(self._serve, host.strip("[]"), int(port), limit=MOST_HEAD_BYTES)
        except (OSError, ValueError, OverflowError) as error:
            raise ConfigError(
                f"http.listen: cannot listen on {self._listen!r}: {error}; expected HOST:PORT"
            ) from error
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            await server.serve_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= MOST_CONNECTIONS:
                async with asyncio.timeout(PATIENCE_S):
                    writer.write(await self._reply(reader))
                    await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            pass  # whoever asked has gone, or is too slow
        finally:
            self._open -= 1
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _reply(self, reader: asyncio.StreamReader) -> bytes:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return self._encode(Page(400, "text/plain", "the request is too long\n"))
        return answer(head, self._pages)

    @staticmethod
    def _encode(page: Page, *, with_body: bool = True) -> bytes:
        body = page.body.encode()
        head = (
            f"HTTP/1.1 {page.status} {_REASONS[page.status]}\r\nContent-Type: {page.content_type}\r\n"
            f"Content-Length: {len(body)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
        )
        return head.encode() + (body if with_body else b"")


def answer(head: bytes, pages: Mapping[str, Callable[[], Page]]) -> bytes:
    """The response to the head of a request, whatever its bytes."""
    words = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        page = Page(400, "text/plain", "expected METHOD PATH HTTP/1.1\n")
    elif words[0] not in ("GET", "HEAD"):
        page = Page(405, "text/plain", "expected GET or HEAD\n")
    elif (make := pages.get(words[1].partition("?")[0])) is None:
        page = Page(404, "text/plain", f"expected one of {', '.join(sorted(pages))}\n")
    else:
        page = make()
    return Endpoint._encode(page, with_body=words[0] != "HEAD")  # noqa: SLF001 one of us
