"""The dashboard in a real terminal, in a real terminal multiplexer, and in a real browser."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from tests.conftest import eventually, free_port, wait_until
from tests.dashboard.conftest import until
from tests.processes import children_of, runs
from tests.terminals import DEADLINE_S, on_a_terminal

SAMPLES = Path(__file__).parents[2] / "sample_streams"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.mark.parametrize("how", ["q", "ctrl+c", "SIGTERM"])
def test_quitting_leaves_the_terminal_clean(how):
    nobody = "tcp://127.0.0.1:1"
    with on_a_terminal("watch", "--feed", nobody, "--control", nobody) as terminal:
        data = terminal.read_until(b"DISCONNECTED")
        assert b"\x1b[?1049h" in data
        if how == "SIGTERM":
            terminal.process.send_signal(signal.SIGTERM)
        else:
            terminal.type(b"q" if how == "q" else b"\x03")
        rest = terminal.read_until(b"\x1b[?25h")
        assert terminal.ended() == 0
        assert b"\x1b[?1049l" in rest
        assert b"\x1b[?1003l" in rest  # the mouse is the terminal's again
        assert b"Traceback" not in rest
        assert terminal.is_restored()


def test_a_terminal_that_cannot_place_its_cursor_is_left_alone():
    with on_a_terminal("watch", TERM="dumb") as terminal:
        said = terminal.read_until(b"use another terminal")
        assert b"\x1b" not in said
        assert terminal.ended() == 2


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc to find the children")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_recording_that_is_looked_at_leaves_no_process_however_it_ends(tmp_path, how):
    recording = str(SAMPLES / "noisy-sine.csv")
    with on_a_terminal("watch", "--file", recording, TMPDIR=str(tmp_path)) as terminal:
        terminal.read_until(b"RECORDING")
        children = children_of(terminal.process.pid)
        # a daemon and a dashboard; the sender may have ended
        assert len([pid for pid in children if runs(pid)]) >= 2
        terminal.process.send_signal(how)
        # Read meanwhile, or a dashboard would wait for that.
        wait_until(lambda: terminal.read() is not None and not any(runs(pid) for pid in children), "their end")
        terminal.ended()
        if how is not signal.SIGKILL:  # then nobody is left to remove its folder
            assert list(tmp_path.iterdir()) == []


@pytest.fixture
def tmux(tmp_path):
    """A tmux server of our own; gives a function that runs one of its commands."""
    if shutil.which("tmux") is None:
        pytest.skip("no tmux here")
    inherited = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "TMUX")}
    name = f"foretrace-{uuid.uuid4().hex[:8]}"

    def run(*arguments: str) -> str:
        done = subprocess.run(
            ["tmux", "-L", name, "-f", "/dev/null", *arguments], capture_output=True, text=True, check=True,
            env={**inherited, "TMUX_TMPDIR": str(tmp_path), "TERM": "xterm-256color"},
        )  # fmt: skip
        return done.stdout

    yield run
    with contextlib.suppress(subprocess.CalledProcessError):
        run("kill-server")


async def test_in_a_terminal_multiplexer(tmux, daemon):
    """Waveforms come, keys work, a resize is followed, the daemon dies and comes back, quitting is clean."""
    running = asyncio.create_task(daemon.run())
    command = [sys.executable, "-m", "monitor", "watch", "--feed", daemon.feed, "--control", daemon.control]
    after = "; echo LEFT WITH $?; cat"
    tmux("new-session", "-d", "-s", "w", "-x", "80", "-y", "24", shlex.join(command) + after)

    async def seen(*wanted: str) -> None:
        end = time.monotonic() + DEADLINE_S
        while not all(text in (screen := tmux("capture-pane", "-p", "-t", "w")) for text in wanted):
            assert time.monotonic() < end, f"waited for {wanted} in vain:\n{screen}"
            await asyncio.sleep(0.05)

    await seen("● LIVE", "▸ ecg/208", "HR")
    tmux("send-keys", "-t", "w", "Space")
    await seen("FROZEN")
    tmux("send-keys", "-t", "w", "End")
    await seen("● LIVE")
    tmux("send-keys", "-t", "w", "o")
    await seen("▸ecg/208")
    tmux("send-keys", "-t", "w", "o")
    tmux("resize-window", "-t", "w", "-x", "120", "-y", "40")
    await seen("last ", "models")
    tmux("resize-window", "-t", "w", "-x", "20", "-y", "5")
    await seen("LIVE")
    tmux("resize-window", "-t", "w", "-x", "80", "-y", "24")
    daemon.state = "offline"
    daemon.publish_status()
    await seen("DISCONNECTED")
    daemon.state = "online"
    await seen("● LIVE")
    tmux("send-keys", "-t", "w", "q")
    await seen("LEFT WITH 0")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


class Browser:
    """A page of a headless browser, by the DevTools protocol."""

    def __init__(self, stream) -> None:
        self._stream, self._number = stream, 0

    async def ask(self, method: str, **params):
        self._number += 1
        await self._stream.send_json({"id": self._number, "method": method, "params": params})
        while True:
            answer = json.loads((await self._stream.receive()).data)
            if answer.get("id") == self._number:
                return answer["result"]

    async def value(self, expression: str):
        return (await self.ask("Runtime.evaluate", expression=expression))["result"].get("value")


@pytest.mark.slow
async def test_in_a_browser(daemon, tmp_path):
    """The page opens a dashboard that attaches to the daemon, draws, takes keys, and ends with the page."""
    pytest.importorskip("textual_serve", reason="no textual-serve here: pip install 'foretrace[web]'")
    import aiohttp

    program = next((p for p in BROWSERS if shutil.which(p)), None)
    if program is None:
        pytest.skip("no chromium here: apt install chromium")
    running = asyncio.create_task(daemon.run())
    port, debug = free_port(), free_port()
    where = ["--feed", daemon.feed, "--control", daemon.control, "--web", "--port", str(port)]
    server = subprocess.Popen(  # noqa: ASYNC220 - at once
        [sys.executable, "-m", "monitor", "watch", *where], stderr=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL)  # fmt: skip
    browser = subprocess.Popen(  # noqa: ASYNC220
        [program, "--headless", "--no-sandbox", "--disable-gpu", f"--remote-debugging-port={debug}",
         f"--user-data-dir={tmp_path}", "--window-size=1200,800", "about:blank"],
        stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with aiohttp.ClientSession() as session:

            async def fetched(url: str):
                end = time.monotonic() + DEADLINE_S
                while True:
                    try:
                        async with session.get(url) as answer:
                            return await answer.text()
                    except aiohttp.ClientError:
                        assert time.monotonic() < end, f"nothing answers at {url}"
                        await asyncio.sleep(0.05)

            await fetched(f"http://127.0.0.1:{port}/")
            pages = json.loads(await fetched(f"http://127.0.0.1:{debug}/json"))
            page = next(p for p in pages if p["type"] == "page")
            async with session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0) as stream:
                tab = Browser(stream)
                await tab.ask("Page.navigate", url=f"http://127.0.0.1:{port}/")
                end = time.monotonic() + DEADLINE_S
                while not await tab.value("document.body?.classList.contains('-first-byte')"):
                    assert time.monotonic() < end, "the dashboard said nothing to the page"
                    await asyncio.sleep(0.1)
                await until(lambda: any(r.__class__.__name__ == "GetHistory" for r in daemon.asked), "its history")
                picture = b""
                while len(picture) < 10_000:  # an empty page has less
                    assert time.monotonic() < end, "nothing was drawn on the page"
                    await asyncio.sleep(0.1)
                    picture = base64.b64decode((await tab.ask("Page.captureScreenshot", format="png"))["data"])
                await tab.ask("Page.navigate", url="about:blank")
    finally:
        for process in (browser, server):
            process.terminate()
            process.wait(DEADLINE_S)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc to find the children")
async def test_a_server_of_dashboards_that_is_killed_leaves_none_of_them(tmp_path):
    pytest.importorskip("textual_serve", reason="no textual-serve here: pip install 'foretrace[web]'")
    import aiohttp

    port, recording = free_port(), str(SAMPLES / "noisy-sine.csv")
    server = subprocess.Popen(  # noqa: ASYNC220 - at once
        [sys.executable, "-m", "monitor", "watch", "--file", recording, "--web", "--port", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    try:
        async with aiohttp.ClientSession() as session, asyncio.timeout(2 * DEADLINE_S):
            page = f"http://127.0.0.1:{port}/ws?width=80&height=24"
            while True:
                try:
                    stream = await session.ws_connect(page)
                    break
                except aiohttp.ClientError:
                    await asyncio.sleep(0.05)
            try:
                drawn = 0
                while drawn < 4096:
                    drawn += len((await stream.receive()).data or b"")
                children = children_of(server.pid)
                assert len(children) >= 3  # who opened the recording, a daemon, a dashboard
                server.kill()
                server.wait()
            finally:
                await stream.close()
            await eventually(lambda: not any(runs(pid) for pid in children), "their end")
    finally:
        server.kill()
        server.wait()


def test_without_a_terminal_it_says_so_and_ends():
    command = [sys.executable, "-m", "monitor", "watch"]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert "needs a terminal" in done.stderr
