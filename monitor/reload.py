"""Models and configuration, read again while the daemon runs.

A model file that changed is loaded and asked its known answer beside the running one; only when it proves itself
does it take over, between two turns of the pipeline, so that no sample is lost. One that does not is complained
about once, and the old one goes on. What of a configuration can only be had by a restart is said.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from monitor.config import Config
from monitor.core.ahead import sees_values
from monitor.core.errors import ConfigError, ModelError, MonitorError
from monitor.core.leapfrog import Leapfrog
from monitor.inference import Model, find_models, load_model

log = logging.getLogger(__name__)

LOOK_S = 2.0
"""Between two looks at the model files."""

_LIVE = {
    "models": "",
    "streams": "",
    "alarms": "",
    "inference": "max_batch max_wait_ms",
    "limits": "block_samples",
    "keys": "allowed_file",
    "alarm_log": "keep_events keep_days",
}
"""What takes effect without a restart: whole keys at the top, or some keys of a section."""

Signature = tuple[int, int, int]


def load_models(config: Config) -> dict[str, Model]:
    """The models that some stream asks for; raises ModelError or ConfigError with the reason."""
    models = {name: _load(path, name, config) for name, path in wanted_models(config).items()}
    for rule in config.streams:
        if rule.limits and not any(sees_values(models[name].card) for name in rule.models):
            raise ConfigError(
                f"streams: {rule.name}: limits: expected a forecaster that sees values in the stream's own unit "
                f"among the models, got {', '.join(rule.models)}"
            )
    return models


def _load(path: Path, name: str, config: Config) -> Model:
    model = load_model(path)
    for states in config.inference.leapfrog([name]).values():
        Leapfrog(model.card, 1, states)  # refuses one that cannot
    return model


def wanted_models(config: Config) -> dict[str, Path]:
    """The files of the models that some stream asks for; raises ModelError or ConfigError with the reason."""
    found = find_models(Path(config.models) if config.models else None)
    wanted = {name for rule in config.streams for name in rule.models}
    if unknown := sorted(set(config.inference.modes) - set(found)):
        raise ConfigError(
            f"inference.modes: expected some of {', '.join(sorted(found))}, got {', '.join(unknown)}"
        )
    if unknown := sorted(wanted - set(found)):
        raise ConfigError(
            f"streams: models: expected some of {', '.join(sorted(found))}, got {', '.join(unknown)}"
        )
    return {name: found[name] for name in sorted(wanted)}


def merge(old: Config, new: Config) -> tuple[Config, list[str]]:
    """The new configuration as far as a running daemon can take it, and the keys that need a restart."""
    taken: dict[str, Any] = {}
    restart: list[str] = []
    for name in Config.__struct_fields__:
        before, after = getattr(old, name), getattr(new, name)
        if name in _LIVE and not _LIVE[name]:
            taken[name] = after
        elif isinstance(before, msgspec.Struct):
            live = _LIVE.get(name, "").split()
            taken[name] = msgspec.structs.replace(before, **{key: getattr(after, key) for key in live})
            restart += [
                f"{name}.{key}"
                for key in before.__struct_fields__
                if key not in live and getattr(before, key) != getattr(after, key)
            ]
        elif before != after:
            restart.append(name)
    return msgspec.structs.replace(old, **taken), restart


def card_summary(model: Model) -> dict[str, object]:
    """The card without its known answers, which are for machines."""
    summary = _without_answers(msgspec.to_builtins(model.card))
    return {**summary, "path": model.path}


def _without_answers(card: dict[str, Any]) -> dict[str, Any]:
    """The second tier has one as well."""
    kept = {key: value for key, value in card.items() if key != "known_answer"}
    return {key: _without_answers(value) if isinstance(value, dict) else value for key, value in kept.items()}


class Reloader:
    """Watches the model files, and reads the configuration again when told to."""

    def __init__(
        self,
        config: Config,
        models: Mapping[str, Model],
        read: Callable[[], Config] | None,
        apply: Callable[[Config, Mapping[str, Model]], Any],
    ) -> None:
        """`read` gives the configuration as it stands now; `apply` is awaited with what came of it."""
        self._config, self._models, self._read, self._apply = config, dict(models), read, apply
        self._one_at_a_time = asyncio.Lock()
        self._seen = self._looked = self._look()

    async def watch(self) -> None:
        """Look for changed model files, for ever."""
        while True:
            await asyncio.sleep(LOOK_S)
            before, self._looked = self._looked, self._look()
            if self._looked != before:
                await self.reload(models_only=True)

    def _look(self) -> dict[str, Signature | None]:
        return {name: _signature(Path(model.path)) for name, model in self._models.items()}

    async def reload(self, *, models_only: bool = False) -> list[str]:
        """Read everything again, or the models only; what came of it, line by line."""
        async with self._one_at_a_time:
            return await self._reload(models_only=models_only)

    async def _reload(self, *, models_only: bool) -> list[str]:
        said: list[str] = []
        config = self._config
        try:
            if self._read and not models_only:
                config, restart = merge(config, self._read())
                said += [f"{key}: changed, and needs a restart; the old value goes on" for key in restart]
            wanted = wanted_models(config)
        except MonitorError as error:
            log.error("reload: %s; the old configuration goes on", error)  # noqa: TRY400 what is wrong is said
            return [f"not reloaded: {error}"]
        models: dict[str, Model] = {}
        for name, path in wanted.items():
            model = await self._model(name, path, said)
            if model is None:
                said.append("not reloaded: a model that streams ask for cannot be used")
                log.error("reload: %s; the old configuration goes on", said[-2])
                return said
            models[name] = model
        if models != self._models or config != self._config:
            await self._apply(config, models)
        self._config, self._models = config, models
        for line in said or ["nothing has changed"]:
            log.info("reload: %s", line)
        return said or ["fine"]

    async def _model(self, name: str, path: Path, said: list[str]) -> Model | None:
        """The model as its file has it now, the old one where that cannot be used, None where there is none."""
        old, signature = self._models.get(name), _signature(path)
        if old is not None and old.path == str(path) and self._seen.get(name) == signature:
            return old
        self._seen = {**self._seen, name: signature}  # a bad file is tried again when it changes again
        try:
            model = await asyncio.to_thread(_load, path, name, self._config)
        except ModelError as error:
            said.append(f"{error}; {'the old one goes on' if old else 'there is no old one'}")
            if old:
                log.error("reload: %s", said[-1])  # noqa: TRY400 what is wrong is said
            return old
        said.append(f"model {name}: now {model.card.ident} from {path}")
        return model


def _signature(path: Path) -> Signature | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
