"""What a frame costs: CPU of the whole dashboard process in a real pseudo-terminal, and bytes sent to it.

    python -m tests.dashboard.measure [--columns 160 --rows 36 --seconds 8 --streams one --keys s]

The feed runs in this process, the dashboard in a child; the child counts its frames.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import gc
import json
import os
import pty
import resource
import struct
import sys
import tempfile
import termios
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from monitor.core.blocks import NS, Alarm, Beat, Block, Event, Forecast, Kind, State
from monitor.dashboard.state import Board
from tests.dashboard.fake_feed import T0_NS, Ecg, FakeDaemon, streams


class Scene(NamedTuple):
    """What is looked at, and how."""

    columns: int = 160
    rows: int = 36
    streams: str = "all"
    extra: int = 0
    keys: str = ""
    seconds: float = 8.0
    hour: bool = False
    """Live through an hour of data first, and see what it leaves in memory."""


PLAIN = {"TERM": "xterm-256color", "COLORTERM": "truecolor"}


def child(args: argparse.Namespace, scene: Scene) -> None:
    from monitor.dashboard.app import Dashboard
    from monitor.dashboard.choices import Choices
    from monitor.dashboard.link import Link
    from monitor.dashboard.widgets.waveform import Waveforms

    board = Board()
    link = Link(board, args.feed, args.control, clock=time.monotonic)
    app = Dashboard(board, link, Choices(selected="ecg/208"), frames_s=25)
    marks: list[tuple[float, float]] = []
    update = Waveforms.update

    def counted(self: Waveforms, *rest: object) -> None:
        marks.append((time.monotonic(), cpu_s()))
        update(self, *rest)

    Waveforms.update = counted

    async def drive() -> None:
        await asyncio.sleep(2)
        for key in filter(None, scene.keys.split(",")):
            app.simulate_key(key)
        await asyncio.sleep(1)
        if scene.hour:
            result["growth_mib"] = await live_through_an_hour(board)
        marks.clear()
        Path(args.report + ".start").touch()  # noqa: ASYNC240 nothing else runs that would have to wait
        await asyncio.sleep(scene.seconds)
        lanes = len(app.screen.query_one(Waveforms)._lanes)
        (t0, c0), (t1, c1) = marks[0], marks[-1]
        frames = max(len(marks) - 1, 1)
        if not scene.hour:
            assert frames > 10, "the dashboard hardly drew"
        result.update({
            "lanes": lanes, "frames": frames, "frames_s": frames / (t1 - t0),
            "cpu_ms_a_frame": 1000 * (c1 - c0) / frames, "draw_ms": app.screen._draw_ms,
            "max_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        })  # fmt: skip
        app.exit()

    async def main() -> None:
        task = asyncio.create_task(drive())
        await app.run_async()
        await task

    result: dict[str, float] = {}
    gc.freeze()  # as `run` does
    asyncio.run(main())
    Path(args.report).write_text(json.dumps(result))


async def live_through_an_hour(board: Board) -> float:
    """Fold an hour of what one stream publishes; MiB that its last forty minutes have added."""
    feed = Ecg("ecg/208", 74, 11, 1)
    feed.channels = ("MLII",)
    steps = np.arange(1, 51) / 60
    before = 0.0
    for second in range(3600):
        t0_ns = T0_NS + (10_000 + second) * NS
        values = np.sin(np.arange(360) / 57).astype(np.float32)[:, None]
        block = Block("ecg/208", values, "hour", second * 360, t0_ns, 360.0, ("MLII",), "mV")
        mean = np.sin(steps).astype(np.float32)[:, None]
        forecast = Forecast("ecg/208", "m@1", t0_ns + NS - NS // 360, 60.0, mean, mean - 1, mean + 1)
        beat = Beat("ecg/208", t0_ns, "V", 0.9, 1.0, 60.0)
        event = Event("ecg/208", Kind.CLASS, "V", t0_ns, t0_ns, t0_ns + NS // 10, 0.9, 0.5, "m@1")
        alarm = Alarm(f"a{second}", "ecg/208", Kind.CLASS, "V", "low", State.CLEARED, t0_ns, t0_ns, 0.9, 0.5)
        for message in (block, forecast, beat, event, alarm):
            board.fold(message, time.monotonic())
        if second == 1200:
            before = rss_mib()
        if not second % 50:
            await asyncio.sleep(0)
    return rss_mib() - before


def rss_mib() -> float:
    """Memory in use now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def shown(kind: str) -> list[Any]:
    """The streams of a scene."""
    if kind == "lane":
        lane = Ecg("ecg/208", 74, 11, 1)
        lane.channels = ("MLII",)
        return [lane]
    if kind == "six":
        return [Ecg("ecg/208", 74, 11, 1), Ecg("ecg/100", 61, 0, 2), Ecg("ecg/300", 80, 17, 3)]
    return streams(kind)


def measure(scene: Scene) -> dict[str, float]:
    """The figures of a scene."""
    daemon = FakeDaemon(shown(scene.streams), extra=scene.extra)
    daemon.warm(30)
    threading.Thread(target=lambda: asyncio.run(daemon.run()), daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        report = str(Path(folder) / "report")
        started = time.monotonic()
        pid, terminal = pty.fork()
        if pid == 0:
            os.environ.update(PLAIN)
            os.environ.pop("SSH_CONNECTION", None)
            os.execv(sys.executable, [
                sys.executable, "-m", "tests.dashboard.measure", "--child", "--feed", daemon.feed, "--control",
                daemon.control, "--report", report, "--scene", json.dumps(scene),
            ])  # fmt: skip
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", scene.rows, scene.columns, 0, 0))
        counted, first = 0, 0.0
        try:
            while data := os.read(terminal, 65536):
                counted += len(data) if Path(report + ".start").exists() else 0
                first = first or (time.monotonic() - started if "\u2840".encode()[:2] in data else 0.0)
        except OSError:
            pass  # the child has gone
        os.waitpid(pid, 0)
        result = json.loads(Path(report).read_text())
    result["kib_a_frame"] = counted / 1024 / max(result["frames"], 1)
    result["first_waveform_s"] = first
    result["cpu_ms_a_frame_and_lane"] = result["cpu_ms_a_frame"] / result["lanes"]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--columns", type=int, default=160)
    parser.add_argument("--rows", type=int, default=36)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--streams", choices=("one", "lane", "six", "all"), default="all")
    parser.add_argument("--extra", type=int, default=0)
    parser.add_argument("--keys", default="")
    parser.add_argument("--child", action="store_true")
    parser.add_argument("--feed", default="")
    parser.add_argument("--control", default="")
    parser.add_argument("--report", default="")
    parser.add_argument("--scene", default="")
    args = parser.parse_args()
    if args.child:
        child(args, Scene(*json.loads(args.scene)))
    else:
        scene = Scene(args.columns, args.rows, args.streams, args.extra, args.keys, args.seconds)
        print(json.dumps(measure(scene), indent=2))  # noqa: T201


if __name__ == "__main__":
    main()
