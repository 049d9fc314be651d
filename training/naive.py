"""The loop that one writes first: for each sample of each stream, put it into a window and ask torch.

`python -m training.naive FILE STREAMS SAMPLES` runs it with the network of a model file (its shape, not its
weights: those do not change what it costs) and prints one line of JSON; `monitor bench` sets the daemon beside it.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import deque
from pathlib import Path

import numpy as np
import torch

from monitor.inference import load_model
from training.models import RecurrentModel, build_model
from training.reexport import config_of


async def stream(
    model: RecurrentModel, samples: asyncio.Queue[float], window: int, count: int
) -> list[dict[str, torch.Tensor]]:
    """Follow one stream, sample by sample."""
    last: deque[float] = deque(maxlen=window)
    told = []
    for _ in range(count):
        last.append(await samples.get())
        if len(last) == window:
            with torch.no_grad():
                told.append(model.outputs(torch.tensor(last).reshape(1, window, 1)))
    return told


async def run(file: Path, streams: int, count: int) -> dict[str, float]:
    """CPU seconds that `count` answers of each of `streams` take."""
    torch.set_num_threads(1)
    card = load_model(file).card
    model = build_model(config_of(card, file.name), card.channels).eval()
    queues: list[asyncio.Queue[float]] = [asyncio.Queue() for _ in range(streams)]
    for queue in queues:
        for value in np.random.default_rng(0).standard_normal(card.window - 1 + count).tolist():
            queue.put_nowait(value)
    began = time.process_time()
    await asyncio.gather(*(stream(model, queue, card.window, card.window - 1 + count) for queue in queues))
    return {"samples": streams * count, "cpu_s": time.process_time() - began}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))))
