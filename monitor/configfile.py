"""Reading the configuration: one TOML file and what overlays it, with where each value came from.

Flags win over the environment, the environment over the file, the file over the defaults. The environment has
one rule: MONITOR_SECTION__KEY=value sets `key` of `[section]`, MONITOR_KEY=value a key at the top. Values are
read as TOML where they are TOML, else as text.

Secrets come from files or from the environment, never from a flag, which every user of the machine can see; they
are never shown.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from monitor.complaints import complaint
from monitor.config import Config
from monitor.core.errors import ConfigError

Origins = dict[str, str]

SECRETS = frozenset({"mqtt.password"})
HIDDEN = "(hidden)"


def load_config(
    path: Path | None, environment: Mapping[str, str], flags: Iterable[tuple[str, str]] = ()
) -> tuple[Config, Origins]:
    """Read, overlay and check; raises ConfigError that names the path of a wrong key or value.

    `flags` are ("section.key", "value"). The second result says where each value that is not a default came from.
    """
    data, origins = _read(path) if path else ({}, {})
    for variable in sorted(environment):
        if variable.startswith("MONITOR_"):
            key = variable.removeprefix("MONITOR_").lower().replace("__", ".")
            _set(data, origins, key, environment[variable], f"environment {variable}")
    for key, value in flags:
        if key in SECRETS:
            raise ConfigError(f"{key}: a flag can be seen by every user of this machine; use {key}_file instead")
        _set(data, origins, key, value, f"flag {key}={value}")
    try:
        return msgspec.convert(data, Config), origins
    except msgspec.ValidationError as error:
        key, said = complaint(error, data, Config, SECRETS)
        origin = origins.get(key, "")
        where, by = (
            ("the configuration", f" (from {origin})") if origin and not origin.startswith("file") else (path, "")
        )
        raise ConfigError(f"{where or 'the configuration'}: {said}{by}") from error


def _read(path: Path) -> tuple[dict[str, Any], Origins]:
    try:
        data = tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: expected TOML: {error}") from error
    return data, {key: f"file {path}" for key, _ in _flat(data)}


def _set(data: dict[str, Any], origins: Origins, key: str, text: str, origin: str) -> None:
    try:
        value = text if key in SECRETS else tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *sections, name = key.split(".")
    target = data
    for section in sections:
        target = target.setdefault(section, {})
        if not isinstance(target, dict):
            raise ConfigError(f"{origin}: expected SECTION.KEY, and `{section}` is not a section")
    target[name] = value
    origins[key] = origin


def _flat(data: Mapping[str, Any], before: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in data.items():
        rows += _flat(value, f"{before}{key}.") if isinstance(value, dict) else [(f"{before}{key}", value)]
    return rows


def shown_config(config: Config) -> dict[str, Any]:
    """The configuration as maps and lists, its secrets hidden."""
    shown: dict[str, Any] = msgspec.to_builtins(config)
    for secret in SECRETS:
        section, _, key = secret.partition(".")
        if shown[section][key]:
            shown[section][key] = HIDDEN
    return shown


def sample_config() -> str:
    """The sample configuration, deploy/monitor.toml: every key with its default, commented."""
    here = Path(__file__).parent
    places = (here / "monitor.toml", here.parent / "deploy" / "monitor.toml")  # installed; in a checkout
    return next(place for place in places if place.is_file()).read_text()


def config_as_toml(config: Config, origins: Origins | None = None) -> str:
    """Every key with its value as TOML that `load_config` reads, secrets hidden; with `origins`, who said so."""
    lines: list[str] = []
    tables: list[str] = []
    for key, value in _flat(shown_config(config)):
        won = f"    # {origins.get(key, 'default')}" if origins is not None else ""
        if isinstance(value, list | tuple) and value and isinstance(value[0], dict):
            for entry in value:
                tables += ["", f"[[{key}]]{won}"]
                tables += [f"{name} = {_toml(one)}" for name, one in entry.items() if one is not None]
        else:
            lines.append(f"{key} = {_toml(value)}{won}")
    return "\n".join([*lines, *tables]) + "\n"


def _toml(value: Any) -> str:
    match value:
        case str():
            return json.dumps(value, ensure_ascii=False)
        case bool():
            return str(value).lower()
        case dict():
            return f"{{{', '.join(f'{_toml(key)} = {_toml(one)}' for key, one in value.items())}}}"
        case list() | tuple():
            return f"[{', '.join(map(_toml, value))}]"
        case _:
            return repr(value)
