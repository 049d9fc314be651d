"""An exercise's forecaster as a run folder, so that `training export` takes it and the monitor shows it live."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import numpy as np
import torch
from safetensors.torch import save_file

from monitor import __version__
from monitor.core.card import Source
from training.baselines import Array
from training.calibrate import calibrate
from training.config import FitConfig
from training.datasets import load_data
from training.models import RecurrentForecaster
from training.runs import Outcome, commit_here, new_run_folder, write_json


def keep_forecaster(
    config: FitConfig, weights: dict[str, torch.Tensor], series: Array, out: Path, *, steps: int, seconds: float
) -> Path:
    """Write a run folder below `out` of the mean forecast that `weights` compute; returns it.

    The exercise trained the mean on `series`; the interval around it is of one width, and its factors are set
    here, by the calibration that follows `training fit`, on minutes of the simulated signal in `config`.
    """
    model = RecurrentForecaster(config, channels=1)
    missing, unexpected = model.load_state_dict(weights, strict=False)
    own = ("below.", "above.", "scaling.", "factors")
    if unexpected or any(not name.startswith(own) for name in missing):
        raise ValueError(f"weights and {config.name}: missing {missing}, unexpected {unexpected}")
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
    digest = hashlib.sha256(np.ascontiguousarray(series, np.float64).tobytes()).hexdigest()
    held_out = f"{data.told['calibration']} (calibration), {data.told['test']} (figures), simulated"
    outcome = Outcome(
        seed=config.seed,
        data=Source(f"exercise {config.name}", "", digest, f"{len(series)} simulated samples", held_out),
        rate_hz=data.rate_hz,
        channels=1,
        unit=data.unit,
        thresholds={},
        beat_level=0.5,
        metrics=done.metrics,
        best_epoch=steps,
        epochs=steps,
        seconds=round(seconds, 1),
        device="cpu",
        torch=str(torch.__version__),
        code=__version__,
        commit=commit_here(),
    )
    write_json(folder / "outcome.json", outcome)
    return folder
