"""What a user would compare the monitor with, where it is installed."""

from __future__ import annotations

import importlib
import importlib.util
import json
import subprocess
import sys
import time
from typing import Any

import numpy as np

from monitor.bench.kernels import NETWORKS


def naive_torch(streams: int, samples: int) -> float | None:
    """CPU seconds a sample of a plain asyncio loop that asks torch at every sample; None where there is no torch.

    It is the training package that has torch, and a process of its own: the monitor never loads it.
    """
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("training") is None:
        return None
    network = str(NETWORKS / "bench-gru.onnx")
    command = [sys.executable, "-m", "training.naive", network, str(streams), str(samples)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return None
    told = json.loads(done.stdout.splitlines()[-1])
    return float(told["cpu_s"]) / float(told["samples"])


def half_space_trees(samples: int) -> float | None:
    """CPU seconds a sample of River's HalfSpaceTrees, score and learn; None where River is not installed."""
    if importlib.util.find_spec("river") is None:
        return None
    anomaly: Any = importlib.import_module("river.anomaly")
    model = anomaly.HalfSpaceTrees(seed=1)  # as it comes: 10 trees of height 8
    values = np.random.default_rng(0).random(samples + 300).tolist()
    for value in values[:300]:  # its first window
        model.learn_one({"x": value})
    began = time.process_time()
    for value in values[300:]:
        sample = {"x": value}
        model.score_one(sample)
        model.learn_one(sample)
    return (time.process_time() - began) / samples
