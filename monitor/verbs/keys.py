"""`monitor keys`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("name")
@click.option(
    "--server", default="", metavar="KEY", help="For a client: the daemon's public key, or its key file."
)
@click.option(
    "--may",
    default="send,watch,control",
    show_default=True,
    help="What the client may: some of send, watch, control, joined by commas.",
)
@click.option("--out", type=click.Path(path_type=Path), help="File to write; NAME.key without it.")
def keys(name: str, server: str, may: str, out: Path | None) -> None:
    r"""Make a key file for NAME, and print what others need to know of it.

    \b
    monitor keys daemon                          daemon.key, for keys.secret_file
    monitor keys bedside-7 --server daemon.key --may send >> allowed.keys

    The second prints the line that keys.allowed_file wants; bedside-7.key goes to the client, for --key.
    """
    from monitor.core.errors import ConfigError
    from monitor.keys import ROLES, make_key, read_public, write_key

    if unknown := sorted(set(may.split(",")) - set(ROLES)):
        raise ConfigError(f"--may: expected some of {','.join(ROLES)}, got {','.join(unknown)}")
    key = make_key(name, read_public(server) if server else "")
    path = out or Path(f"{name}.key")
    write_key(key, path)
    click.echo(f"{key.public} {name} {may}" if server else key.public)
    click.echo(f"wrote {path}: keep it to its owner", err=True)
