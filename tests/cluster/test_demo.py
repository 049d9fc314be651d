"""`make demo-cluster`, as whoever meets the cluster first sees it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.xdist_group("cluster")]

ROOT = Path(__file__).parents[2]


def test_worker_server_and_bridge_are_killed_and_nothing_is_lost():
    stamps = [part for name in (".demo", ".demo-cluster", ".dev") for part in ("-o", f"{sys.prefix}/{name}")]
    demo = "DEMO=--for 10 --streams 8 --json"
    done = subprocess.run(
        ["make", "--silent", "demo-cluster", f"VENV={sys.prefix}", demo, *stamps],
        cwd=ROOT, capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    print(found)  # noqa: T201 the numbers belong to the test's output
    assert found["stored_blocks"] == found["sent_blocks"] == found["blocks"] > 350
    assert [found[key] for key in ("missing", "doubled", "out_of_order", "differing")] == [0, 0, 0, 0]
    assert found["told"] > 0
