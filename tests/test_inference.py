"""A model file is believed only when it proves itself."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest

from monitor.core.card import CARD_KEY, read_card
from monitor.core.errors import ModelError
from monitor.inference import find_models, load_model

SHIPPED = find_models(None)


@pytest.fixture
def tampered(tmp_path):
    """Makes a copy of a shipped model with its graph or its card changed."""

    def make(name="sine-spikes", card=None, graph=None) -> Path:
        model = onnx.load(SHIPPED[name])
        if graph:
            graph(model)
        if card is not None:
            for entry in model.metadata_props:
                if entry.key == CARD_KEY:
                    entry.value = card(entry.value)
        path = tmp_path / "tampered.onnx"
        onnx.save(model, path)
        return path

    return make


def edit(**changes):
    return lambda text: json.dumps({**json.loads(text), **changes})


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_shipped_models_load_and_take_any_batch(name):
    model = load_model(SHIPPED[name])
    card = model.card
    window = np.random.default_rng(0).normal(size=(7, card.window_samples, card.channels)).astype(np.float32)
    together = model.run(window)
    for row in range(7):
        alone = model.run(window[row : row + 1])
        for output, values in together.items():
            np.testing.assert_allclose(values[row], alone[output][0], atol=1e-5)
    assert card.name == name
    assert card.source.name
    assert card.metrics or name == "ecg-beats-2"  # made of ecg-beats; the README has what it is worth
    assert path_size(SHIPPED[name]) < 1_000_000


def path_size(path):
    return path.stat().st_size


def test_a_changed_weight_breaks_the_known_answer(tampered):
    def nudge(model):
        weights = max(model.graph.initializer, key=lambda t: len(t.raw_data))
        values = np.frombuffer(weights.raw_data, np.float32).copy()
        values[::7] += 0.05
        weights.raw_data = values.tobytes()

    with pytest.raises(ModelError, match="known answer of `probabilities` is off by"):
        load_model(tampered(graph=nudge))


@pytest.mark.parametrize(
    ("card", "says"),
    [
        (edit(window=40), r"its card says windows of \(40, 1\)"),
        (edit(channels=2), r"\(any, 50, 2\)"),
        (edit(task="beats"), "a beats model gives"),
        (edit(schema=99), "card schema 99"),
        (edit(hop=0), "hop must be 1 to window steps"),
        (edit(thresholds={"nonsense": 0.5}), "thresholds name a class"),
        (edit(surprise=1), "unknown field `surprise`"),
        (lambda _: "{", "card cannot be read"),
    ],
)
def test_a_card_that_does_not_fit_is_refused(tampered, card, says):
    with pytest.raises(ModelError, match=says) as caught:
        load_model(tampered(card=card))
    assert caught.value.exit_code == 2
    assert "tampered.onnx" in str(caught.value)


def test_a_file_without_a_card_is_refused(tampered):
    with pytest.raises(ModelError, match="carries no card"):
        load_model(tampered(graph=lambda model: model.ClearField("metadata_props")))


def test_what_is_no_onnx_file_is_refused(tmp_path):
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(ModelError, match="not an ONNX file"):
        load_model(tmp_path / "text.onnx")
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        load_model(tmp_path / "none.onnx")


def test_weights_in_a_second_file_are_never_read(tmp_path):
    model = onnx.load(SHIPPED["sine-spikes"])
    path = tmp_path / "outside.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=64)
    assert (tmp_path / "weights.bin").exists()
    with pytest.raises(ModelError):
        load_model(path)


def test_a_model_of_ones_own_wins_over_the_shipped_one(tmp_path):
    (tmp_path / "sine-spikes.onnx").write_bytes(b"mine")
    found = find_models(tmp_path)
    assert found["sine-spikes"].parent == tmp_path
    assert found["sine-forecast"].parent != tmp_path
    with pytest.raises(ModelError, match="expected a folder"):
        find_models(tmp_path / "none")


def test_a_card_survives_its_own_json():
    card = load_model(SHIPPED["sine-forecast"]).card
    assert read_card(msgspec.json.encode(card).decode(), "here") == card
