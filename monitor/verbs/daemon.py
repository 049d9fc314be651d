"""`monitor run`, `check` and `config`."""

from __future__ import annotations

import functools
from pathlib import Path

import click
import msgspec

from monitor.config import Config
from monitor.core.errors import ConfigError
from monitor.verbs.options import as_json, child_option, config_options, configured, run_to_the_end


@click.command()
@config_options
@click.option("--verbose", is_flag=True, help="Log more.")
@click.option("--broker", is_flag=True, help="Run an MQTT broker, too, for who has none (extra `broker`).")
@child_option
def run(path: Path | None, settings: tuple[str, ...], verbose: bool, broker: bool, parent: int | None) -> None:
    """Run the daemon until Ctrl-C or SIGTERM.

    Without a configuration it listens for samples on tcp://127.0.0.1:5555, publishes on 5556 and takes commands
    on 5557. Streams named ecg/... and sine/... are served by the shipped models. With --broker devices can publish
    over MQTT to port 1883 of this machine.
    """
    from monitor.logs import log_to_stderr
    from monitor.process import run_daemon
    from monitor.reload import load_models

    config, _ = configured(path, settings)
    if broker and not config.mqtt.host:
        settings = (*settings, "mqtt.host=127.0.0.1")
        config, _ = configured(path, settings)
    log_to_stderr("debug" if verbose else config.log.level, config.log.format)
    read = functools.partial(_read_again, path, settings)
    run_to_the_end(run_daemon(config, load_models(config), read, with_broker=broker), parent)


def _read_again(path: Path | None, settings: tuple[str, ...]) -> Config:
    return configured(path, settings)[0]


@click.command()
@config_options
def check(path: Path | None, settings: tuple[str, ...]) -> None:
    """Read the configuration and the files it names, ask every model its known answer. Opens no socket."""
    from monitor.broker import check_settings
    from monitor.keys import read_allowed, read_key
    from monitor.reload import load_models

    config, _ = configured(path, settings)
    check_settings(config.mqtt)
    if config.keys.secret_file:
        read_key(config.keys.secret_file)
    if config.keys.allowed_file:
        read_allowed(config.keys.allowed_file)
    folder = Path(config.alarm_log.path).absolute().parent
    if not folder.is_dir():
        raise ConfigError(f"alarm_log.path: expected a file in a folder that is there, got no {folder}; make it")
    models = load_models(config)
    for name, model in models.items():
        click.echo(f"model {name}: {model.card.ident}, {model.card.task}, known answer holds")
    rules = len(config.streams)
    counted = f"{rules} stream rule{'s' * (rules != 1)}, {len(models)} model{'s' * (len(models) != 1)}"
    click.echo(f"configuration: fine ({counted})")


@click.command()
@config_options
@as_json
@click.option("--origin", is_flag=True, help="Say where each value comes from.")
@click.option("--sample", is_flag=True, help="Print a file to begin with instead: every key, explained.")
def config(path: Path | None, settings: tuple[str, ...], json_: bool, origin: bool, sample: bool) -> None:
    """Print the configuration that `monitor run` would use with the same options, as a file for --config."""
    from monitor.configfile import config_as_toml, sample_config, shown_config

    if sample:
        click.echo(sample_config(), nl=False)
        return
    current, origins = configured(path, settings)
    if json_:
        click.echo(msgspec.json.format(msgspec.json.encode(shown_config(current))))
        return
    click.echo(config_as_toml(current, origins if origin else None), nl=False)
