"""Take the picture of the dashboard that the README shows: docs/dashboard.svg, and a PNG where it can be made.

    python docs/picture.py
    python docs/picture.py --feed tcp://127.0.0.1:5601 --control tcp://127.0.0.1:5602

Starts the daemon and the senders of `monitor demo`, or attaches to a daemon that runs; shows the real dashboard
without a terminal for some seconds, presses keys if asked to, and saves the screen.
"""

# ruff: noqa: INP001 - a script, not a package
from __future__ import annotations

import argparse
import asyncio
import re
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from html import escape, unescape
from pathlib import Path

from monitor.dashboard.app import Dashboard
from monitor.dashboard.choices import Choices
from monitor.dashboard.link import Link
from monitor.dashboard.state import Board
from monitor.demo import scene

HERE = Path(__file__).resolve().parent
WIDE, HIGH, TOP = 12.2, 24.4, 1.5
"""Of a cell in Textual's picture, and where the first row begins."""
FONTS = "'DejaVu Sans Mono', Menlo, Consolas, monospace"
DOTS = ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (1, 3))
"""Column and row of each bit of a braille character."""
BLOCKS = {
    "▀": (0.0, 0.0, 1.0, 0.5), "▌": (0.0, 0.0, 0.5, 1.0), "▐": (0.5, 0.0, 0.5, 1.0),
    "▖": (0.0, 0.5, 0.5, 0.5), "▗": (0.5, 0.5, 0.5, 0.5), "▘": (0.0, 0.0, 0.5, 0.5), "▝": (0.5, 0.0, 0.5, 0.5),
}  # fmt: skip
"""Left, top, width and height of block characters, in cells."""
LINES = "─│┼"


class Drawing:
    """The characters of a screen as shapes and text.

    Dots, blocks and lines become paths, so that the picture looks the same whatever fonts its viewer has; every
    other character is put at its own cell.
    """

    def __init__(self) -> None:
        self._dots: defaultdict[str, list[str]] = defaultdict(list)
        self._blocks: defaultdict[str, list[str]] = defaultdict(list)
        self._lines: defaultdict[str, list[str]] = defaultdict(list)
        self._texts: list[str] = []

    def add(self, style: str, column: int, row: int, text: str) -> None:
        """Draw `text` from a cell on, in one style."""
        for i, c in enumerate(text):
            x, y = (column + i) * WIDE, row * HIGH + TOP
            code = ord(c)
            if 0x2800 < code <= 0x28FF:
                self._dots[style] += [
                    f"M{x + (0.27 + 0.46 * dx) * WIDE:.1f} {y + (0.125 + 0.25 * dy) * HIGH:.1f}h0"
                    for bit, (dx, dy) in enumerate(DOTS)
                    if (code - 0x2800) >> bit & 1
                ]
            elif c in BLOCKS or 0x2581 <= code <= 0x2588:
                share = (code - 0x2580) / 8
                left, top, width, height = BLOCKS.get(c) or (0, 1 - share, 1, share)
                box = (x + left * WIDE, y + top * HIGH, width * WIDE + 0.1, height * HIGH + 0.1)
                self._blocks[style].append("M{:.1f} {:.1f}h{:.1f}v{:.1f}h-{:.1f}z".format(*box, box[2]))
            elif c in LINES:
                if c != "│":
                    self._lines[style].append(f"M{x:.1f} {y + HIGH / 2:.1f}h{WIDE}")
                if c != "─":
                    self._lines[style].append(f"M{x + WIDE / 2:.1f} {y:.1f}v{HIGH}")
        for word in re.finditer(r"[^\s\u2500-\u259f\u2800-\u28ff]+", text):
            place = f'x="{(column + word.start()) * WIDE:.1f}" y="{row * HIGH + TOP + 18.5:.1f}"'
            length = f'textLength="{len(word[0]) * WIDE:.1f}"'
            self._texts.append(f'<text class="{style}" {place} {length}>{escape(word[0])}</text>')

    def svg(self, colours: dict[str, str]) -> str:
        """All of it; paths take their colour from the style of the same name."""
        parts = []
        for style, paths in self._lines.items():
            parts.append(f'<path stroke="{colours[style]}" stroke-width="1.2" d="{"".join(paths)}"/>')
        for style, paths in self._blocks.items():
            parts.append(f'<path fill="{colours[style]}" shape-rendering="crispEdges" d="{"".join(paths)}"/>')
        for style, paths in self._dots.items():
            parts.append(
                f'<path stroke="{colours[style]}" stroke-width="3.4" stroke-linecap="round" d="{"".join(paths)}"/>'
            )
        return "\n".join([*parts, *self._texts])


def tidy(svg: str) -> str:
    """Textual's picture of the screen with every cell drawn in its place, and no font fetched from elsewhere."""
    svg = re.sub(r"@font-face\s*{[^}]*}", "", svg)
    svg = re.sub(
        r"font-family: *Fira Code[^;]*;", "font-family: 'DejaVu Sans Mono', Menlo, Consolas, monospace;", svg
    )
    colours = dict(re.findall(r"\.([\w-]+-r\d+) { fill: (#[0-9a-f]{6})", svg))
    drawing = Drawing()

    def take_text(match: re.Match[str]) -> str:
        style, x, row, text = match.groups()
        drawing.add(style, round(float(x) / WIDE), int(row), unescape(text))
        return ""

    svg = re.sub(
        r'<text class="([\w-]+)" x="([\d.]+)" y="[\d.]+" textLength="[\d.]+" '
        r'clip-path="url\(#[\w-]+-line-(\d+)\)">([^<]*)</text>',
        take_text,
        svg,
    )
    svg = re.sub(r"<clipPath id=\"[\w-]+-line-\d+\">.*?</clipPath>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"\n\s*\n+", "\n", svg)
    end = svg.rindex("</g>", 0, svg.rindex("</g>"))
    return svg[:end] + drawing.svg(colours) + "\n" + svg[end:]


async def take(args: argparse.Namespace) -> str:
    """The picture of a daemon that runs, or of the demo."""
    if args.feed:
        return await shoot(args, args.feed, args.control)
    async with scene() as running:
        await running.send(speed=1.0, seconds=None)
        return await shoot(args, running.feed, running.control)


def is_interesting(board: Board, stream: str) -> bool:
    """Whether something flagged stands in the middle of what is seen, and an alarm calls."""
    view = board.streams.get(stream)
    if view is None or not board.calling:
        return False
    return any(1.0 < (view.newest_ns - band.to_ns) / 1e9 < 3.5 for band in view.bands)


async def shoot(args: argparse.Namespace, feed: str, control: str) -> str:
    """Run the dashboard until there is something to see, press the keys, and export its screen."""
    board = Board()
    link = Link(board, feed, control, prefix=args.prefix, clock=time.monotonic)
    app = Dashboard(board, link, Choices(selected=args.stream))
    async with app.run_test(size=(args.columns, args.rows)) as pilot:
        end = time.monotonic() + args.seconds
        latest = end + args.wait
        while time.monotonic() < end or (time.monotonic() < latest and not is_interesting(board, args.stream)):
            await pilot.pause(0.05)
        if args.keys:
            await pilot.press(*args.keys.split(","))
        await pilot.pause(0.5)
        return app.export_screenshot(title=args.title)


def main() -> int:
    """Take it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--feed", default="", help="of a running daemon; without it, the demo is started")
    parser.add_argument("--control", default="")
    parser.add_argument("--prefix", default="signals")
    parser.add_argument("--stream", default="ecg/208")
    parser.add_argument("--columns", type=int, default=140)
    parser.add_argument("--rows", type=int, default=44)
    parser.add_argument("--seconds", type=float, default=30.0, help="how long to look before the picture")
    parser.add_argument("--wait", type=float, default=60.0, help="how much longer at most, for an alarm to call")
    parser.add_argument("--keys", default="", help="keys to press before the picture, joined by commas")
    parser.add_argument("--title", default="foretrace")
    parser.add_argument("--out", type=Path, default=HERE / "dashboard.svg")
    args = parser.parse_args()
    args.out.write_text(tidy(asyncio.run(take(args))))
    converter = shutil.which("rsvg-convert")
    if converter:
        subprocess.run([converter, "-o", str(args.out.with_suffix(".png")), str(args.out)], check=True)
    else:
        print("no rsvg-convert here: only the SVG was written", file=sys.stderr)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
