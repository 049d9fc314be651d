"""--help of commands that have commands of their own."""

from __future__ import annotations

import click

_LONGEST = 300


class Group(click.Group):
    """A group that says of each of its commands the whole first sentence; click would cut it at one line."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """See click.Group."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, one.get_short_help_str(_LONGEST)) for name, one in commands if one])
