"""An exercise's best network as a run folder, so that `training export` takes it and the monitor shows it live."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import msgspec
import numpy as np
import torch
from safetensors.torch import save_file

from monitor import __version__
from monitor.core.card import Source
from monitor.core.errors import ConfigError
from training.baselines import Array
from training.calibrate import calibrate
from training.config import FitConfig
from training.datasets import load_data
from training.models import RecurrentForecaster, build_model
from training.runs import Outcome, commit_here, new_run_folder, write_json


def keep_model(
    config: FitConfig,
    weights: dict[str, torch.Tensor],
    source: Source,
    out: Path,
    *,
    steps: int,
    seconds: float,
    thresholds: Mapping[str, float] = MappingProxyType({}),
) -> Path:
    """Write a run folder below `out` of what `weights` compute, learned from `source`; returns it.

    An exercise trains a forecast's mean or a class; what else a model needs is set here, by the calibration that
    follows `training fit`, on the data of `config`: an interval of one width around the mean, or a threshold. For
    symbols it sets none; `thresholds`, by class, are those that the exercise chose.
    """
    model = build_model(config, channels=1)
    missing, unexpected = model.load_state_dict(weights, strict=False)
    own = ("below.", "above.", "scaling.", "factors")
    if unexpected or any(not name.startswith(own) for name in missing):
        raise ValueError(f"weights and {config.name}: missing {missing}, unexpected {unexpected}")
    if isinstance(model, RecurrentForecaster):
        for head in (model.below, model.above):
            torch.nn.init.zeros_(head.weight)  # the factors alone say how wide
            torch.nn.init.zeros_(head.bias)
    model.eval()

    data = load_data(config, None)
    done = calibrate(model, config, data)
    folder = new_run_folder(out, config.name)
    write_json(folder / "config.json", config)
    line = {"epoch": steps, "seconds": round(seconds, 1), **done.metrics}
    (folder / "metrics.jsonl").write_bytes(msgspec.json.encode(line) + b"\n")
    save_file(
        {name: value.contiguous() for name, value in model.state_dict().items()}, folder / "weights.safetensors"
    )
    held_out = f"{data.told['name']}: {data.told['calibration']} (calibration), {data.told['test']} (figures)"
    outcome = Outcome(
        seed=config.seed,
        data=msgspec.structs.replace(source, validation=held_out),
        rate_hz=data.rate_hz,
        channels=1,
        unit=data.unit,
        thresholds=done.thresholds | dict(thresholds),
        beat_level=done.beat_level,
        metrics=done.metrics,
        best_epoch=steps,
        epochs=steps,
        parameters=sum(weight.numel() for weight in model.parameters()),
        seconds=round(seconds, 1),
        device="cpu",
        torch=str(torch.__version__),
        code=__version__,
        commit=commit_here(),
    )
    write_json(folder / "outcome.json", outcome)
    return folder


def digest_of(series: Array) -> str:
    """SHA-256 of what was learned from."""
    return hashlib.sha256(np.ascontiguousarray(series, np.float64).tobytes()).hexdigest()


def write_stream(path: Path, values: Array, rate_hz: float, spikes: Sequence[int] = ()) -> None:
    """A recording for `monitor replay`: `values` (time,) as CSV, "spike" at the samples `spikes`."""
    labels = {int(at): "spike" for at in spikes}
    lines = [f"{i / rate_hz:.6f},{value:.5f},{labels.get(i, '')}" for i, value in enumerate(values)]
    try:
        path.write_text("\n".join(["time,signal,label", *lines]) + "\n")
    except OSError as error:
        raise ConfigError(f"--out {path}: cannot be written: {error.strerror}") from error
