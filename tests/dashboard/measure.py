"""What a frame costs: CPU of the whole dashboard process in a real pseudo-terminal, and bytes sent to it.

    python -m tests.dashboard.measure [--columns 160 --rows 36 --seconds 8 --streams one --keys s]

The feed runs in this process, the dashboard in a child; the child counts its frames.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
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

from tests.dashboard.fake_feed import FakeDaemon, streams

PLAIN = {"TERM": "xterm-256color", "COLORTERM": "truecolor"}


def child(args: argparse.Namespace) -> None:
    from monitor.dashboard.app import Dashboard
    from monitor.dashboard.choices import Choices
    from monitor.dashboard.link import Link
    from monitor.dashboard.state import Board
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
        for key in filter(None, args.keys.split(",")):
            app.simulate_key(key)
        await asyncio.sleep(1)
        marks.clear()
        Path(args.report + ".start").touch()  # noqa: ASYNC240 nothing else runs that would have to wait
        await asyncio.sleep(args.seconds)
        lanes = len(app.screen.query_one(Waveforms)._lanes)
        (t0, c0), (t1, c1) = marks[0], marks[-1]
        frames = len(marks) - 1
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
    asyncio.run(main())
    Path(args.report).write_text(json.dumps(result))


def cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def measure(args: argparse.Namespace) -> dict[str, float]:
    daemon = FakeDaemon(streams(args.streams), extra=args.extra)
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
                daemon.control, "--report", report, "--seconds", str(args.seconds), "--keys", args.keys,
            ])  # fmt: skip
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", args.rows, args.columns, 0, 0))
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
    parser.add_argument("--streams", choices=("one", "all"), default="all")
    parser.add_argument("--extra", type=int, default=0)
    parser.add_argument("--keys", default="")
    parser.add_argument("--child", action="store_true")
    parser.add_argument("--feed", default="")
    parser.add_argument("--control", default="")
    parser.add_argument("--report", default="")
    args = parser.parse_args()
    if args.child:
        child(args)
    else:
        print(json.dumps(measure(args), indent=2))  # noqa: T201


if __name__ == "__main__":
    main()
