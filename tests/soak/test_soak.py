"""Twenty seconds of the soak; `make soak MINUTES=10` is the real one."""

from __future__ import annotations

import pytest

from tests.soak.run import Soak


@pytest.mark.usefixtures("cut_connections")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
@pytest.mark.broker
@pytest.mark.xdist_group("broker")
async def test_twenty_seconds_of_faults_break_no_promise(tmp_path):
    soak = Soak(tmp_path, seconds=20.0, streams=40, seed=7)
    rows = await soak.run()
    for name, value in rows.items():
        print(f"{name}: {value}")  # noqa: T201
    assert soak.broken == []
