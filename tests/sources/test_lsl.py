"""Real outlets of the Lab Streaming Layer, on this machine alone."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import subprocess
import sys

import pytest

from monitor.config import Config, Lsl
from monitor.core.errors import ConfigError
from tests.conftest import wait_until
from tests.documents import ROOT, blocks
from tests.processes import Process

needs_pylsl = pytest.mark.skipif(
    importlib.util.find_spec("pylsl") is None, reason="pylsl is not installed: pip install 'foretrace[lsl]'"
)
KIND = f"ECG-{os.getpid()}"
"""Of our outlets: others may test on this machine, too."""
SENDER = next(code for code in blocks("python", (ROOT / "docs" / "senders.md").read_text()) if "pylsl" in code)
SENDER = SENDER.replace('"ECG"', f'"{KIND}"')

HERE_ALONE = "[multicast]\nResolveScope = machine\n[ports]\nIPv6 = disable\n[log]\nlevel = -2\n"
"""Configuration of liblsl: nothing leaves the loopback."""


@pytest.fixture
def surroundings(tmp_path):
    (tmp_path / "lsl.cfg").write_text(HERE_ALONE)
    return {**os.environ, "LSLAPICFG": str(tmp_path / "lsl.cfg")}


@pytest.fixture
def send(surroundings):
    """Runs code that opens an outlet; it ends with the test."""
    started = []

    def start(code: str) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen([sys.executable, "-c", code], env=surroundings))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


@needs_pylsl
@pytest.mark.slow
def test_an_outlet_becomes_a_stream_and_comes_back_as_a_new_run(tmp_path, surroundings, send):
    daemon = Process(tmp_path, env=surroundings, lsl__query=f"type='{KIND}'", lsl__level="ecg")
    with daemon:

        def heard(samples):
            state = asyncio.run(daemon.states()).get("ecg/chest")
            return state if state and state.ledger.received >= samples else None

        sender = send(SENDER)
        wait_until(lambda: heard(1000), "the outlet's samples")
        state = heard(1000)
        assert (state.rate_hz, state.channels, state.unit) == (250.0, ("II",), "mV")
        assert (state.ledger.received, state.ledger.missing, state.ledger.runs) == (1000, 0, 1)
        sender.wait(30)
        wait_until(lambda: "its outlet has gone" in daemon.text(), "the loss to be noticed")
        send(SENDER.replace('"float32"', '"string"').replace("chest", "words"))
        send(SENDER)
        wait_until(lambda: heard(2000), "the second outlet's samples")
        assert heard(2000).ledger.runs == 2
        assert heard(2000).ledger.missing == 0
        wait_until(lambda: "words of" in daemon.text(), "the outlet of strings")
        assert daemon.stop() == 0
        assert "only numbers at a regular rate are samples" in daemon.text()


@needs_pylsl
def test_a_query_that_is_none_is_refused(surroundings):
    code = (
        "from monitor.config import Lsl; from monitor.sources.lsl import LslSource\n"
        "LslSource(Lsl(query=\"type='ECG' and (\"))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=surroundings, capture_output=True, text=True, check=False
    )
    assert "ConfigError: lsl.query: expected a query" in done.stderr


def test_without_pylsl_it_says_what_to_install(monkeypatch):
    from monitor.sources.lsl import LslSource

    monkeypatch.setitem(sys.modules, "pylsl", None)
    with pytest.raises(ConfigError, match=r"foretrace\[lsl\]"):
        LslSource(Lsl(query="type='ECG'"))


def test_by_default_nobody_looks_for_outlets():
    assert Config().lsl.query == ""
    done = subprocess.run(
        [sys.executable, "-c", "import sys, monitor.daemon; print('pylsl' in sys.modules)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "False\n"
