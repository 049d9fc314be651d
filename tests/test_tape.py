"""Recording that a command switches on and off, in a process beside the daemon."""

from __future__ import annotations

import asyncio
import sqlite3

import pytest

from monitor.control import Client, GetAlarms, GetStatus, Overview, Record
from monitor.core.blocks import Alarm
from monitor.outlets import open_outlet
from monitor.recordings import read_recording
from monitor.senders import send
from tests.daemons import sine
from tests.processes import Process
from tests.test_cli import monitor

pytestmark = pytest.mark.slow


async def until(condition, what):
    """Poll until the awaited condition holds; what it gave."""
    try:
        async with asyncio.timeout(30):
            while not (found := await condition()):  # noqa: ASYNC110 the daemon has no event for us
                await asyncio.sleep(0.02)
    except TimeoutError:
        pytest.fail(f"waited 30 s for {what}")
    return found


async def status(client):
    return (await client.ask(GetStatus(), Overview)).status


async def test_it_records_from_on_to_off_and_ends_with_the_daemon(tmp_path):
    with Process(tmp_path, record__format="csv") as daemon:
        async with open_outlet(daemon.reliable, "signals") as outlet:
            await send(sine(samples=500), outlet, speed=0)
        on = await asyncio.to_thread(monitor, "record", "--on", "sine/*", "--control", daemon.control)
        assert (on.returncode, on.stdout) == (0, "recording sine/*\n"), on.stderr
        folder = tmp_path / "recordings"
        async with Client(daemon.control, 20) as client:
            assert (await status(client)).recorded == ("sine/*",)
            async with open_outlet(daemon.reliable, "signals") as outlet:
                await send(sine("sine/2", samples=1000), outlet, speed=100)

            async def written():
                return list(folder.glob("sine-2-*.csv"))

            await until(written, "a file")
        off = await asyncio.to_thread(monitor, "record", "--off", "--control", daemon.control)
        assert (off.returncode, off.stdout) == (0, "nothing is recorded\n"), off.stderr
        (path,) = folder.glob("sine-2-*.csv")
        read = read_recording(path)
        assert 500 < len(read.values) <= 1000
        async with Client(daemon.control, 20) as client:
            assert (await status(client)).recorded == ()
            await client.ask(Record(("*",)), list[str])
        assert daemon.stop() == 0


async def test_that_it_cannot_record_is_an_alarm_which_the_next_recording_ends(tmp_path):
    (tmp_path / "recordings").write_text("in the way")
    with Process(tmp_path) as daemon:
        async with Client(daemon.control, 20) as client:
            await client.ask(Record(("*",)), list[str])

            async def raised():
                return [a for a in await client.ask(GetAlarms(active=True), list[Alarm]) if a.label == "record"]

            (alarm,) = await until(raised, "an alarm")
            assert (alarm.stream, alarm.priority) == ("monitor", "high")
            assert "'recordings' is a file" in alarm.detail
            assert (await status(client)).recorded == ()
            (tmp_path / "recordings").unlink()
            await client.ask(Record(("*",)), list[str])
            assert await raised() == []

            async def on():
                return (await status(client)).recorded == ("*",)

            await until(on, "recording")
        assert daemon.stop() == 0
        with sqlite3.connect(daemon.db) as db:
            states = dict(db.execute("SELECT id, state FROM alarm WHERE label = 'record'").fetchall())
        db.close()
        assert states == {alarm.id: "cleared"}
