"""`monitor models`: what model files there are, and what a card says."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from monitor.commandline import Group
from monitor.core.errors import ModelError
from monitor.verbs.options import as_json


@click.group(cls=Group, invoke_without_command=True)
@click.option("--models", "folder", type=click.Path(path_type=Path), help="Folder of further models.")
@as_json
@click.pass_context
def models(ctx: click.Context, folder: Path | None, json_: bool) -> None:
    """List the models that a daemon could load."""
    if ctx.invoked_subcommand:
        return
    from monitor.inference import find_models, load_model
    from monitor.reload import card_summary

    rows: list[dict[str, object]] = []
    for name, path in find_models(folder).items():
        try:
            rows.append(card_summary(load_model(path)))
        except ModelError as error:
            rows.append({"name": name, "path": str(path), "error": str(error)})
    if json_:
        click.echo(msgspec.json.format(msgspec.json.encode(rows)))
        return
    for row in rows:
        if "error" in row:
            click.echo(f"{row['name']:16} refused: {row['error']}")
        else:
            click.echo(
                f"{row['name']:16} {row['task']:9} {row['cell']!s:5}{row['hidden']:>4} hidden "
                f"{row['rate_hz']:>6g} Hz  window {row['window']:>3}  {row['parameters']:>7} parameters"
            )


@models.command()
@click.argument("file", type=click.Path(path_type=Path))
@as_json
def inspect(file: Path, json_: bool) -> None:
    """Explain one model file: load it, ask its known answer, print its card."""
    from monitor.inference import find_models, load_model
    from monitor.reload import card_summary

    path = file if file.suffix else find_models(None).get(str(file), file)
    summary = card_summary(load_model(path))
    if json_:
        click.echo(msgspec.json.format(msgspec.json.encode(summary)))
        return
    for key, value in summary.items():
        click.echo(f"{key:17} {msgspec.json.encode(value).decode()}")
    click.echo(f"{'known answer':17} holds")
