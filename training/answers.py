"""What a model answers to many recordings at once, for judges that are stepped beside each other with the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.core.batches import Batch, rounds
from monitor.core.blocks import NS, Block, Floats
from monitor.core.engine import Engine
from monitor.core.stream import Plan
from monitor.inference import Model, second_tiers


@dataclass(frozen=True)
class Played:
    """One stream: values (time, channel), and which of its seconds are sent, where not all are."""

    values: Floats
    rate_hz: float
    unit: str
    sent: NDArray[np.bool_] | None = None


def open_engine(model: Model, streams: int) -> Engine:
    """An engine for this model alone, from samples to windows and answers."""
    name = model.card.name
    plan = Plan(models=(name,), quality=False)
    return Engine(
        {name: model.card}, lambda _: plan, max_streams=streams, max_waiting=2**40, leapfrog={name: 0},
        seconds=second_tiers({name: model}),
    )  # fmt: skip


def answers(
    engine: Engine, model: Model, streams: Mapping[str, Played]
) -> Iterator[tuple[Batch, dict[str, Floats]]]:
    """A second of all streams after the other, in rows of distinct streams."""
    for second in range(max(int(len(one.values) / one.rate_hz) for one in streams.values())):
        for name, one in streams.items():
            start, end = round(second * one.rate_hz), round((second + 1) * one.rate_hz)
            if end <= len(one.values) and (one.sent is None or one.sent[second]):
                t0_ns = round(start / one.rate_hz * NS)
                engine.push(Block(name, one.values[start:end], "", start, t0_ns, one.rate_hz, (), one.unit), 0, 0)
        while (batch := engine.ready(model.card.name, 4096)) is not None:
            batch, outputs = engine.infer(batch, model)
            for rows in rounds(batch.slots):
                yield batch.rows(rows), {key: values[rows] for key, values in outputs.items()}
