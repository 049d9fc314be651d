"""`monitor completions`."""

from __future__ import annotations

import click

SHELLS = {
    "bash": 'eval "$(monitor completions bash)"    # in ~/.bashrc',
    "zsh": 'eval "$(monitor completions zsh)"    # in ~/.zshrc, after compinit',
    "fish": "monitor completions fish > ~/.config/fish/completions/monitor.fish",
}
"""Shell -> what its user does, once."""


@click.command(epilog="\b\n" + "\n".join(SHELLS.values()))
@click.argument("shell", type=click.Choice(list(SHELLS)))
@click.pass_context
def completions(ctx: click.Context, shell: str) -> None:
    """Print what lets SHELL complete the commands and options of `monitor`."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"this version of click knows nothing of {shell}")
    click.echo(kind(ctx.find_root().command, {}, "monitor", "_MONITOR_COMPLETE").source())
