"""Tiny configurations that train in a second."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from training.config import FitConfig

MINUTES = {"train": 1.0, "validation": 0.3, "calibration": 0.5, "test": 0.5}
TASKS: dict[str, dict[str, Any]] = {
    "forecast": {"model": {"horizon": 7, "window": 12}},
    "classify": {"model": {"classes": ["quiet", "spike"], "label_steps": 4, "window": 12}},
}


def tiny(task: str = "forecast", *, seed: int = 0, **model: Any) -> FitConfig:
    """A configuration for `task` that trains in a second; `model` changes its network."""
    shape = {"hidden": 6, "hop": 3, **TASKS[task]["model"], **model}
    data = {"source": "simulated", "minutes": MINUTES, "spikes_per_minute": 40, "live_spikes_per_minute": 20}
    train = {"epochs": 1, "first_step": 8, "batch": 32}
    tree = {"name": f"tiny-{task}", "task": task, "seed": seed, "data": data, "model": shape, "train": train}
    return msgspec.convert(tree, FitConfig)


def changed(config: FitConfig, *, train: dict[str, Any] | None = None, **keys: Any) -> FitConfig:
    """`config` with other keys, some of them of `train`."""
    tree = msgspec.to_builtins(config)
    return msgspec.convert({**tree, **keys, "train": {**tree["train"], **(train or {})}}, FitConfig)


@pytest.fixture(autouse=True)
def _quiet(capsys: pytest.CaptureFixture[str]) -> None:
    """Progress lines stay out of the test report."""
