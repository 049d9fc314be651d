"""What the keys of a training configuration ask of themselves and of each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monitor.core.conditioning import Conditioning
from monitor.core.errors import ConfigError
from monitor.core.rhythm import RATE_HZ
from training.sources import RecordsData, SymbolsData

if TYPE_CHECKING:
    from training.config import FitConfig

Rule = tuple[bool, str, str, object]
"""Whether it holds, the key it is about, what was expected, what came."""


def check(config: FitConfig, where: str) -> None:
    """Raises ConfigError, with `where` it was read, for the first rule that `config` breaks."""
    for rules in (_of_network, _of_training, _of_beats, _of_labels, _of_symbols, _of_pooling):
        for holds, key, expected, got in rules(config):
            if not holds:
                raise ConfigError(f"{where}: {key}: expected {expected}, got {got}")


def _of_network(config: FitConfig) -> list[Rule]:
    model, first_step = config.model, config.train.first_step
    forecasts, symbols = config.task == "forecast", isinstance(config.data, SymbolsData)
    direct = first_step * model.samples_per_step
    return [
        (config.seed >= 0, "seed", "0 or more", config.seed),
        (model.rate_hz >= 0, "model.rate_hz", "0 or more", model.rate_hz),
        (1 <= model.layers <= 4, "model.layers", "1 to 4", model.layers),
        (1 <= model.hidden <= 512, "model.hidden", "1 to 512", model.hidden),
        (2 <= model.window <= 4096, "model.window", "2 to 4096", model.window),
        (1 <= model.samples_per_step <= 64, "model.samples_per_step", "1 to 64", model.samples_per_step),
        (1 <= model.hop <= model.window, "model.hop", "1 to model.window", model.hop),
        (not forecasts or 1 <= model.horizon <= 4096, "model.horizon", "1 to 4096 for a forecast", model.horizon),
        (forecasts or symbols or len(model.classes) >= 2, "model.classes", "two or more names", model.classes),
        (0 <= model.direct <= direct, "model.direct", "0 to train.first_step steps", model.direct),
        (0 < model.coverage < 1, "model.coverage", "above 0 and below 1", model.coverage),
        (0 <= model.score_steps <= model.window, "model.score_steps", "0 to model.window", model.score_steps),
        (0 <= model.delay < first_step, "model.delay", "0 to less than train.first_step", model.delay),
        (0 <= model.label_steps <= first_step, "model.label_steps", "0 to train.first_step", model.label_steps),
        (1 <= model.embedding <= 512, "model.embedding", "1 to 512", model.embedding),
    ]


def _of_pooling(config: FitConfig) -> list[Rule]:
    model, train = config.model, config.train
    pooled = model.pool == "odds"
    classifies = config.task == "classify" and not isinstance(config.data, SymbolsData)
    whole = "model.window, as model.pool = 'odds' asks for the whole window"
    return [
        (not pooled or classifies, "model.pool", "'last' for this task", model.pool),
        (not pooled or train.first_step == model.window, "train.first_step", whole, train.first_step),
        (not pooled or not train.stateful, "train.stateful", "false with model.pool = 'odds'", True),
        (pooled or not model.bidirectional, "model.bidirectional", "false without model.pool = 'odds'", True),
        (pooled or not model.frame, "model.frame", "0 without model.pool = 'odds'", model.frame),
        (0 <= model.frame <= model.window, "model.frame", "0 to model.window", model.frame),
        (not model.frame or model.samples_per_step == 1, "model.samples_per_step", "1 with model.frame", "more"),
        (1 <= model.frame_hop <= max(model.frame, 1), "model.frame_hop", "1 to model.frame", model.frame_hop),
    ]


def _of_training(config: FitConfig) -> list[Rule]:
    model, train = config.model, config.train
    losses = ("usual", "mse", "huber", "pinball") if config.task == "forecast" else ("usual", "cross-entropy")
    weighted = len(train.class_weights) in (0, len(model.classes))
    can_carry = model.scaling == "fixed" and not train.rare_share
    carries = "fixed model.scaling and no train.rare_share"
    return [
        (1 <= train.first_step <= model.window, "train.first_step", "1 to model.window", train.first_step),
        (train.epochs >= 1, "train.epochs", "1 or more", train.epochs),
        (train.batch >= 1, "train.batch", "1 or more", train.batch),
        (train.hop >= 1, "train.hop", "1 or more", train.hop),
        (weighted, "train.class_weights", "one for each class", "others"),
        (0 <= train.rare_share <= 1, "train.rare_share", "0 to 1", train.rare_share),
        (train.epoch_windows >= 1, "train.epoch_windows", "1 or more", train.epoch_windows),
        (train.patience >= 1, "train.patience", "1 or more", train.patience),
        (train.learning_rate > 0, "train.learning_rate", "above 0", train.learning_rate),
        (train.clip >= 0, "train.clip", "0 or more", train.clip),
        (train.loss in losses, "train.loss", f"one of {', '.join(losses)} for {config.task}", train.loss),
        (0 <= train.weight_decay < 1, "train.weight_decay", "0 to less than 1", train.weight_decay),
        (0 <= train.forget <= 1, "train.forget", "0 to 1", train.forget),
        (not train.stateful or can_carry, "train.stateful", carries, "others"),
    ]


def _of_symbols(config: FitConfig) -> list[Rule]:
    if not isinstance(config.data, SymbolsData):
        return []
    model = config.model
    plain = (model.samples_per_step, model.scaling, model.rate_hz) == (1, "fixed", 0.0)
    alone = "samples_per_step, scaling and rate_hz left alone for symbols"
    return [
        (config.task == "classify", "task", "'classify' for symbols", config.task),
        (plain, "model", alone, "others"),
        (config.conditioning == Conditioning(), "conditioning", "none for symbols", "some"),
    ]


def _of_beats(config: FitConfig) -> list[Rule]:
    second, records = config.second, isinstance(config.data, RecordsData)
    folds = isinstance(config.data, RecordsData) and bool(config.data.folds)
    follows = config.task == "beats" and config.model.rate_hz == RATE_HZ
    weighted = second is None or len(second.class_weights) == len(config.model.classes) + 1
    tiers = f"a second tier of a beats model only, at model.rate_hz = {RATE_HZ:g}"
    both = "folds if there is a [second] tier, and only then"
    return [
        (config.task != "beats" or records, "data.source", "'records' for beats", "other"),
        (second is None or follows, "second", tiers, "one of another"),
        ((second is not None) == folds, "data.folds", both, "the other way round"),
        (weighted, "second.class_weights", "one for each class, and one for no beat", "others"),
    ]


def _of_labels(config: FitConfig) -> list[Rule]:
    if config.labels is None:
        return []
    can = config.task != "beats" and not isinstance(config.data, SymbolsData) and not config.train.stateful
    who = "a forecaster, or a classifier of windows, that is not stateful"
    return [
        (can, "labels", who, "another"),
        (0 < config.labels.share < 1, "labels.share", "above 0 and below 1", "others"),
    ]
