"""Ending processes that ours have started."""

from __future__ import annotations

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, Process

from monitor.children import end

DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); signal.pause()"
OPEN = "import signal; print('up', flush=True); signal.pause()"


async def started(program: str) -> Process:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=PIPE)
    assert await process.stdout.readline() == b"up\n"
    return process


async def test_one_is_asked_to_end():
    process = await started(OPEN)
    await end(process, patience_s=60.0)
    assert process.returncode == -signal.SIGTERM


async def test_one_that_does_not_listen_is_killed():
    process = await started(DEAF)
    await end(process, patience_s=0.01)
    assert process.returncode == -signal.SIGKILL


async def test_one_that_has_ended_by_itself_is_left_alone():
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "raise SystemExit(3)")
    await process.wait()
    await end(process, patience_s=0.01)
    assert process.returncode == 3
