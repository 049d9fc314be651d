"""A model file made anew from itself: its weights in the graph that this version builds, its card kept.

For files of older versions, whose run folder may be gone. The weights stand in the file as they were trained, the
configuration stands in its card, and the proof of export is asked for again.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import torch
from onnx import numpy_helper

from monitor.core.blocks import Floats
from monitor.core.card import CARD_KEY, Card, write_card
from monitor.core.errors import ConfigError, ModelError
from monitor.inference import TOLERANCE, load_model
from training.calibrate import spread_by_count, test_figures
from training.config import FitConfig
from training.datasets import load_data
from training.export import make_stepping, save_model
from training.graph import GATES
from training.models import RecurrentForecaster, RecurrentModel, build_model


def reexport(
    file: Path, out: Path | None = None, folder: Path | None = None, say: Callable[[str], None] = print
) -> Path:
    """Write the model in `file` anew, over itself or to `out`.

    `folder` is what the training data need, as for `fit`; without it a forecaster's intervals are not fitted to
    answers that rest on fewer steps than its window.
    """
    torch.set_num_threads(1)
    card = load_model(file).card
    config = config_of(card, file.name)
    model = build_model(config, card.channels)
    try:
        model.load_state_dict(weights_of(file, model))
    except (KeyError, RuntimeError) as error:
        raise ModelError(
            f"model {file.name}: its weights do not fit the configuration in its card: {error}"
        ) from error
    known = card.known_answer
    with torch.no_grad():
        answer = model.eval().outputs(torch.from_numpy(known.window.array()))
    for name, tensor in known.outputs.items():
        if not np.allclose(answer[name].numpy(), tensor.array(), TOLERANCE, TOLERANCE):
            raise ModelError(f"model {file.name}: what was read from it does not give its known answer")
    spread, metrics = card.stepping.spread if card.stepping else (), card.metrics
    if isinstance(model, RecurrentForecaster) and (folder or config.data.__struct_config__.tag == "simulated"):
        data = load_data(config, folder)
        spread = spread_by_count(model, config, data)
        metrics = {name: float(f"{value:.5g}") for name, value in test_figures(model, config, data).items()}
    card = msgspec.structs.replace(card, stepping=make_stepping(model, spread), metrics=metrics)
    told = {entry.key: entry.value for entry in onnx.load(file).metadata_props}  # a second tier, too
    return save_model(model, told | {CARD_KEY: write_card(card)}, out or file, say)


def config_of(card: Card, where: str) -> FitConfig:
    """The training configuration that the card carries, flat."""
    tree: dict[str, Any] = {}
    for key, value in card.training.items():
        *path, last = key.split(".")
        branch = tree
        for name in path:
            branch = branch.setdefault(name, {})
        plain = msgspec.json.decode(value) if isinstance(value, msgspec.Raw) else value
        if isinstance(plain, list):  # of text: what was a row of names is written as Python does
            plain = [ast.literal_eval(item) if item.startswith("(") else item for item in plain]
        branch[last] = plain
    try:
        return msgspec.convert(tree, FitConfig, strict=False)  # the card's lists are lists of text
    except msgspec.ValidationError as error:
        raise ConfigError(f"model {where}: the configuration in its card cannot be read: {error}") from error


def weights_of(file: Path, model: RecurrentModel) -> dict[str, torch.Tensor]:
    """The constants of the file's graph under the names, and with the gates in the order, that torch has them."""
    constants = {c.name: numpy_helper.to_array(c) for c in onnx.load(file).graph.initializer}
    shape = model.config.model
    ways = ["", "_reverse"][: 1 + shape.bidirectional]
    found: dict[str, Floats] = {}
    for layer in range(shape.layers):
        for way, suffix in enumerate(ways):
            halves = np.split(constants[f"b{layer}"][way], 2)
            parts = (constants[f"w{layer}"][way], constants[f"r{layer}"][way], *halves)
            names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            for name, values in zip(names, parts, strict=True):
                found[f"recurrence.{name}_l{layer}{suffix}"] = _as_torch(values, GATES[shape.cell])
    own = model.state_dict()
    for name, value in own.items():
        if name in constants:
            found[name] = constants[name]
        elif name.startswith("scaling."):  # the kind of scaling has no use for it
            found[name] = value.numpy()
    return {
        name: torch.from_numpy(np.array(value, np.float32)).reshape(own[name].shape)
        for name, value in found.items()
    }


def _as_torch(values: Floats, order: tuple[int, ...]) -> Floats:
    """Gates from the operator's order to torch's: entry i of `order` is torch's place of the operator's gate i."""
    gates = np.split(values, len(order))
    ordered: Floats = np.concatenate([gates[order.index(i)] for i in range(len(order))])
    return ordered
