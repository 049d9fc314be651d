from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from monitor.core.card import CARD_KEY, OUTPUTS, read_card
from monitor.core.errors import ConfigError, ModelError
from monitor.inference import load_model, open_session
from tests.training.conftest import changed, tiny
from tests.training.test_models import stirred, symbols
from training.export import export, prove
from training.fit import fit
from training.graph import build_graph
from training.models import build_model
from training.runs import read_run

SHAPES: list[tuple[str, dict[str, Any]]] = [
    ("forecast", {}),
    ("classify", {}),
    ("forecast", {"scaling": "window", "direct": 5, "rank": 2, "samples_per_step": 2}),
    ("classify", {"layers": 2, "samples_per_step": 3}),
    ("forecast", {"scaling": "running", "direct": 5, "rank": 2, "samples_per_step": 2, "layers": 2}),
]


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize(("task", "model"), SHAPES[:2])
def test_what_is_trained_is_what_is_served(tmp_path: Path, cell: str, task: str, model: dict[str, Any]) -> None:
    run = fit(tiny(task, cell=cell, **model), None, tmp_path)
    said: list[str] = []
    path = export(run, tmp_path / "m.onnx", said.append)
    assert sum("differ by at most" in line for line in said) == 6  # three batches, two lengths
    loaded = load_model(path)  # checks card against graph, and the known answer
    config, outcome, trained = read_run(run)
    windows = np.random.default_rng(1).standard_normal((5, loaded.card.window_samples, 1)).astype(np.float32)
    with torch.no_grad():
        expected = trained.outputs(torch.from_numpy(windows))
    for name, values in loaded.run(windows).items():
        np.testing.assert_allclose(values, expected[name].numpy(), atol=1e-5)
    card = loaded.card
    assert (card.task, card.cell, card.seed, card.rate_hz) == (task, cell, 0, 50.0)
    assert card.metrics == pytest.approx(outcome.metrics, rel=1e-4)
    assert card.parameters == sum(p.numel() for p in trained.parameters())
    assert card.source.digest == outcome.data.digest
    assert card.training["model.cell"] == cell
    assert config.name == card.name


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize(("task", "model"), SHAPES[2:])
def test_every_shape_of_network_is_served_alike(cell: str, task: str, model: dict[str, Any]) -> None:
    torch.manual_seed(3)
    network = build_model(tiny(task, cell=cell, **model), channels=2)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.1 * torch.randn_like(weight))  # no bias may hide behind zero
    proto = build_graph(network)
    onnx.checker.check_model(proto, full_check=True)
    assert prove(proto.SerializeToString(), network, lambda _: None) < 1e-5


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("task", ["forecast", "classify", "beats", "symbols"])
def test_torch_and_onnxruntime_agree(cell: str, layers: int, channels: int, task: str) -> None:
    """At batch 1, 3 and 64, at the whole window and at the shortest one that was trained."""
    match task:
        case "beats":
            config = tiny("classify", cell=cell, layers=layers, delay=2, classes=["N", "V"], samples_per_step=3)
            config = changed(config, task="beats")
        case "symbols":
            config, channels = symbols(cell, layers=layers), 1
        case _:
            config = tiny(task, cell=cell, layers=layers)
    network = stirred(config, channels)
    if task != "symbols":
        network.scaling.offset.uniform_(-2, 2)
        network.scaling.scale.uniform_(0.5, 3)
    content = build_graph(network).SerializeToString()
    assert prove(content, network, lambda _: None) < 2e-5
    weights = sum(value.nbytes for value in network.state_dict().values() if not value.is_meta)
    assert len(content) < weights + 6000 + 3000 * layers  # nothing is stored twice, nothing unrolled


ODDS: dict[str, Any] = {"pool": "odds", "label_steps": 12, "classes": ["quiet", "spike", "step"]}


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize(
    "shape",
    [{}, {"bidirectional": True}, {"bidirectional": True, "frame": 5, "frame_hop": 2}, {"samples_per_step": 3}],
)
def test_odds_summed_over_the_steps_are_served_alike(cell: str, layers: int, shape: dict[str, Any]) -> None:
    config = changed(tiny("classify", cell=cell, layers=layers, **ODDS, **shape), train={"first_step": 12})
    network = stirred(config, 2)
    content = build_graph(network).SerializeToString()
    said: list[str] = []
    assert prove(content, network, said.append) < 2e-5
    assert [line.partition(",")[0] for line in said] == ["batch  1", "batch  3", "batch 64"]
    network.kind.evidence.bias.data += 0.5
    with pytest.raises(ModelError, match="differ"):
        prove(content, network, lambda _: None)


def test_a_network_that_reads_both_ways_is_trained_and_served(tmp_path: Path) -> None:
    model = {"pool": "odds", "bidirectional": True, "frame": 4, "frame_hop": 2, "label_steps": 12}
    run = fit(changed(tiny("classify", **model), train={"first_step": 12}), None, tmp_path)
    loaded = load_model(export(run, None, lambda _: None))
    assert loaded.card.training["model.bidirectional"] is True
    assert loaded.card.label_steps == 12


def test_two_networks_are_told_apart() -> None:
    torch.manual_seed(0)
    one, other = (build_model(tiny(), channels=1) for _ in range(2))
    with pytest.raises(ModelError, match="torch and onnxruntime differ"):
        prove(build_graph(one).SerializeToString(), other, lambda _: None)


def test_the_beat_finder_is_served_alike() -> None:
    config = tiny("classify", cell="gru", samples_per_step=3, delay=2, classes=["N", "V"])
    config = type(config)(**{f: getattr(config, f) for f in config.__struct_fields__} | {"task": "beats"})
    torch.manual_seed(3)
    network = build_model(config, channels=1)
    assert prove(build_graph(network).SerializeToString(), network, lambda _: None) < 1e-5


def test_a_tampered_weight_breaks_the_known_answer(tmp_path: Path) -> None:
    path = export(fit(tiny(), None, tmp_path), tmp_path / "m.onnx", lambda _: None)
    proto = onnx.load(path)
    weight = next(w for w in proto.graph.initializer if w.name == "r0")
    changed = numpy_helper.to_array(weight).copy()
    changed[0, 0, 0] += 0.5
    weight.CopyFrom(numpy_helper.from_array(changed, "r0"))
    onnx.save(proto, path)
    with pytest.raises(ModelError, match="known answer"):
        load_model(path)


def test_the_known_answer_is_in_the_file(tmp_path: Path) -> None:
    path = export(fit(tiny("classify"), None, tmp_path), None, lambda _: None)
    assert path.name == "tiny-classify.onnx"
    session = open_session(path.read_bytes())
    card = read_card(session.get_modelmeta().custom_metadata_map[CARD_KEY], path.name)
    known = card.known_answer
    window = known.window.array()
    assert window.shape == (4, card.window_samples, card.channels)
    names = list(OUTPUTS[card.task])
    assert set(known.outputs) == set(names)
    for name, got in zip(names, session.run(names, {"window": window}), strict=True):
        np.testing.assert_allclose(got, known.outputs[name].array(), atol=1e-5)
    assert not list(tmp_path.rglob("*.data"))


def test_an_unfinished_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected a finished run, got no config.json"):
        export(tmp_path)
