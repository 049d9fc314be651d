"""The training loop, from a configuration to a run folder, to be read from top to bottom."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

import msgspec
import numpy as np
import torch
from safetensors.torch import save_file
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LRScheduler, OneCycleLR

from monitor import __version__
from monitor.core.card import Source
from monitor.core.errors import ConfigError
from training.calibrate import calibrate
from training.checkpoints import Progress, check_resumable, read_checkpoint, write_checkpoint
from training.config import FitConfig, Schedule
from training.datasets import Data, load_data
from training.models import RecurrentModel, State, build_model
from training.pools import Batch, Chunks, Windows, carried
from training.runlog import EpochLine, RunLog, check_board
from training.runs import CHECKPOINT, Outcome, commit_here, new_run_folder, read_config, write_json


def fit(  # noqa: PLR0915 - one story, to be read from top to bottom
    config: FitConfig,
    data_folder: Path | None,
    out: Path,
    device: str = "cpu",
    *,
    interrupted: Path | None = None,
    quiet: bool = False,
    tensorboard: bool = False,
) -> Path:
    """Train the model that `config` describes; returns the run folder, a new one below `out`, or `interrupted`."""
    _check(config, device)
    if tensorboard:
        check_board()
    began = time.monotonic()
    torch.set_num_threads(1)  # such small networks only lose by more; and the sum's order stays the same
    torch.manual_seed(config.seed)
    random = np.random.default_rng(config.seed)

    data = load_data(config, data_folder)
    schedule, first = config.train, config.train.first_step
    shape = msgspec.structs.replace(config.model, classes=data.classes)  # of symbols only the data know them
    config = msgspec.structs.replace(config, model=shape)
    pool = Chunks if schedule.stateful else Windows
    train, validation = (pool(data.parts[part], config, device) for part in ("train", "validation"))
    model = build_model(config, data.channels)
    _fit_scaling(model, data)
    model.to(device)

    optimiser = torch.optim.AdamW(
        model.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay
    )
    rates = _learning_rates(optimiser, schedule, schedule.epochs * train.batches)
    if interrupted:
        folder = interrupted
        progress = read_checkpoint(folder, data.digest, model, optimiser, rates, random)
    else:
        folder = new_run_folder(out, config.name)
        write_json(folder / "config.json", config)
        progress = Progress(data.digest)
    began -= progress.seconds

    log = RunLog(folder, schedule.epochs, train.batches, progress.epoch, quiet=quiet, tensorboard=tensorboard)
    with log:
        for epoch in range(progress.epoch + 1, schedule.epochs + 1):
            if epoch - 1 - progress.best_epoch >= schedule.patience:
                break
            model.train()
            losses, norms = [], []
            state: State = None
            for values, marks in train.draw(random):
                # A window begins with an empty memory; a chunk with what is left of the one before it.
                before = carried(state, len(values), schedule.forget, random) if schedule.stateful else None
                loss, state = model.loss(values, marks, first if before is None else model.earliest, before)
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                norm = torch.nn.utils.clip_grad_norm_(model.parameters(), schedule.clip or float("inf"))
                rate = float(optimiser.param_groups[0]["lr"])
                optimiser.step()
                rates.step()
                losses.append(float(loss.detach()))
                norms.append(float(norm))
                log.batch()
            line = EpochLine(
                epoch=epoch,
                train_loss=float(np.mean(losses)),
                validation_loss=_loss_of(model, validation.all(), first, carry=schedule.stateful),
                learning_rate=rate,
                gradient_norm=float(np.mean(norms)),
                gradient_norm_highest=max(norms),
                seconds=round(time.monotonic() - began, 1),
            )
            log.epoch(line)
            if not np.isfinite(line.validation_loss):
                raise ConfigError(
                    f"{folder}: the loss became {line.validation_loss} in epoch {epoch}; lower train.learning_rate"
                )
            progress.epoch, progress.seconds = epoch, line.seconds
            if line.validation_loss < progress.best_loss:
                progress.best_loss, progress.best_epoch = line.validation_loss, epoch
                progress.best_weights = {k: v.detach().clone() for k, v in model.state_dict().items()}
            write_checkpoint(folder, progress, model, optimiser, rates, random)

    model.load_state_dict(progress.best_weights)
    model.to("cpu")
    _finish(model, config, data, folder, device=device, progress=progress, began=began)
    return folder


def resume(
    folder: Path, data_folder: Path | None, device: str = "cpu", *, quiet: bool = False, tensorboard: bool = False
) -> Path:
    """Go on with the interrupted run in `folder` from its newest checkpoint, as if it had never stopped."""
    check_resumable(folder)
    config = read_config(folder)
    return fit(config, data_folder, folder, device, interrupted=folder, quiet=quiet, tensorboard=tensorboard)


def _check(config: FitConfig, device: str) -> None:
    """Refuse what this loop cannot do."""
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: expected a CUDA device, torch sees none; use --device cpu")
    if config.second is not None:
        raise ConfigError("second: expected a model of one tier, got two; train it with `training fit`")


def _learning_rates(optimiser: Optimizer, schedule: Schedule, steps: int) -> LRScheduler:
    """What sets the learning rate of each of `steps` steps."""
    match schedule.schedule:
        case "one-cycle":
            return OneCycleLR(optimiser, schedule.learning_rate, total_steps=steps)
        case "cosine":
            return CosineAnnealingLR(optimiser, steps)
        case "constant":
            return ConstantLR(optimiser, factor=1.0, total_iters=0)


def _finish(
    model: RecurrentModel,
    config: FitConfig,
    data: Data,
    folder: Path,
    *,
    device: str,
    progress: Progress,
    began: float,
) -> None:
    """Calibrate and judge the trained model, and write it down."""
    calibrated = calibrate(model, config, data)
    if config.train.stateful:
        calibrated.metrics |= _what_memory_is_worth(model, config, data)
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(weights, folder / "weights.safetensors")
    outcome = Outcome(
        seed=config.seed,
        data=_source(data),
        rate_hz=data.rate_hz,
        channels=data.channels,
        unit=data.unit,
        thresholds=calibrated.thresholds,
        beat_level=calibrated.beat_level,
        metrics=calibrated.metrics,
        spread=calibrated.spread,
        best_epoch=progress.best_epoch,
        validation_loss=progress.best_loss,
        epochs=progress.epoch,
        parameters=sum(weight.numel() for weight in model.parameters()),
        seconds=round(time.monotonic() - began, 1),
        device=device,
        torch=str(torch.__version__),
        code=__version__,
        commit=commit_here(),
    )
    write_json(folder / "outcome.json", outcome)
    (folder / CHECKPOINT).unlink(missing_ok=True)


def _source(data: Data) -> Source:
    told = data.told
    held_out = f"{told['validation']} (stopping), {told['calibration']} (calibration), {told['test']} (figures)"
    return Source(told["name"], told.get("licence", ""), data.digest, told["train"], held_out)


def _loss_of(model: RecurrentModel, batches: Iterable[Batch], first: int, *, carry: bool) -> float:
    """Mean loss over a part; what a loss draws is the same in every epoch."""
    model.eval()
    losses = []
    state: State = None
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for values, marks in batches:
            before = carried(state, len(values)) if carry else None
            loss, state = model.loss(values, marks, first if before is None else model.earliest, before)
            losses.append(loss)
    return float(torch.stack(losses).mean())


def _what_memory_is_worth(model: RecurrentModel, config: FitConfig, data: Data) -> dict[str, float]:
    """Loss on the test part from windows alone, as the monitor asks, and with the state carried from the start."""
    part = data.parts["test"]
    steps = config.model.window
    return {
        "loss_of_windows": _loss_of(model, Windows(part, config, "cpu").all(), steps, carry=False),
        "loss_carrying_the_state": _loss_of(model, Chunks(part, config, "cpu", tracks=1).all(), steps, carry=True),
    }


def _fit_scaling(model: RecurrentModel, data: Data) -> None:
    """Offset and scale from the training part alone."""
    if model.embedding is not None:
        return
    values = np.concatenate([series.values for series in data.parts["train"] if not series.noisy])
    model.scaling.offset.copy_(torch.from_numpy(values.mean(axis=0)))
    model.scaling.scale.copy_(torch.from_numpy(np.maximum(values.std(axis=0), 1e-9)))
