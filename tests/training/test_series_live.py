"""A series that is no ECG, a sample every five minutes, watched live by a model made of its own past."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from monitor.control import Client, GetAlarms
from monitor.core.blocks import NS, Alarm
from monitor.outlets import open_outlet
from monitor.senders import blocks_of, send
from tests.conftest import eventually
from tests.processes import Process
from tests.training.test_series import QUICK, beats, timed
from training.cli import cli

pytestmark = pytest.mark.slow

CONFIG = """
models = "{folder}"

[[streams]]
name = "pump/*"
models = ["pump-forecast"]
quality = false
budget_per_hour = 0.02
limits = {{ value = [-40.0, 120.0] }}
"""


def saved_until(path: Path) -> int:
    """End of the newest samples in a daemon's file."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT coalesce(max(end_ns), 0) FROM recent").fetchone()[0]


async def test_a_slow_series_is_watched_with_limits_and_a_budget_also_after_a_crash(tmp_path: Path) -> None:
    path = timed(tmp_path / "pump.csv", beats(2400))
    run = CliRunner().invoke(cli, ["fit", path, "--out", str(tmp_path), "--no-report", *QUICK]).stdout.strip()
    (tmp_path / "models").mkdir()
    CliRunner().invoke(cli, ["export", run, "--out", str(tmp_path / "models" / "pump-forecast.onnx")])
    (tmp_path / "c.toml").write_text(CONFIG.format(folder=tmp_path / "models"))
    values = beats(1500, seed=5).astype(np.float32)[:, None]
    values[1200:1206] = 150.0

    def blocks(first: int, last: int):
        pieces = (values[at : at + 5] for at in range(first, last, 5))
        return blocks_of(
            pieces, stream="pump/1", rate_hz=1 / 300, channels=("value",), unit="",
            t0_ns=(1_700_000_000 + 300 * first) * NS,
        )  # fmt: skip

    with Process(tmp_path, file=tmp_path / "c.toml", state__checkpoint_s=0.1) as daemon:

        async def state():
            return (await daemon.states()).get("pump/1")

        async def sent(first: int, last: int) -> None:
            async with open_outlet(daemon.reliable, "signals") as outlet:
                await send(blocks(first, last), outlet, speed=0)

        await sent(0, 1000)
        before = await state()
        assert (before.ledger.received, before.warming) == (1000, False)
        assert before.windows > 400
        end_ns = (1_700_000_000 + 300 * 1000) * NS
        await eventually(lambda: saved_until(daemon.db) >= end_ns, "a checkpoint")
        daemon.kill()
        daemon.start()
        async with Client(daemon.control, 20) as client:
            assert not (await state()).warming, "its windows are full again"
            await sent(1000, 1500)

            async def alarms() -> list[Alarm]:
                return await client.ask(GetAlarms(limit=1000), list[Alarm])

            found: list[Alarm] = []

            async def look() -> bool:
                found[:] = await alarms()
                return any(alarm.kind == "limit" for alarm in found)

            for _ in range(200):
                if await look():
                    break
                await asyncio.sleep(0.05)
    limit = next(alarm for alarm in found if alarm.kind == "limit")
    assert 1198 <= (limit.raised_ns / NS - 1_700_000_000) / 300 <= 1207
    deviations = [alarm for alarm in found if alarm.kind == "deviation"]
    assert len(deviations) <= 8, "1500 samples are 125 hours, of which the budget allows two and a half alarms"
