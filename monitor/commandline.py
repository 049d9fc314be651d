"""What the command lines of `monitor` and `training` share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

_LONGEST = 300


class Group(click.Group):
    """A group that says of each of its commands the whole first sentence; click would cut it at one line."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """See click.Group."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, one.get_short_help_str(_LONGEST)) for name, one in commands if one])


class NewFile(click.Path):
    """A file to be written, in a folder where that can be done: known before the work, and not after it."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, writable=True, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See click.ParamType."""
        folder = Path(value).absolute().parent
        if not (folder.is_dir() and os.access(folder, os.W_OK)):
            self.fail(f"{value}: {folder} is not a folder that one may write into", param, ctx)
        return super().convert(value, param, ctx)
