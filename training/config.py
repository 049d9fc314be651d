"""What one training run is made of: frozen structs, read from a TOML file, changed by `key=value`.

An unknown key or a value of the wrong type is a ConfigError that names its path and what was expected.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from monitor.complaints import complaint
from monitor.core.card import Task
from monitor.core.conditioning import Conditioning
from monitor.core.errors import ConfigError
from training.config_checks import check
from training.shape import ModelShape, SecondShape
from training.sources import Feedback, Minutes, RecordingData, RecordsData, SimulatedData, SymbolsData

__all__ = [
    "Feedback",
    "FitConfig",
    "Flat",
    "Minutes",
    "ModelShape",
    "RecordingData",
    "RecordsData",
    "Schedule",
    "SimulatedData",
    "SymbolsData",
    "base_of",
    "flat",
    "load_config",
    "value_of",
]


class Schedule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How it is trained."""

    epochs: int = 20
    batch: int = 64
    epoch_windows: int = 20_000
    """Windows drawn for an epoch, at most."""
    hop: int = 7
    """Steps from one training window to the next."""
    first_step: int = 26
    """The loss counts at every step from this one to the last, so that the model also answers on fewer steps."""
    learning_rate: float = 4e-3
    """The highest one of the schedule."""
    weight_decay: float = 1e-3
    clip: float = 1.0
    """Norm that gradients are cut to; 0 for no cutting."""
    patience: int = 8
    """Epochs without a better validation loss after which training stops."""
    rare_share: float = 0.0
    """Share of the windows drawn among those with a labelled sample that is not of the first class."""
    class_weights: tuple[float, ...] = ()
    false_alarms_per_hour: float = 2.0
    """classify: what the threshold may cost on the calibration data."""
    loss: Literal["usual", "mse", "huber", "pinball", "cross-entropy"] = "usual"
    """Of a forecast mse (usual), huber, or pinball, which makes it a median; of classes cross-entropy."""
    schedule: Literal["one-cycle", "cosine", "constant"] = "one-cycle"
    """How the learning rate goes: up and then down (Smith & Topin 2018), only down, or not at all."""
    stateful: bool = False
    """Read each series from its start to its end in chunks of one window, and carry the state from chunk to chunk:
    the network may use what is older than its window. See training/pools.py."""
    forget: float = 0.1
    """stateful: how often, from never (0) to always (1), a row begins a chunk without a memory."""


class FitConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that decides what a run gives, together with the data."""

    name: str
    version: str = "1"
    task: Task
    seed: int = 0
    unit: str = ""
    intended_use: str = "Research and teaching. Not a medical device."
    data: SimulatedData | RecordsData | RecordingData | SymbolsData
    conditioning: Conditioning = Conditioning()
    model: ModelShape = ModelShape()
    train: Schedule = Schedule()
    labels: Feedback | None = None
    """What people said of the alarms of a model like this one."""
    second: SecondShape | None = None
    """beats: a second tier, over the beats; asks for `data.folds`."""


def load_config(path: Path | None, sets: Sequence[str] = (), base: dict[str, Any] | None = None) -> FitConfig:
    """The configuration in the file at `path`, over `base`, under the `key=value` of `sets`."""
    where = str(path) if path else "command line"
    tree = dict(base or {})
    if path:
        try:
            tree.update(tomllib.loads(path.read_text(encoding="utf-8")))
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {error.strerror}; check the path") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: expected TOML: {error}") from error
    for entry in sets:
        _set(tree, entry)
    try:
        config = msgspec.convert(tree, FitConfig)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {complaint(error, tree, FitConfig)[1]}") from error
    check(config, where)
    return config


def base_of(signal: str | None, symbols: str | None) -> dict[str, Any]:
    """What to start from without a file: forecast a signal, or foresee the next symbol.

    For recordings see training.series.
    """
    if symbols:
        data = {"source": "symbols", "train": [symbols]}
        return {"name": f"{Path(symbols).stem}-next", "task": "classify", "data": data}
    simulated = {"source": "simulated", "signal": signal}
    return {"name": f"{signal}-forecast", "task": "forecast", "data": simulated, "model": {"horizon": 50}}


LATER = (
    "model.bidirectional",
    "model.embedding",
    "model.frame",
    "model.frame_hop",
    "model.initialisation",
    "model.pool",
    "model.score_steps",
    "train.forget",
    "train.loss",
    "train.schedule",
    "train.stateful",
)
"""Keys younger than the first models: at their default, which is what those did, `flat` leaves them out."""
LATER_OF_RECORDING = ("data.first",)
LATER_OF_RECORDS = ("data.folds", "data.spike_sizes", "data.spikes_per_minute")
"""The same, of records alone."""

Flat = dict[str, msgspec.Raw | str | int | float | bool | list[str] | None]


def flat(config: FitConfig) -> Flat:
    """The configuration with dotted keys, as the card carries it."""
    found: Flat = {}

    def walk(tree: dict[str, Any], prefix: str) -> None:
        for key, value in tree.items():
            if isinstance(value, dict):
                walk(value, f"{prefix}{key}.")
            else:
                found[prefix + key] = [str(v) for v in value] if isinstance(value, list | tuple) else value

    walk(msgspec.to_builtins(config), "")
    parts = {"data": config.data, "model": config.model, "train": config.train}
    later = LATER + (LATER_OF_RECORDS if isinstance(config.data, RecordsData) else ())
    later += LATER_OF_RECORDING if isinstance(config.data, RecordingData) else ()
    for key in later:
        part, name = key.split(".")
        defaults = {field.name: field.default for field in msgspec.structs.fields(parts[part])}
        if key in found and getattr(parts[part], name) == defaults[name]:
            del found[key]
    for name in ("second", "labels"):
        if getattr(config, name) is None:
            del found[name]
    return found


def _set(tree: dict[str, Any], entry: str) -> None:
    """Put one `a.b=value` into the tree; the value is TOML, or else plain text."""
    key, equals, text = entry.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set: expected key=value, got {entry!r}")
    *path, last = key.split(".")
    for name in path:
        tree[name] = dict(tree.get(name) or {})
        tree = tree[name]
    tree[last] = value_of(text)


def value_of(text: str) -> Any:
    """A value on the command line: TOML, or else plain text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
