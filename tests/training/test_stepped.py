"""One graph for both ways to run a model: over a window, and step by step from a carried state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
import torch

from monitor.core.card import CARD_KEY, OUTPUTS, write_card
from monitor.core.errors import ModelError
from monitor.inference import load_model, open_session
from tests.training.conftest import tiny
from tests.training.test_models import stirred, symbols
from training.export import STEP_TOLERANCE, example_windows, export, prove_stepping
from training.fit import fit
from training.graph import build_graph
from training.models import RecurrentModel
from training.reexport import reexport
from training.stepped import goes_along, is_steppable, lead_samples, state_width

CELLS = ("rnn", "lstm", "gru")
SHAPES: list[tuple[str, int, dict[str, Any]]] = [
    ("forecast", 1, {}),
    ("forecast", 2, {"layers": 2, "direct": 7, "samples_per_step": 2, "rank": 2}),
    ("forecast", 2, {"scaling": "running", "direct": 7, "samples_per_step": 2}),
    ("forecast", 1, {"scaling": "running", "layers": 2}),
    ("classify", 3, {"samples_per_step": 3}),
    ("symbols", 1, {"layers": 2}),
]


def network(task: str, channels: int, cell: str, shape: dict[str, Any]) -> RecurrentModel:
    config = symbols(cell, **shape) if task == "symbols" else tiny(task, cell=cell, **shape)
    model = stirred(config, channels)
    if task != "symbols":
        model.scaling.offset.uniform_(-2, 2)
        model.scaling.scale.uniform_(0.5, 3)
    return model


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("task", "channels", "shape"), SHAPES)
def test_step_by_step_is_the_window(cell: str, task: str, channels: int, shape: dict[str, Any]) -> None:
    model = network(task, channels, cell, shape)
    session = open_session(build_graph(model).SerializeToString())
    assert prove_stepping(session, model, lambda _: None) <= STEP_TOLERANCE


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("task", "channels", "shape"), SHAPES)
def test_many_steps_in_one_call_are_asked_after_any(
    cell: str, task: str, channels: int, shape: dict[str, Any]
) -> None:
    """As one after the other; with a running scale, or a view of the newest samples, it is not offered."""
    model = network(task, channels, cell, shape)
    proto = build_graph(model)
    offered = {"asked", "keep"} <= {i.name for i in proto.graph.input}
    assert offered == goes_along(model) == ("direct" not in shape and "scaling" not in shape)
    if not offered:
        return
    session = open_session(proto.SerializeToString())
    names, steps = [*OUTPUTS[model.config.task], "after"], model.config.model.window
    window, fold = example_windows(model, 20, steps, seed=3), model.fold
    keep = np.ones((steps, 20, 1), np.bool_)
    keep[2, 7:] = False  # rows from the eighth on begin anew with the fourth step
    asked = np.array([(steps - 1) * 20 + 12, 4 * 20 + 3, (steps - 1) * 20 + 1])
    *got, after = session.run(names, {"window": window, "keep": keep, "asked": asked})
    pieces = window[12:13, 3 * fold :], window[3:4, : 5 * fold], window[1:2]
    for nth, piece in enumerate(pieces):
        *expected, state = session.run(names, {"window": piece})
        for one, other in zip(got, expected, strict=True):
            np.testing.assert_allclose(one[nth], other[0], atol=2e-6)
        if nth != 1:
            np.testing.assert_allclose(after[asked[nth] % 20], state[0], atol=2e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_what_is_out_of_all_bounds_is_forgotten_like_everything(cell: str) -> None:
    """A product with zero would keep what is not a number for good."""
    model = network("classify", 3, cell, {})
    session = open_session(build_graph(model).SerializeToString())
    names, steps = [*OUTPUTS["classify"], "after"], 9
    window = example_windows(model, 20, steps, seed=3)
    keep, asked = np.ones((steps, 20, 1), np.bool_), np.arange(20) + (steps - 1) * 20
    keep[3] = False
    *clean, state = session.run(names, {"window": window, "keep": keep, "asked": asked})
    window[:, 1] = np.inf, -np.inf, np.inf
    *values, after = session.run(names, {"window": window, "keep": keep, "asked": asked})
    for one, other in zip([*values, after], [*clean, state], strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("task", "channels", "shape"), SHAPES)
def test_only_the_rows_asked_for_are_answered(cell: str, task: str, channels: int, shape: dict[str, Any]) -> None:
    model = network(task, channels, cell, shape)
    session = open_session(build_graph(model).SerializeToString())
    names = [*OUTPUTS[model.config.task], "after"]
    window = example_windows(model, 5, model.config.model.window, seed=1)
    *whole, after = session.run(names, {"window": window})
    assert after.shape == (5, state_width(model))
    for answers in (0, 2, 5, 9):
        *some, same = session.run(names, {"window": window, "answers": np.array([answers])})
        np.testing.assert_array_equal(same, after)
        for all_rows, rows in zip(whole, some, strict=True):
            np.testing.assert_allclose(rows, all_rows[:answers], atol=1e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_few_rows_and_many_are_computed_alike(cell: str) -> None:
    """Below a dozen rows by the operators, from there on by the scan."""
    model = network("forecast", 1, cell, {"layers": 2})
    session = open_session(build_graph(model).SerializeToString())
    window = example_windows(model, 30, model.config.model.window, seed=2)
    (many,) = session.run(["forecast"], {"window": window})
    few = np.concatenate([session.run(["forecast"], {"window": window[i : i + 3]})[0] for i in range(0, 30, 3)])
    np.testing.assert_allclose(few, many, atol=2e-6)


def test_where_a_state_begins_lies_beside_the_point() -> None:
    """A signal far from zero keeps its digits: what is carried are sums of differences from its first sample."""
    model = network("forecast", 1, "gru", {"scaling": "running"})
    session = open_session(build_graph(model).SerializeToString())
    window = example_windows(model, 20, model.config.model.window, seed=3)
    near, far = (session.run(["forecast"], {"window": window + shift})[0] - shift for shift in (0, 1000))
    np.testing.assert_allclose(far, near, atol=2e-3)


def test_what_scales_by_the_first_steps_of_its_window_cannot_step() -> None:
    model = network("forecast", 1, "gru", {"scaling": "window"})
    assert not is_steppable(model)
    inputs = [i.name for i in build_graph(model).graph.input]
    assert inputs == ["window"]


def test_a_running_scale_is_that_of_what_was_seen() -> None:
    model = network("forecast", 1, "gru", {"scaling": "running", "samples_per_step": 3})
    window = torch.from_numpy(example_windows(model, 2, 20, seed=4)).double()
    model = model.double()
    _, offset, scale = model.scaling(window)
    prior, usual = model.scaling.prior, model.scaling.scale**2
    for step in (1, 5, 20):
        seen = window[:, : 3 * step]
        mean = seen.mean(dim=1)
        spread = ((seen - mean[:, None]).square().sum(dim=1) + prior * usual) / (3 * step + prior)
        torch.testing.assert_close(offset[:, step - 1], mean)
        torch.testing.assert_close(scale[:, step - 1], spread.sqrt())


@pytest.mark.parametrize(
    ("task", "shape"),
    [("forecast", {}), ("classify", {}), ("forecast", {"cell": "lstm", "scaling": "running", "direct": 3})],
)
def test_a_file_is_made_anew_from_itself(tmp_path: Path, task: str, shape: dict[str, Any]) -> None:
    first = export(fit(tiny(task, **shape), None, tmp_path), tmp_path / "a.onnx", lambda _: None)
    second = reexport(first, tmp_path / "b.onnx", None, lambda _: None)
    one, other = load_model(first), load_model(second)
    windows = one.card.known_answer.window.array()
    for name, values in one.run(windows).items():
        np.testing.assert_allclose(other.run(windows)[name], values, atol=1e-5)
    kept = ("name", "version", "thresholds", "metrics", "source", "training", "seed", "stepping", "parameters")
    for key in kept:
        before, after = (msgspec.to_builtins(getattr(model.card, key)) for model in (one, other))
        if key == "stepping" and task == "forecast":
            assert before.pop("spread") == pytest.approx(after.pop("spread"), rel=1e-3)
        assert msgspec.json.encode(before) == msgspec.json.encode(after)
    assert (task == "forecast") == bool(other.card.stepping and other.card.stepping.spread)


def test_a_file_without_a_state_is_served_as_before(tmp_path: Path) -> None:
    path = export(fit(tiny(scaling="window"), None, tmp_path), tmp_path / "old.onnx", lambda _: None)
    model = load_model(path)
    assert model.card.stepping is None
    assert model.run(model.card.known_answer.window.array())["forecast"].shape == (4, 7, 1)


def test_a_card_that_promises_steps_its_graph_cannot_make(tmp_path: Path) -> None:
    stepping = load_model(export(fit(tiny(), None, tmp_path), tmp_path / "new.onnx", lambda _: None)).card.stepping
    path = export(fit(tiny(scaling="window"), None, tmp_path), tmp_path / "old.onnx", lambda _: None)
    card, proto = load_model(path).card, onnx.load(path)
    (entry,) = [e for e in proto.metadata_props if e.key == CARD_KEY]
    entry.value = write_card(msgspec.structs.replace(card, stepping=stepping))
    onnx.save(proto, path)
    with pytest.raises(ModelError, match="says that it can go step by step"):
        load_model(path)
    assert lead_samples(network("forecast", 1, "gru", {"direct": 7})) == 6


def test_a_card_that_promises_answers_along_the_way(tmp_path: Path) -> None:
    path = export(fit(tiny(scaling="running"), None, tmp_path), tmp_path / "running.onnx", lambda _: None)
    card, proto = load_model(path).card, onnx.load(path)
    assert card.stepping is not None
    assert not card.stepping.along
    (entry,) = [e for e in proto.metadata_props if e.key == CARD_KEY]
    entry.value = write_card(
        msgspec.structs.replace(card, stepping=msgspec.structs.replace(card.stepping, along=True))
    )
    onnx.save(proto, path)
    with pytest.raises(ModelError, match="says that it can go step by step"):
        load_model(path)

    path = export(fit(tiny(), None, tmp_path), tmp_path / "fixed.onnx", lambda _: None)
    card, proto = load_model(path).card, onnx.load(path)
    assert card.stepping is not None
    assert card.stepping.along
    for node in _body(proto, "along").node:
        if "k" in node.input:  # it forgets nothing
            node.op_type = "Identity"
            node.input.remove("k")
    onnx.save(proto, path)
    with pytest.raises(ModelError, match="is another when asked for along the way"):
        load_model(path)


def _body(proto: onnx.ModelProto, way: str) -> onnx.GraphProto:
    """The steps of one way of the graph's If."""
    (way_graph,) = [
        branch.g
        for node in proto.graph.node
        for branch in node.attribute
        if node.op_type == "If" and branch.g.name == way
    ]
    (scan,) = [node for node in way_graph.node if node.op_type == "Scan"]
    return next(attribute.g for attribute in scan.attribute if attribute.name == "body")
