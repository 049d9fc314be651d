"""Take the film of the dashboard that the README shows: docs/dashboard.gif, the real program on the demo's data.

    python docs/film.py

Needs rsvg-convert and the package pillow. Shows the dashboard without a terminal, presses keys as a watcher would,
and draws what is on the screen a few times a second.
"""

# ruff: noqa: INP001 - a script, not a package
from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path

from picture import is_interesting, tidy
from PIL import Image

from monitor.dashboard.app import Dashboard
from monitor.dashboard.choices import Choices
from monitor.dashboard.link import Link
from monitor.dashboard.state import Board
from monitor.demo import scene

HERE = Path(__file__).resolve().parent
SCRIPT = (
    (5.0, ()), (1.5, ("left_square_bracket",)), (1.5, ("left_square_bracket",)), (2.5, ("w",)),
    (1.0, ("escape", "end")), (2.0, ("o",)), (1.0, ("o",)), (1.5, ("s",)), (1.5, ("t", "t")),
    (1.0, ("t", "t", "t", "t")),
)  # fmt: skip
"""How long each piece lasts, in seconds, and the keys that are pressed before it."""


async def film(args: argparse.Namespace) -> list[tuple[float, str]]:
    """When each picture was taken, and the picture."""
    frames = []
    async with scene() as running:
        await running.send(speed=1.0, seconds=None)
        board = Board()
        link = Link(board, running.feed, running.control, clock=time.monotonic)
        app = Dashboard(board, link, Choices(selected=args.stream))
        async with app.run_test(size=(args.columns, args.rows)) as pilot:
            latest = time.monotonic() + args.wait
            started = time.monotonic() + args.seconds
            while time.monotonic() < latest and not (
                time.monotonic() > started and is_interesting(board, args.stream)
            ):
                await pilot.pause(0.05)
            for seconds, keys in SCRIPT:
                await pilot.press(*keys)
                end = time.monotonic() + seconds
                while time.monotonic() < end:
                    frames.append((time.monotonic(), app.export_screenshot(title="foretrace")))
                    await pilot.pause(1 / args.rate)
    return frames


def main() -> int:
    """Take it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stream", default="ecg/208")
    parser.add_argument("--columns", type=int, default=120)
    parser.add_argument("--rows", type=int, default=36)
    parser.add_argument("--seconds", type=float, default=25.0, help="how long to look before the film")
    parser.add_argument("--wait", type=float, default=60.0, help="how long at most")
    parser.add_argument("--rate", type=float, default=4.0, help="pictures a second")
    parser.add_argument("--width", type=int, default=760, help="of the film, in pixels")
    parser.add_argument("--out", type=Path, default=HERE / "dashboard.gif")
    args = parser.parse_args()
    taken = asyncio.run(film(args))
    pictures = []
    for _, svg in taken:
        command = ["rsvg-convert", "-w", str(args.width)]
        png = subprocess.run(command, input=tidy(svg).encode(), capture_output=True, check=True).stdout
        pictures.append(Image.open(BytesIO(png)).convert("RGB").quantize(48, dither=Image.Dither.NONE))
    times = [at for at, _ in taken]
    lasting = [max(round(1000 * (b - a)), 20) for a, b in zip(times, [*times[1:], times[-1] + 1.0], strict=True)]
    pictures[0].save(args.out, save_all=True, append_images=pictures[1:], duration=lasting, loop=0, optimize=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
