"""What a run says while it trains: metrics.jsonl, a bar or plain lines on stderr, and TensorBoard if wanted."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from monitor.core.errors import ConfigError
from training.runs import is_resumable


class EpochLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line of metrics.jsonl."""

    epoch: int
    train_loss: float
    """Mean over the epoch, while the weights changed."""
    validation_loss: float
    """After it, on the windows of the validation part."""
    learning_rate: float
    """Of the epoch's last step."""
    gradient_norm: float
    """Mean over the steps, before it was cut."""
    gradient_norm_highest: float
    seconds: float
    """Since the run began, without the time it lay interrupted."""


class RunLog:
    """Told of every batch and every epoch; use it as a context manager."""

    def __init__(
        self, folder: Path, epochs: int, batches: int, done: int, *, quiet: bool, tensorboard: bool
    ) -> None:
        self._epochs, self._batches, self._done, self._quiet = epochs, batches, done, quiet
        self._path = folder / "metrics.jsonl"
        self._board = _open_board(folder, done) if tensorboard else None
        self._bar: Any = None
        self._open = ExitStack()

    def __enter__(self) -> Self:
        # A run that goes on keeps the lines up to its checkpoint: what came after is trained again.
        kept = self._path.read_bytes().splitlines(keepends=True)[: self._done] if self._done else []
        self._file = self._open.enter_context(self._path.open("wb"))
        self._file.writelines(kept)
        if self._board is not None:
            self._open.callback(self._board.close)
        if not self._quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress

            self._bar = self._open.enter_context(Progress(console=Console(stderr=True)))
            total = self._epochs * self._batches
            self._task = self._bar.add_task("training", total=total, completed=self._done * self._batches)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()
        if kind is KeyboardInterrupt and not self._quiet:
            folder = self._path.parent
            kept = f"to go on: training fit --resume {folder}"
            lost = f"its first epoch had not ended, {folder} holds nothing to go on with"
            print(f"interrupted; {kept if is_resumable(folder) else lost}", file=sys.stderr)

    def batch(self) -> None:
        """A batch is done."""
        if self._bar is not None:
            self._bar.advance(self._task)

    def epoch(self, line: EpochLine) -> None:
        """An epoch is done."""
        self._file.write(msgspec.json.encode(line) + b"\n")
        self._file.flush()
        if self._board is not None:
            for name, value in msgspec.structs.asdict(line).items():
                self._board.add_scalar(name, value, line.epoch)
        losses = f"train {line.train_loss:.5f}  validation {line.validation_loss:.5f}"
        text = f"epoch {line.epoch}/{self._epochs}  {losses}"
        if self._bar is not None:
            self._bar.console.print(text, highlight=False)
        elif not self._quiet:
            print(text, file=sys.stderr, flush=True)


def check_board() -> None:
    """Raise ConfigError where the package that TensorBoard's files need is not installed."""
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as error:
        raise ConfigError("--tensorboard: the package tensorboard is missing; pip install tensorboard") from error


def _open_board(folder: Path, done: int) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(folder, purge_step=done + 1)
