"""Where a run stands after an epoch, in one file, so that it can go on as if it had never stopped.

checkpoint.safetensors holds as tensors the weights, the best weights so far, the optimiser's moments and torch's
generator; and in its header, as JSON, all that is not a tensor: epoch, best loss, the optimiser's and the
schedule's numbers, numpy's generator. Nothing is pickled: to read a checkpoint never runs code. It replaces the
one before it in one move, so that a run killed while writing still has a whole one.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from monitor.core.errors import ConfigError
from training.runs import CHECKPOINT, is_resumable


@dataclass
class Progress:
    """How far a run has come."""

    digest: str
    """Of the data."""
    epoch: int = 0
    best_epoch: int = 0
    best_loss: float = float("inf")
    seconds: float = 0.0
    best_weights: dict[str, Tensor] = field(default_factory=dict)


def write_checkpoint(
    folder: Path,
    progress: Progress,
    model: nn.Module,
    optimiser: Optimizer,
    rates: LRScheduler,
    random: np.random.Generator,
) -> None:
    """Write down where the run in `folder` stands."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"best.{name}": value for name, value in progress.best_weights.items()}
    tensors["generator.torch"] = torch.get_rng_state()
    state = optimiser.state_dict()
    for number, moments in state["state"].items():
        tensors |= {f"optimiser.{number}.{name}": value for name, value in moments.items()}
    plain = {
        "progress": {name: value for name, value in asdict(progress).items() if name != "best_weights"},
        "groups": state["param_groups"],
        "rates": rates.state_dict(),
        "generator": random.bit_generator.state,
    }
    partial = folder / f"{CHECKPOINT}.partial"
    contiguous = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    save_file(contiguous, partial, {"plain": json.dumps(plain)})
    partial.replace(folder / CHECKPOINT)


def read_checkpoint(
    folder: Path,
    digest: str,
    model: nn.Module,
    optimiser: Optimizer,
    rates: LRScheduler,
    random: np.random.Generator,
) -> Progress:
    """Put everything back where the newest checkpoint of the run in `folder` left it."""
    try:
        with safe_open(folder / CHECKPOINT, "pt") as file:
            plain = json.loads(file.metadata()["plain"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ConfigError(f"{folder / CHECKPOINT}: expected a checkpoint of this version: {error}") from error
    progress = Progress(**plain["progress"])
    if progress.digest != digest:
        raise ConfigError(f"--resume {folder}: its data are not what they were; start a new run")
    progress.best_weights = _part(tensors, "best.")
    try:
        model.load_state_dict(_part(tensors, "model."))
    except RuntimeError as error:
        raise ConfigError(f"{folder / CHECKPOINT}: its weights do not fit config.json: {error}") from error
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in _part(tensors, "optimiser.").items():
        number, _, key = name.partition(".")
        moments.setdefault(int(number), {})[key] = value
    optimiser.load_state_dict({"state": moments, "param_groups": plain["groups"]})
    rates.load_state_dict(plain["rates"])
    torch.set_rng_state(tensors["generator.torch"])
    random.bit_generator.state = plain["generator"]
    return progress


def check_resumable(folder: Path) -> None:
    """Say what is wrong with a run that cannot go on."""
    if not (folder / "config.json").is_file():
        raise ConfigError(f"--resume {folder}: expected a run folder, got no config.json; check the path")
    if (folder / "outcome.json").is_file():
        raise ConfigError(f"--resume {folder}: this run is finished; `training export` makes a model file of it")
    if not is_resumable(folder):
        raise ConfigError(f"--resume {folder}: it ended before its first epoch did; start a new run")


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
