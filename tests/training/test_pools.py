from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.training.conftest import MINUTES, changed, tiny
from training.datasets import Series
from training.fit import fit
from training.pools import Chunks, Windows


def ramps(*lengths: int) -> list[Series]:
    """Series in which every value says where it stands: series * 10,000 + sample."""
    nothing = np.zeros(0, np.int64)
    return [
        Series(str(k), (10_000 * k + np.arange(n, dtype=np.float32))[:, None], nothing, nothing)
        for k, n in enumerate(lengths)
    ]


@pytest.mark.parametrize("fold", [1, 3])
@pytest.mark.parametrize("tracks", [0, 1, 2, 5])
def test_every_row_reads_on_where_it_stopped(fold: int, tracks: int) -> None:
    config = tiny(samples_per_step=fold)
    chunk, horizon = 12 * fold, 7
    series = ramps(2000, 611, 1500, chunk + horizon)
    batches = [values.numpy()[:, :, 0] for values, _ in Chunks(series, config, "cpu", tracks).all()]
    seen = []
    for before, after in pairwise(batches):
        assert len(after) <= len(before)
        np.testing.assert_array_equal(after[:, 0], before[: len(after), 0] + chunk)
    for batch in batches:
        assert batch.shape[1] == chunk + horizon
        np.testing.assert_array_equal(np.diff(batch), 1)  # never across two series
        seen += batch[:, 0].tolist()
    expected = [10_000 * k + start for k, one in enumerate(series)
                for start in range(0, len(one.values) - chunk - horizon + 1, chunk)]  # fmt: skip
    assert sorted(seen) == expected


def test_an_epoch_of_windows_draws_each_once() -> None:
    config = changed(tiny(), train={"hop": 5, "batch": 16})
    pool = Windows(ramps(700, 300), config, "cpu")
    drawn = [values.numpy()[:, 0, 0] for values, _ in pool.draw(np.random.default_rng(0))]
    assert len(drawn) == pool.batches
    starts = np.concatenate(drawn)
    ordered = np.concatenate([values.numpy()[:, 0, 0] for values, _ in pool.all()])
    np.testing.assert_array_equal(np.sort(starts), ordered)
    assert starts.tolist() != ordered.tolist()


def test_a_carried_state_remembers_what_no_window_holds(tmp_path: Path) -> None:
    """Six noisy samples hardly tell where a sine of 63 stands; all that came before them do."""
    data = {"source": "simulated", "noise": 0.5, "minutes": MINUTES | {"train": 8.0}}
    train = {"stateful": True, "epochs": 8, "batch": 32, "first_step": 2, "learning_rate": 0.02}
    config = changed(tiny(window=6, horizon=1, hidden=16, hop=1), data=data, train=train)
    metrics = json.loads((fit(config, None, tmp_path) / "outcome.json").read_text())["metrics"]
    assert metrics["loss_carrying_the_state"] < 0.95 * metrics["loss_of_windows"]
