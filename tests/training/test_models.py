from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from torch.nn import functional

from monitor.core.errors import ConfigError
from tests.training.conftest import changed, tiny
from training.config import LATER, FitConfig, flat, load_config
from training.models import RecurrentModel, build_model
from training.pools import carried

CELLS = ("rnn", "lstm", "gru")


def symbols(cell: str = "gru", classes: str = "abc", **model: Any) -> FitConfig:
    shape = {"cell": cell, "hidden": 5, "window": 12, "classes": list(classes), "embedding": 4, **model}
    tree = {"name": "s", "task": "classify", "data": {"source": "symbols", "train": ["t"]}, "model": shape}
    return msgspec.convert({**tree, "train": {"first_step": 3}}, FitConfig)


def stirred(config: FitConfig, channels: int = 1) -> RecurrentModel:
    """A model in which no bias hides behind zero."""
    torch.manual_seed(1)
    model = build_model(config, channels)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return model.eval()


def batch_of(config: FitConfig, rows: int, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    time = steps * config.model.samples_per_step + config.model.horizon
    generator = torch.Generator().manual_seed(2)
    if config.data.__struct_config__.tag == "symbols":
        values = torch.randint(len(config.model.classes), (rows, time, 1), generator=generator).float()
        return values, functional.pad(values[:, 1:, 0].long(), (0, 1), value=-1)
    values = torch.randn((rows, time, 1), generator=generator)
    return values, torch.randint(2, (rows, time), generator=generator)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("task", ["forecast", "classify", "symbols"])
def test_two_chunks_with_the_state_carried_are_one_long_one(cell: str, layers: int, task: str) -> None:
    config = symbols(cell, layers=layers) if task == "symbols" else tiny(task, cell=cell, layers=layers)
    model = stirred(config)
    values, marks = batch_of(config, 3, 20)
    horizon = config.model.horizon
    whole, _ = model.loss(values, marks, 1)
    first, state = model.loss(values[:, : 8 + horizon], marks[:, : 8 + horizon], 1)
    second, _ = model.loss(values[:, 8:], marks[:, 8:], 1, carried(state, 3))
    asked = (8, 12) if task != "symbols" else (8, 11)  # after the last symbol nothing came
    parts = (asked[0] * first + asked[1] * second) / sum(asked)
    assert parts.item() == pytest.approx(whole.item(), rel=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_no_gradient_flows_back_across_the_border(cell: str) -> None:
    config = tiny(cell=cell)
    model = stirred(config)
    values, marks = batch_of(config, 2, 12)
    early = values.clone().requires_grad_()
    _, state = model.loss(early, marks, 1)
    loss, _ = model.loss(values, marks, 1, carried(state, 2))
    loss.backward()
    assert early.grad is None
    other, _ = model.loss(values, marks, 1)
    assert other.item() != loss.item()  # but what was is remembered


def test_of_a_smaller_batch_the_first_rows_go_on() -> None:
    state = torch.arange(12.0).reshape(1, 4, 3)
    assert torch.equal(carried(state, 2), state[:, :2])
    both = carried((state, 2 * state), 3)
    assert torch.equal(both[1], 2 * state[:, :3])
    assert carried(None, 3) is None


def test_now_and_then_a_row_forgets() -> None:
    state = torch.ones(2, 1000, 3)
    kept = carried(state, 1000, 0.3, np.random.default_rng(0))[0, :, 0]
    assert set(kept.tolist()) == {0.0, 1.0}
    assert kept.mean().item() == pytest.approx(0.7, abs=0.05)
    assert carried((state, state), 5, 1.0, np.random.default_rng(0))[1].sum() == 0


def test_the_beat_finder_carries_on_behind_its_delay() -> None:
    config = tiny("classify", cell="gru", samples_per_step=3, delay=2, classes=["N", "V"])
    config = changed(config, task="beats")
    model = stirred(config)
    values, marks = batch_of(config, 2, 12)
    assert model.earliest == 3
    _, state = model.loss(values, marks, 8)
    loss, _ = model.loss(values, marks, model.earliest, carried(state, 2))
    assert torch.isfinite(loss)


def test_direct_taps_are_there_from_the_earliest_step_on() -> None:
    config = tiny(samples_per_step=2, direct=5)
    model = stirred(config)
    assert model.earliest == 3
    loss, _ = model.loss(*batch_of(config, 2, 12), model.earliest)
    assert torch.isfinite(loss)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [("usual", 0.25), ("mse", 0.25), ("huber", 0.25), ("pinball", 0.5)],
)
def test_losses_of_a_forecast(loss: str, expected: float) -> None:
    config = changed(tiny(), train={"loss": loss})
    torch.manual_seed(0)
    model = build_model(config, 1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        model.below.bias.fill_(-50.0)  # softplus: an interval of no width, whose loss is known
        model.above.bias.fill_(-50.0)
        values = torch.full((2, 19, 1), 0.5)
        total, _ = model.loss(values, torch.zeros(2, 19, dtype=torch.long), 8)
    interval = 0.5 * (0.05 + 0.95)
    assert total.item() == pytest.approx(expected + interval, rel=1e-5)


def test_huber_spares_what_lies_far_off() -> None:
    model = stirred(changed(tiny(), train={"loss": "huber"}))
    plain = stirred(tiny())
    values, marks = batch_of(tiny(), 2, 12)
    values[0, -1] = 100.0
    assert model.loss(values, marks, 8)[0].item() < 0.2 * plain.loss(values, marks, 8)[0].item()


@pytest.mark.parametrize("cell", CELLS)
def test_orthogonal_recurrence_keeps_lengths(cell: str) -> None:
    torch.manual_seed(0)
    model = build_model(tiny(cell=cell, initialisation="orthogonal"), 1)
    for gate in torch.split(model.recurrence.weight_hh_l0, 6):
        torch.testing.assert_close(gate @ gate.T, torch.eye(6), atol=1e-5, rtol=0)


def test_initialisations_differ_and_torch_keeps_its_own() -> None:
    weights = {}
    for name in ("xavier", "orthogonal", "torch"):
        torch.manual_seed(0)
        weights[name] = build_model(tiny(initialisation=name), 1).recurrence.weight_hh_l0.detach().clone()
    torch.manual_seed(0)
    assert torch.equal(weights["torch"], torch.nn.GRU(1, 6).weight_hh_l0)
    assert not torch.equal(weights["xavier"], weights["orthogonal"])
    bound = np.sqrt(6 / 12)
    assert weights["xavier"].abs().max().item() <= bound


def test_symbols_reach_the_network_as_vectors() -> None:
    model = stirred(symbols())
    numbers = torch.tensor([[[0.0], [1.0], [2.0], [2.0]]])
    with torch.no_grad():
        known = model.outputs(numbers)["probabilities"]
        # A value between or beyond the symbols is taken for the nearest one.
        torch.testing.assert_close(model.outputs(numbers + 0.3)["probabilities"], known)
        torch.testing.assert_close(model.outputs(torch.where(numbers == 2, 9.0, numbers))["probabilities"], known)
        assert not torch.allclose(model.outputs(2 - numbers)["probabilities"], known)
    assert known.sum().item() == pytest.approx(1)


def test_keys_younger_than_the_first_models_are_told_when_set() -> None:
    told = flat(tiny())
    assert not set(told) & set(LATER)
    assert told["train.clip"] == 1.0  # an older key is told at its default too
    other = changed(tiny(initialisation="torch"), train={"schedule": "cosine", "stateful": True, "loss": "huber"})
    assert flat(other) == told | {"model.initialisation": "torch", "train.schedule": "cosine",
                                  "train.stateful": True, "train.loss": "huber"}  # fmt: skip


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        (["train.loss=cross-entropy"], "train.loss: expected one of usual, mse, huber, pinball for forecast"),
        (["train.loss=tidy"], "train.loss: expected one of"),
        (["train.clip=-1"], "train.clip: expected 0 or more"),
        (["train.learning_rate=0"], "train.learning_rate: expected above 0"),
        (["train.stateful=true", "model.scaling=window"], "train.stateful: expected fixed model.scaling"),
        (["model.layers=5"], "model.layers: expected 1 to 4"),
        (["model.initialisation=zero"], "model.initialisation: expected one of"),
    ],
)
def test_a_wrong_key_says_what_was_expected(keys: list[str], complaint: str) -> None:
    base = msgspec.to_builtins(tiny())
    with pytest.raises(ConfigError) as caught:
        load_config(None, keys, base)
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        (["model.pool=odds"], "train.first_step: expected model.window, as model.pool = 'odds' asks"),
        (["model.pool=odds", "train.first_step=12", "train.stateful=true"], "train.stateful: expected false with"),
        (["model.bidirectional=true"], "model.bidirectional: expected false without model.pool = 'odds'"),
        (["model.frame=4"], "model.frame: expected 0 without model.pool = 'odds', got 4"),
        (["model.pool=odds", "train.first_step=12", "model.frame=13"], "model.frame: expected 0 to model.window"),
        (
            ["model.pool=odds", "train.first_step=12", "model.frame=4", "model.samples_per_step=2"],
            "model.samples_per_step: expected 1 with model.frame",
        ),
        (
            ["model.pool=odds", "train.first_step=12", "model.frame=4", "model.frame_hop=5"],
            "model.frame_hop: expected 1 to model.frame, got 5",
        ),
        (["task=forecast", "model.horizon=3", "model.pool=odds"], "model.pool: expected 'last' for this task"),
    ],
)
def test_a_window_whose_odds_are_summed_is_asked_as_a_whole(keys: list[str], complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, keys, msgspec.to_builtins(tiny("classify")))
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        (["model.samples_per_step=2"], "model: expected samples_per_step"),
        (["task=forecast", "model.horizon=3"], "task: expected 'classify' for symbols"),
        (["conditioning.low_pass_hz=2"], "conditioning: expected none"),
        (["train.loss=mse"], "train.loss: expected one of usual, cross-entropy"),
        (["model.embedding=0"], "model.embedding: expected 1 to 512"),
    ],
)
def test_symbols_are_not_filtered(keys: list[str], complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, keys, msgspec.to_builtins(symbols()))
    assert complaint in str(caught.value)
