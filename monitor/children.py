"""Processes that ours have started."""

from __future__ import annotations

import asyncio
import contextlib
from asyncio.subprocess import Process


async def end(process: Process, patience_s: float) -> None:
    """SIGTERM, and SIGKILL where that has not ended it within `patience_s`.

    Who has it write into a pipe goes on reading meanwhile: it may wait for that.
    """
    with contextlib.suppress(ProcessLookupError):  # it has ended by itself
        process.terminate()
        try:
            async with asyncio.timeout(patience_s):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
