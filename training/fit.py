"""The training loop, from a configuration to a run folder, to be read from top to bottom."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from monitor import __version__
from monitor.core.card import Source
from monitor.core.errors import ConfigError
from training.calibrate import calibrate
from training.config import FitConfig
from training.datasets import Data, Series, cut_windows, load_data
from training.models import RecurrentModel, build_model
from training.runs import Outcome, commit_here, new_run_folder, write_json


def fit(config: FitConfig, data_folder: Path | None, out: Path, device: str = "cpu") -> Path:
    """Train the model that `config` describes; returns the run folder, below `out`."""
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: expected a CUDA device, torch sees none; use --device cpu")
    began = time.monotonic()
    torch.set_num_threads(1)  # such small networks only lose by more; and the sum's order stays the same
    torch.manual_seed(config.seed)
    random = np.random.default_rng(config.seed)

    data = load_data(config, data_folder)
    train = _Pool(data.parts["train"], config)
    validation = _Pool(data.parts["validation"], config)
    model = build_model(config, data.channels)
    _fit_scaling(model, data)
    model.to(device)

    schedule = config.train
    first = schedule.first_step
    drawn = min(schedule.epoch_windows, len(train))
    batches = -(-drawn // schedule.batch)
    rate = schedule.learning_rate
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=schedule.weight_decay)
    one_cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=schedule.epochs * batches)

    folder = new_run_folder(out, config.name)
    write_json(folder / "config.json", config)
    best_loss, best_epoch, best_weights = float("inf"), 0, _copy(model)
    epoch = 0
    with (folder / "metrics.jsonl").open("wb") as lines, _progress(schedule.epochs, batches) as tell:
        for epoch in range(1, schedule.epochs + 1):
            model.train()
            total = 0.0
            for values, marks in train.draw(drawn, schedule.batch, random, device):
                loss = model.loss(values, marks, first)
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(model.parameters(), schedule.clip)
                optimiser.step()
                one_cycle.step()
                total += float(loss.detach())
                tell(None)
            validation_loss = _validate(model, validation, first, device)
            seconds = round(time.monotonic() - began, 1)
            line = {"epoch": epoch, "train_loss": total / batches, "validation_loss": validation_loss}
            lines.write(msgspec.json.encode({**line, "seconds": seconds}) + b"\n")
            tell(f"epoch {epoch}/{schedule.epochs}  train {total / batches:.5f}  validation {validation_loss:.5f}")
            if not np.isfinite(validation_loss):
                raise ConfigError(
                    f"{folder}: the loss became {validation_loss} in epoch {epoch}; lower train.learning_rate"
                )
            if validation_loss < best_loss:
                best_loss, best_epoch, best_weights = validation_loss, epoch, _copy(model)
            elif epoch - best_epoch >= schedule.patience:
                break

    model.load_state_dict(best_weights)
    model.to("cpu")
    _finish(model, config, data, folder, device=device, epochs=(best_epoch, epoch), began=began)
    return folder


def _finish(
    model: RecurrentModel,
    config: FitConfig,
    data: Data,
    folder: Path,
    *,
    device: str,
    epochs: tuple[int, int],
    began: float,
) -> None:
    """Calibrate and judge the trained model, and write it down; `epochs` are the best and the last."""
    calibrated = calibrate(model, config, data)
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
        best_epoch=epochs[0],
        epochs=epochs[1],
        seconds=round(time.monotonic() - began, 1),
        device=device,
        torch=str(torch.__version__),
        code=__version__,
        commit=commit_here(),
    )
    write_json(folder / "outcome.json", outcome)


def _source(data: Data) -> Source:
    told = data.told
    held_out = f"{told['validation']} (stopping), {told['calibration']} (calibration), {told['test']} (figures)"
    return Source(told["name"], told.get("licence", ""), data.digest, told["train"], held_out)


def _validate(model: RecurrentModel, pool: _Pool, first: int, device: str) -> float:
    """Mean loss over a part; what a loss draws (the length of a window) is the same in every epoch."""
    model.eval()
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        losses = [model.loss(values, marks, first) for values, marks in pool.all(device)]
    return float(torch.stack(losses).mean())


class _Pool:
    """The windows of one part, ready to be drawn."""

    def __init__(self, part: list[Series], config: FitConfig) -> None:
        hop = config.train.hop * config.model.samples_per_step
        cut = [cut_windows(series, config, hop, config.model.horizon) for series in part]
        self._values = np.concatenate([values for values, _, _ in cut])  # (window, time, channel)
        self._marks = np.concatenate([marks.astype(np.int8) for _, marks, _ in cut])  # (window, time)
        self._shares = _shares(part, [len(values) for values, _, _ in cut], self._marks, config)
        self._batch = config.train.batch

    def __len__(self) -> int:
        return len(self._values)

    def draw(
        self, windows: int, batch: int, random: np.random.Generator, device: str
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of `windows` windows in random order; with wanted shares, drawn with replacement."""
        if self._shares is None:
            order = random.permutation(len(self))[:windows]
        else:
            order = random.choice(len(self), windows, p=self._shares)
        for start in range(0, windows, batch):
            yield self._batch_of(order[start : start + batch], device)

    def all(self, device: str) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of all windows in order."""
        for start in range(0, len(self), 256):
            yield self._batch_of(np.arange(start, min(start + 256, len(self))), device)

    def _batch_of(self, rows: NDArray[np.int64], device: str) -> tuple[Tensor, Tensor]:
        values, marks = torch.from_numpy(self._values[rows]), torch.from_numpy(self._marks[rows]).long()
        return values.to(device), marks.to(device)


def _shares(
    part: list[Series], counts: list[int], marks: NDArray[np.int8], config: FitConfig
) -> NDArray[np.float64] | None:
    """How likely each window is drawn, None for all alike: so much for the noisy copies, so much for the rare."""
    quiet = 1 if config.task == "beats" else 0
    rare = (marks > quiet).any(axis=1)
    noisy = np.repeat([series.noisy for series in part], counts)
    shares = np.ones(len(marks))
    if noisy.any():
        wanted = config.data.noise_share  # type: ignore[union-attr]  # only records have noisy copies
        shares[noisy] *= wanted / noisy.mean()
        shares[~noisy] *= (1 - wanted) / (1 - noisy.mean())
    wanted = config.train.rare_share
    if wanted and rare.any() and not rare.all():
        mass = shares[rare].sum() / shares.sum()
        shares[rare] *= wanted / mass
        shares[~rare] *= (1 - wanted) / (1 - mass)
    return shares / shares.sum() if shares.min() != shares.max() else None


def _fit_scaling(model: RecurrentModel, data: Data) -> None:
    """Offset and scale from the training part alone."""
    values = np.concatenate([series.values for series in data.parts["train"] if not series.noisy])
    model.scaling.offset.copy_(torch.from_numpy(values.mean(axis=0)))
    model.scaling.scale.copy_(torch.from_numpy(np.maximum(values.std(axis=0), 1e-9)))


def _copy(model: RecurrentModel) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


@contextmanager
def _progress(epochs: int, batches: int) -> Iterator[Callable[[str | None], None]]:
    """Tell None for a batch done, a text for an epoch done: a bar on a terminal, else plain lines; on stderr."""
    if not sys.stderr.isatty():
        yield lambda text: print(text, file=sys.stderr, flush=True) if text else None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("training", total=epochs * batches)

        def tell(text: str | None) -> None:
            if text is None:
                bar.advance(task)
            else:
                bar.console.print(text, highlight=False)

        yield tell
