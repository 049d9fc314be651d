"""What the models make of what waits, with one thread of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from monitor.config import Inference
from monitor.core.batches import Batch
from monitor.core.engine import Engine
from monitor.core.judge import Part
from monitor.inference import Model


class Answers:
    """Takes windows from the engine's lanes through the models, in batches; the engine concludes elsewhere."""

    def __init__(self, engine: Engine, models: Mapping[str, Model], settings: Inference) -> None:
        self._engine, self._models, self._settings = engine, models, settings
        self._infer = ThreadPoolExecutor(1, "inference")

    def swap(self, models: Mapping[str, Model], settings: Inference) -> None:
        """Other models from here on; nothing waits."""
        self._models, self._settings = models, settings

    def _batches(self, left: dict[str, int]) -> Iterator[tuple[list[Batch], Model]]:
        """What waits, at most `left` windows of each model: batches that are to be concluded together."""
        # Forecasters last: what the others raise waits to be told with what was forecast.
        for name, model in sorted(self._models.items(), key=lambda item: item[1].card.task == "forecast"):
            limit = self._engine.lanes[name].batch_limit(self._settings.max_batch)
            some: list[Batch] = []
            while left[name] > 0 and (batch := self._engine.ready(name, min(left[name], limit))) is not None:
                left[name] -= len(batch)
                some.append(batch)
                if sum(map(len, some)) >= limit:
                    yield some, model
                    some = []
            if some:
                yield some, model

    async def to_what_waits(self, left: dict[str, int]) -> AsyncIterator[list[Part]]:
        """What the models make of what waits; where it is much, the next is inferred while some is concluded."""
        if self._engine.is_light(left):
            for batches, model in self._batches(left):
                yield self._engine.infer_all(batches, model)
            return
        loop = asyncio.get_running_loop()
        ahead: asyncio.Future[list[Part]] | None = None
        for batches, model in self._batches(left):
            asked = loop.run_in_executor(self._infer, self._engine.infer_all, batches, model)
            if ahead is not None:
                yield await ahead
            ahead = asked
        if ahead is not None:
            yield await ahead

    def close(self) -> None:
        """Give the thread back."""
        self._infer.shutdown(wait=True)
