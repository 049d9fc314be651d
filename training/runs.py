"""A run folder: everything that tells how a model came to be, and its weights.

config.json          the configuration, with every default
metrics.jsonl        one line an epoch
weights.safetensors  weights, scaling and calibration
checkpoint.safetensors  where an unfinished run stands; it is gone when the run is done
outcome.json         seed, data with its digest, versions, thresholds, figures on the test part
second.safetensors   of a beat model of two tiers: the second one's weights
patients.json        of such a one: what was right and wrong of patients that were left out (training/patients.py)
"""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from monitor.core.card import Source
from monitor.core.errors import ConfigError
from training.config import FitConfig

if TYPE_CHECKING:
    from training.models import RecurrentModel

CHECKPOINT = "checkpoint.safetensors"


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a run."""

    seed: int
    data: Source
    rate_hz: float
    channels: int
    unit: str
    thresholds: dict[str, float]
    beat_level: float
    metrics: dict[str, float]
    best_epoch: int
    validation_loss: float | None = None
    """Of the best epoch."""
    epochs: int
    parameters: int = 0
    spread: tuple[float, ...] = ()
    """Of a forecaster: see monitor.core.card.Stepping."""
    seconds: float
    device: str
    torch: str
    code: str
    commit: str


def new_run_folder(base: Path, name: str) -> Path:
    """A folder of its own for a run that begins now."""
    stamp = datetime.now(tz=UTC).strftime("%Y%m%d-%H%M%S")
    for suffix in ("", *(f"-{i}" for i in range(2, 100))):
        folder = base / f"{name}-{stamp}{suffix}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise ConfigError(f"--out {base}: cannot make {folder}: {error.strerror}") from error
        return folder
    raise ConfigError(f"--out {base}: too many runs of {name} began this second")


def write_json(path: Path, value: object) -> None:
    """`value` as indented JSON."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")


def read_config(folder: Path) -> FitConfig:
    """The configuration of a run; raises ConfigError where there is none that this version knows."""
    try:
        return msgspec.json.decode((folder / "config.json").read_bytes(), type=FitConfig)
    except OSError as error:
        raise ConfigError(
            f"{folder}: expected a finished run, got no config.json; is this what `fit` made?"
        ) from error
    except msgspec.DecodeError as error:
        raise ConfigError(f"{folder}: expected a run of this version: {error}") from error


def is_resumable(folder: Path) -> bool:
    """Whether a run was interrupted, and can go on."""
    return (folder / CHECKPOINT).is_file()


def read_run(folder: Path) -> tuple[FitConfig, Outcome, RecurrentModel]:
    """A finished run; raises ConfigError that says what is missing."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from training.models import build_model

    config = read_config(folder)
    try:
        outcome = msgspec.json.decode((folder / "outcome.json").read_bytes(), type=Outcome)
        weights = load_file(folder / "weights.safetensors")
    except OSError as error:
        name = Path(error.filename).name if error.filename else "weights.safetensors"
        missing = f"{folder}: expected a finished run, got no {name}"
        do = (
            f"`training fit --resume {folder}` finishes it" if is_resumable(folder) else "is this what `fit` made?"
        )
        raise ConfigError(f"{missing}; {do}") from error
    except (msgspec.DecodeError, SafetensorError) as error:
        raise ConfigError(f"{folder}: expected a run of this version: {error}") from error
    torch.manual_seed(outcome.seed)
    model = build_model(config, outcome.channels)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ConfigError(f"{folder}: its weights do not fit its configuration: {error}") from error
    return config, outcome, model.eval()


def commit_here() -> str:
    """The commit of the code that runs, empty where it is not in a repository."""
    here = Path(__file__).parent
    try:
        told = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"], cwd=here, capture_output=True, check=False
        )
    except OSError:
        return ""
    return told.stdout.decode().strip()
