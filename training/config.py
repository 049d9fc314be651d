"""What one training run is made of: frozen structs, read from a TOML file, changed by `key=value`.

An unknown key or a value of the wrong type is a ConfigError that names its path and what was expected.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from monitor.core.card import Task
from monitor.core.conditioning import Conditioning
from monitor.core.errors import ConfigError
from monitor.core.rhythm import RATE_HZ
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
        raise ConfigError(f"{where}: {error}") from error
    _check(config, where)
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


def _check(config: FitConfig, where: str) -> None:
    model, train = config.model, config.train
    quiet = config.task == "forecast"
    symbols = isinstance(config.data, SymbolsData)
    losses = ("usual", "mse", "huber", "pinball") if quiet else ("usual", "cross-entropy")
    problems = [
        (config.seed >= 0, "seed", "0 or more", config.seed),
        (model.rate_hz >= 0, "model.rate_hz", "0 or more", model.rate_hz),
        (1 <= model.layers <= 4, "model.layers", "1 to 4", model.layers),
        (1 <= model.hidden <= 512, "model.hidden", "1 to 512", model.hidden),
        (2 <= model.window <= 4096, "model.window", "2 to 4096", model.window),
        (1 <= model.samples_per_step <= 64, "model.samples_per_step", "1 to 64", model.samples_per_step),
        (1 <= model.hop <= model.window, "model.hop", "1 to model.window", model.hop),
        (not quiet or 1 <= model.horizon <= 4096, "model.horizon", "1 to 4096 for a forecast", model.horizon),
        (quiet or symbols or len(model.classes) >= 2, "model.classes", "two or more names", model.classes),
        (
            0 <= model.direct <= train.first_step * model.samples_per_step,
            "model.direct",
            "0 to train.first_step steps",
            model.direct,
        ),
        (0 < model.coverage < 1, "model.coverage", "above 0 and below 1", model.coverage),
        (0 <= model.score_steps <= model.window, "model.score_steps", "0 to model.window", model.score_steps),
        (0 <= model.delay < train.first_step, "model.delay", "0 to less than train.first_step", model.delay),
        (
            0 <= model.label_steps <= train.first_step,
            "model.label_steps",
            "0 to train.first_step",
            model.label_steps,
        ),
        (1 <= train.first_step <= model.window, "train.first_step", "1 to model.window", train.first_step),
        (train.epochs >= 1, "train.epochs", "1 or more", train.epochs),
        (train.batch >= 1, "train.batch", "1 or more", train.batch),
        (train.hop >= 1, "train.hop", "1 or more", train.hop),
        (
            len(train.class_weights) in (0, len(model.classes)),
            "train.class_weights",
            "one for each class",
            "others",
        ),
        (
            config.task != "beats" or isinstance(config.data, RecordsData),
            "data.source",
            "'records' for beats",
            "other",
        ),
        (
            config.second is None or (config.task == "beats" and model.rate_hz == RATE_HZ),
            "second",
            f"a second tier of a beats model only, at model.rate_hz = {RATE_HZ:g}",
            "one of another",
        ),
        (
            (config.second is not None) == bool(isinstance(config.data, RecordsData) and config.data.folds),
            "data.folds",
            "folds if there is a [second] tier, and only then",
            "the other way round",
        ),
        (
            config.second is None or len(config.second.class_weights) == len(model.classes) + 1,
            "second.class_weights",
            "one for each class, and one for no beat",
            "others",
        ),
        (
            config.labels is None or (config.task != "beats" and not symbols and not train.stateful),
            "labels",
            "a forecaster, or a classifier of windows, that is not stateful",
            "another",
        ),
        (config.labels is None or 0 < config.labels.share < 1, "labels.share", "above 0 and below 1", "others"),
        (0 <= train.rare_share <= 1, "train.rare_share", "0 to 1", train.rare_share),
        (train.epoch_windows >= 1, "train.epoch_windows", "1 or more", train.epoch_windows),
        (train.patience >= 1, "train.patience", "1 or more", train.patience),
        (train.learning_rate > 0, "train.learning_rate", "above 0", train.learning_rate),
        (train.clip >= 0, "train.clip", "0 or more", train.clip),
        (train.loss in losses, "train.loss", f"one of {', '.join(losses)} for {config.task}", train.loss),
        (0 <= train.weight_decay < 1, "train.weight_decay", "0 to less than 1", train.weight_decay),
        (0 <= train.forget <= 1, "train.forget", "0 to 1", train.forget),
        (1 <= model.embedding <= 512, "model.embedding", "1 to 512", model.embedding),
        (not symbols or config.task == "classify", "task", "'classify' for symbols", config.task),
        (
            not symbols or (model.samples_per_step, model.scaling, model.rate_hz) == (1, "fixed", 0.0),
            "model",
            "samples_per_step, scaling and rate_hz left alone for symbols",
            "others",
        ),
        (not symbols or config.conditioning == Conditioning(), "conditioning", "none for symbols", "some"),
        (
            not train.stateful or (model.scaling == "fixed" and not train.rare_share),
            "train.stateful",
            "fixed model.scaling and no train.rare_share",
            "others",
        ),
    ]
    problems += _pooling_problems(config, symbols=symbols)
    for holds, key, expected, got in problems:
        if not holds:
            raise ConfigError(f"{where}: {key}: expected {expected}, got {got}")


def _pooling_problems(config: FitConfig, *, symbols: bool) -> list[tuple[bool, str, str, Any]]:
    model, train = config.model, config.train
    pooled = model.pool == "odds"
    return [
        (
            not pooled or (config.task == "classify" and not symbols),
            "model.pool",
            "'last' for this task",
            model.pool,
        ),
        (
            not pooled or train.first_step == model.window,
            "train.first_step",
            "model.window, as model.pool = 'odds' asks for the whole window",
            train.first_step,
        ),
        (not pooled or not train.stateful, "train.stateful", "false with model.pool = 'odds'", True),
        (pooled or not model.bidirectional, "model.bidirectional", "false without model.pool = 'odds'", True),
        (pooled or not model.frame, "model.frame", "0 without model.pool = 'odds'", model.frame),
        (0 <= model.frame <= model.window, "model.frame", "0 to model.window", model.frame),
        (not model.frame or model.samples_per_step == 1, "model.samples_per_step", "1 with model.frame", "more"),
        (1 <= model.frame_hop <= max(model.frame, 1), "model.frame_hop", "1 to model.frame", model.frame_hop),
    ]
