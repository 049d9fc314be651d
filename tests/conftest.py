"""What several tests need: a card, a broker, a daemon of their own."""

from __future__ import annotations

import numpy as np
import pytest

from monitor.core.card import Card, KnownAnswer, Source, Tensor


def build_card(task: str = "forecast", **changes: object) -> Card:
    given: dict[str, object] = {
        "name": "tiny", "version": "1", "task": task, "cell": "gru", "layers": 1, "hidden": 4, "parameters": 100,
        "rate_hz": 50.0, "window": 10, "hop": 5, "horizon": 10 if task == "forecast" else 0,
        "classes": () if task == "forecast" else ("quiet", "spike"),
        "thresholds": {} if task == "forecast" else {"spike": 0.9},
        "source": Source(name="simulated"), "seed": 0, "made": "2026-01-01", "code": "0",
        "known_answer": KnownAnswer(Tensor.of(np.zeros((1, 10, 1), np.float32)), {}),
    }  # fmt: skip
    return Card(**{**given, **changes})


@pytest.fixture(scope="session")
def make_card():
    """Makes a card with whatever the test wants to be different."""
    return build_card
