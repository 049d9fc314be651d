"""The dashboard as a program: `run` opens the sockets, shows the screen, and leaves the terminal clean."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from rich.console import RenderableType
from textual._compositor import ChopsUpdate
from textual.app import App
from textual.binding import BindingType
from textual.filter import LineFilter, NoColor
from textual.screen import Screen
from textual.theme import Theme

from monitor.core.errors import ConfigError
from monitor.dashboard.choices import Choices
from monitor.dashboard.finder import Finder
from monitor.dashboard.link import Link
from monitor.dashboard.narrow import NarrowUpdate
from monitor.dashboard.palette import Ink, Palette
from monitor.dashboard.screen import WatchScreen
from monitor.dashboard.state import Board
from monitor.dashboard.themes import BASIC, DARK, MONO, PALETTES, palette_named, rgb, theme_name

FRAMES_S = 25
FRAMES_OVER_SSH_S = 12
PARENT_S = 0.5
"""Between looks whether the process that started this one is still there."""


class Dashboard(App[None]):
    """Holds the state and the link; everything that is seen is on its screen."""

    TITLE = "foretrace"
    CSS_PATH = "app.tcss"
    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012 - declared by Textual, not as a class variable
        (0, "-slim"), (60, "-narrow"), (100, "-wide"), (130, "-wider"), (180, "-broad"),
    ]  # fmt: skip
    VERTICAL_BREAKPOINTS = [  # noqa: RUF012
        (0, "-flat"), (12, "-short"), (20, "-normal"), (36, "-tall"), (56, "-high"),
    ]  # fmt: skip
    BINDINGS: ClassVar[list[BindingType]] = [("ctrl+c", "quit", "Quit")]
    COMMANDS = {Finder}  # noqa: RUF012 - declared by Textual, not as a class variable

    def __init__(
        self,
        board: Board,
        link: Link,
        choices: Choices,
        *,
        frames_s: float = FRAMES_S,
        clock: Callable[[], float] = time.monotonic,
        on_signals: bool = False,
        parent: int | None = None,
    ) -> None:
        """`on_signals`: quit in good order on SIGTERM and SIGHUP too; and when the process `parent` has ended."""
        super().__init__()
        self.board, self.link, self.choices = board, link, choices
        self.frames_s, self.clock = frames_s, clock
        self._on_signals, self._started_by = on_signals, parent
        self.written: list[Path] = []
        """Files that the watcher had written."""
        if self.no_color:
            choices.palette = MONO
        for palette in PALETTES:
            self.register_theme(_theme(palette))
        self.theme = theme_name(choices.palette)

    def get_line_filters(self) -> Sequence[LineFilter]:
        """None but the one that takes all colours away: ours are no ANSI colours that need translation."""
        return [NoColor()] if self.no_color else []

    def _display(self, screen: Screen[Any], renderable: RenderableType | None) -> None:
        """Textual's way out to the terminal; updates are made narrow on it."""
        if type(renderable) is ChopsUpdate:
            renderable = NarrowUpdate.of(renderable)
        super()._display(screen, renderable)

    def on_mount(self) -> None:
        """Begin to listen."""
        if self._on_signals:
            for number in (signal.SIGTERM, signal.SIGHUP):
                asyncio.get_running_loop().add_signal_handler(number, self.exit)
        if self._started_by is not None:
            self.set_interval(PARENT_S, self._follow_parent)
        self.run_worker(self.link.run(), name="link")
        self.push_screen(WatchScreen(self.board, self.link, self.choices, self.frames_s, self.clock))

    def _follow_parent(self) -> None:
        if os.getppid() != self._started_by:
            self.exit()

    def on_unmount(self) -> None:
        """Give back what was taken."""
        self.link.close()
        if self._on_signals:
            with contextlib.suppress(RuntimeError):
                for number in (signal.SIGTERM, signal.SIGHUP):
                    asyncio.get_running_loop().remove_signal_handler(number)


def _theme(palette: Palette) -> Theme:
    return Theme(
        theme_name(palette),
        primary=rgb(palette, Ink.LOW),
        secondary=rgb(palette, Ink.TRACE),
        accent=rgb(palette, Ink.FORECAST),
        warning=rgb(palette, Ink.MEDIUM),
        error=rgb(palette, Ink.HIGH),
        success=rgb(palette, Ink.GOOD),
        foreground=rgb(palette, Ink.TEXT),
        background=rgb(palette, Ink.PAPER),
        surface=rgb(palette, Ink.PANEL),
        panel=rgb(palette, Ink.BAR),
        dark=palette.is_dark,
    )


def default_frames_s() -> float:
    """Fewer frames where they have to travel."""
    return FRAMES_OVER_SSH_S if os.environ.get("SSH_CONNECTION") else FRAMES_S


def run(
    feed: str,
    control: str,
    *,
    prefix: str = "signals",
    stream: str = "",
    theme: str = "",
    frames_s: float | None = None,
    length_s: float = 0.0,
    keys: Mapping[int, int | bytes] | None = None,
    parent: int | None = None,
) -> None:
    """Show the daemon that publishes at `feed` and answers at `control`, until the watcher quits.

    Both need not be there yet. Raises ConfigError for an address that cannot be used.

    Args:
        feed: ZeroMQ address of the daemon's feed, like tcp://127.0.0.1:5601.
        control: ZeroMQ address of its control socket.
        prefix: First part of every topic.
        stream: The stream to select at first; empty for the first there is.
        theme: Beginning of the name of a palette; empty for what suits the terminal.
        length_s: Of the recording that the daemon lives through; 0 when what it has is live.
        frames_s: Pictures a second at most; None for 25, or 12 over SSH.
        keys: Socket options of a key file, where the daemon asks for one.
        parent: Process that started this one and must not be outlived.
    """
    palette = palette_named(theme)
    if theme and palette is None:
        raise ConfigError(f"--theme: expected one of {', '.join(p.name for p in PALETTES)}, got {theme!r}")
    board = Board(length_s)
    link = Link(board, feed, control, prefix=prefix, clock=time.monotonic, keys=keys)
    choices = Choices(selected=stream, palette=palette or DARK)
    app = Dashboard(board, link, choices, frames_s=frames_s or default_frames_s(), on_signals=True, parent=parent)
    if app.console.color_system == "standard" and not app.no_color and palette is None:
        choices.palette = BASIC
    gc.freeze()  # what was imported stays: no need to look through it again every few frames
    app.run()
    for path in app.written:
        print(path)  # noqa: T201 - the dashboard has gone, and its messages with it
