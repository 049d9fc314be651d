"""The network between a client and a broker, to be cut."""

from __future__ import annotations

import asyncio
import contextlib

from tests.conftest import free_port


class Cable:
    """A TCP proxy that can be cut and mended: the network between a client and a broker."""

    def __init__(self, target: int):
        self.port, self._target = free_port(), target
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def mend(self):
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self.port)

    async def cut(self):
        self._server.close()
        for writer in list(self._open):
            writer.transport.abort()
        self._open.clear()

    async def _carry(self, reader, writer):
        self._open.add(writer)
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
            self._open.add(far_writer)
            await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
            self._open.discard(far_writer)
        except OSError:  # whom it should reach is not there
            pass
        finally:
            writer.close()
            self._open.discard(writer)

    async def _pump(self, reader, writer):
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()
